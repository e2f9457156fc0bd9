//! What is known of sockets is read from memory before their records come.
//!
//! It changes nothing but time. A table of a million sockets is in no cache, and an
//! event waits for two lines of it, one after the other: 200 to 600 ns each. Here
//! the first is asked for as soon as the record is seen, the second when the first
//! has come, and the event takes place when both have.

use super::{Tracker, by_address::Ahead};
use crate::decode::Subject;

/// By how many records those that are foreseen should be ahead of those that are
/// applied.
pub const LEAD: usize = 2 * STEP;

/// Records after which a line has come: each takes at least 50 ns.
const STEP: usize = 16;

/// A table so small is in the caches.
const FEW: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
enum Seen {
    Socket(Ahead),
    Minisocket(Ahead),
}

/// Whose part of the index is on its way.
#[derive(Debug, Default)]
pub(super) struct Foresight {
    on_its_way: [Option<Seen>; STEP],
    next: usize,
}

impl Foresight {
    /// Puts in the last, and gives the one from [`STEP`] calls before.
    fn turn(&mut self, seen: Option<Seen>) -> Option<Seen> {
        self.next = (self.next + 1) % STEP;
        std::mem::replace(&mut self.on_its_way[self.next], seen)
    }
}

impl Tracker {
    /// Whether it is of any use to foresee anything.
    #[must_use]
    pub fn foresees(&self) -> bool {
        self.len() >= FEW
    }

    /// Says what a record is about that will be applied [`LEAD`] records from now.
    /// Without that everything is the same, but takes longer once the tables are
    /// larger than the caches.
    pub fn foresee(&mut self, subject: Option<Subject>) {
        if !self.foresees() {
            return;
        }
        let (full, small) = (&mut self.table.map, &mut self.minisockets.map);
        let seen = subject.map(|subject| match subject {
            Subject::Socket(sk) => Seen::Socket(full.foresee(sk)),
            Subject::Minisocket(tw) => Seen::Minisocket(small.foresee(tw)),
        });
        match self.foresight.turn(seen) {
            Some(Seen::Socket(ahead)) => full.foresee_value(ahead),
            Some(Seen::Minisocket(ahead)) => small.foresee_value(ahead),
            None => {}
        }
    }
}
