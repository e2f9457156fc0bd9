//! Whether events that no program saw are gone for good.
//!
//! Where a program was kept from an event its copy sees it a moment later, so a
//! count read in between says too much. It did so natively where eight tests
//! shared two CPUs: all that was waiting then was taken for unsure.

use std::time::{Duration, Instant};

/// How long a copy may be about to see what the program before it was kept from:
/// between the two a task may be preempted, or its CPU taken away by a host.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// What was read so far.
#[derive(Debug)]
pub(super) struct Misses {
    /// Gone for good.
    gone: u64,
    /// The fewest that have been read since then, if always more than `gone`.
    suspected: Option<(Instant, u64)>,
}

impl Misses {
    /// Begins with what was missed before.
    pub(super) const fn new(gone: u64) -> Self {
        Self {
            gone,
            suspected: None,
        }
    }

    /// Takes the count read at `now`. `true` when more are gone for good.
    pub(super) fn read(&mut self, now: Instant, count: u64) -> bool {
        if count <= self.gone {
            self.suspected = None;
            return false;
        }
        let (since, least) = self.suspected.unwrap_or((now, count));
        let least = least.min(count);
        self.suspected = Some((since, least));
        if now.duration_since(since) < UNDER_WAY {
            return false;
        }
        *self = Self::new(least);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_is_about_to_see_is_not_gone() {
        let begin = Instant::now();
        let mut misses = Misses::new(3);
        assert!(!misses.read(begin, 5));
        assert!(!misses.read(begin + UNDER_WAY / 2, 3));
        assert!(!misses.read(begin + UNDER_WAY, 4), "another one");
        assert!(!misses.read(begin + UNDER_WAY * 3 / 2, 6));
        assert!(misses.read(begin + UNDER_WAY * 2, 5), "four at all times");
        assert!(!misses.read(begin + UNDER_WAY * 2, 4), "known");
        assert!(!misses.read(begin + UNDER_WAY * 4, 5));
        assert!(misses.read(begin + UNDER_WAY * 5, 5));
    }
}
