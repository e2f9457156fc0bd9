//! The ports that `connect()` can choose from in one network namespace.
//!
//! The rule is that of `__inet_hash_connect`:
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_hashtables.c#L1003-L1130>.
//! It tries every port of the range once, those with the parity of the low end
//! first: parity decides which port is taken, not how many there are. Of an odd
//! number of ports each attempt leaves one out, mostly the lowest, and another
//! attempt another one: 300 times a range of 21 was filled on Linux 6.18, and 25
//! times the lowest was still free when `connect()` failed. All are counted.
//! It skips reserved ports, and every port whose bucket carries a `bind()` or a
//! `listen()`, whatever the destination.

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::{Limits, limits::Known};

/// Words of a bitmap of all ports.
const WORDS: usize = 1 << 10;

/// Ports to choose from.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Box<[u64; WORDS]>,
    pub(super) counts: Counts,
}

/// How many there are, and why not more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ports in the range.
    pub range: u32,
    /// Of these, reserved.
    pub reserved: u32,
    /// Of the others, bound or listened on.
    pub bound: u32,
    /// The rest: for `connect()`, in each tuple space.
    pub usable: u32,
}

impl Room {
    /// `bound` has the ports with a `bind()` besides those that were read.
    pub(super) fn new(limits: &Limits, bound: &HashSet<(u32, u16), RandomState>) -> Known<Self> {
        let (low, high) = limits.range.clone()?;
        let reserved = limits.reserved.clone()?;
        let told = limits.bound.clone()?;
        let mut room = Self {
            free: vec![0; WORDS].try_into().map_err(|_wrong| "no room")?,
            counts: Counts::default(),
        };
        for port in low..=high {
            room.set(port, true);
            room.counts.range += 1;
        }
        for port in reserved.iter().flat_map(|&(first, last)| first..=last) {
            room.counts.reserved += u32::from(room.set(port, false));
        }
        let here = bound.iter().filter(|(netns, _)| *netns == limits.netns);
        let here = here.map(|(_, port)| *port);
        for port in told.iter().map(|it| it.port).chain(here) {
            room.counts.bound += u32::from(room.set(port, false));
        }
        let counts = &mut room.counts;
        counts.usable = counts.range - counts.reserved - counts.bound;
        Ok(room)
    }

    /// Whether `connect()` could choose it.
    pub(super) fn has(&self, port: u16) -> bool {
        let (word, bit) = place(port);
        self.free[word] & bit != 0
    }

    /// Returns what it was.
    fn set(&mut self, port: u16, free: bool) -> bool {
        let was = self.has(port);
        let (word, bit) = place(port);
        if free {
            self.free[word] |= bit;
        } else {
            self.free[word] &= !bit;
        }
        was
    }
}

fn place(port: u16) -> (usize, u64) {
    (usize::from(port) / 64, 1 << (port % 64))
}
