//! Whether events that no program saw are gone for good.
//!
//! Where a program was kept from an event its copy sees it a moment later, so a
//! count read in between says too much. It did so natively where eight tests
//! shared two CPUs: all that was waiting then was taken for unsure.

use std::time::{Duration, Instant};

/// How long a copy may be about to see what the program before it was kept from:
/// between the two a task may be preempted, or its CPU taken away by a host.
const UNDER_WAY: Duration = Duration::from_millis(50);

/// Between two reads while records come: each read asks the kernel of every
/// program, which takes 10 us, and 100 us where nothing else had run.
const OFTEN: Duration = Duration::from_millis(25);

/// Between two reads while none come. What keeps a program from an event is
/// the same program at another event, mostly one that sends a record.
const RARELY: Duration = Duration::from_secs(1);

/// For so long after a record the next are near.
const NEAR: Duration = Duration::from_millis(200);

/// What was read so far.
#[derive(Debug)]
pub(super) struct Misses {
    last_read: Option<Instant>,
    last_record: Option<Instant>,
    /// Gone for good.
    gone: u64,
    /// The fewest that have been read since then, if always more than `gone`.
    suspected: Option<(Instant, u64)>,
}

impl Misses {
    /// Begins with what was missed before.
    pub(super) const fn new(gone: u64) -> Self {
        Self {
            last_read: None,
            last_record: None,
            gone,
            suspected: None,
        }
    }

    /// Whether the count should be read now, when `records` came just now.
    pub(super) fn is_due(&mut self, now: Instant, records: usize) -> bool {
        if records > 0 {
            self.last_record = Some(now);
        }
        let within = |since: Option<Instant>, time| since.is_some_and(|at| now - at < time);
        let is_near = within(self.last_record, NEAR) || self.suspected.is_some();
        !within(self.last_read, if is_near { OFTEN } else { RARELY })
    }

    /// Takes the count read at `now`. `true` when more are gone for good.
    pub(super) fn read(&mut self, now: Instant, count: u64) -> bool {
        self.last_read = Some(now);
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
        self.gone = least;
        self.suspected = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_often_while_records_come_or_some_may_be_missing() {
        let begin = Instant::now();
        let mut misses = Misses::new(0);
        assert!(misses.is_due(begin, 0), "the first time");
        misses.read(begin, 0);
        assert!(!misses.is_due(begin + OFTEN, 0), "nothing happens");
        assert!(misses.is_due(begin + RARELY, 0));
        assert!(misses.is_due(begin + OFTEN, 1));
        misses.read(begin + OFTEN, 1);
        assert!(!misses.is_due(begin + OFTEN * 3 / 2, 1), "just asked");
        let later = begin + RARELY * 2;
        misses.read(later, 1);
        assert!(!misses.is_due(later + OFTEN / 2, 0));
        misses.read(later + RARELY, 2);
        assert!(misses.is_due(later + RARELY + OFTEN, 0), "suspected");
    }

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
