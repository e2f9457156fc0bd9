//! Sockets seen by a source that tells no kernel addresses (`sock_diag`).
//!
//! It knows them by network namespace and tuple, and by the cookie, which is
//! another for each socket. The first event of one brings its address, and a
//! tuple: as long as nothing was lost since, that names the socket, because two
//! that are alive have the same tuple only if they listen and share the port
//! (`SO_REUSEPORT`), or are bound to different devices. Of those any may be
//! taken: nothing else is known of them that could be mistaken. After a loss the
//! cookies of the next walk say which are still there.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};
use tcpstate_common::record::Tuple;
use zerocopy::IntoBytes as _;

use super::{
    entry::{Entry, Generation, leads_to},
    table::is_birth,
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, Transition};

/// What identifies a full socket without its address, but for its likes.
pub(super) type Key = (u32, Tuple);

/// A socket without a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    pub(super) entry: Entry,
    /// 0 when the source does not tell it.
    pub(super) cookie: u64,
}

impl Seed {
    fn key(&self) -> Key {
        (self.entry.netns, self.entry.tuple)
    }

    pub(super) fn stand_in(&self) -> SockAddr64 {
        stand_in(&self.key(), self.cookie)
    }

    /// Whether `seen` is this socket, for all that is known.
    fn is(&self, seen: &Snapshot) -> bool {
        self.cookie == 0 || seen.cookie == 0 || self.cookie == seen.cookie
    }
}

/// The sockets without a name.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    map: HashMap<Key, Seed, RandomState>,
    /// Those whose tuple another has in `map`.
    alike: Vec<Seed>,
}

impl Nameless {
    pub(super) fn len(&self) -> usize {
        self.map.len() + self.alike.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Seed> {
        self.map.values().chain(&self.alike)
    }

    /// The socket that `event` is of, if a walk has seen it.
    pub(super) fn take(
        &mut self,
        at: KtimeNs,
        event: &Transition,
        generation: Generation,
    ) -> Option<Entry> {
        if self.len() == 0 || is_birth(event) {
            return None;
        }
        let key = (event.netns, event.tuple);
        self.take_where(&key, |seed| !seed.entry.is_other(at, event, generation))
    }

    /// The socket that a look found at an address.
    pub(super) fn found(&mut self, seen: &Snapshot) -> Option<Entry> {
        if self.len() == 0 || seen.cookie == 0 {
            return None;
        }
        self.take_where(&(seen.netns, seen.tuple), |seed| {
            seed.cookie == seen.cookie && leads_to(seed.entry.state, seen.state)
        })
    }

    /// Forgets the socket that was known since `birth` at an address, before its
    /// tuple was, or is about to be: a walk has seen it then.
    pub(super) fn forget(&mut self, key: &Key, birth: KtimeNs) {
        if self.len() > 0 {
            self.take_where(key, |seed| birth < seed.entry.since);
        }
    }

    /// Takes one of those with the tuple of `key` out.
    fn take_where(&mut self, key: &Key, mut is_it: impl FnMut(&Seed) -> bool) -> Option<Entry> {
        let mut alike = self.alike.iter();
        if let Some(index) = alike.position(|seed| seed.key() == *key && is_it(seed)) {
            return Some(self.alike.swap_remove(index).entry);
        }
        let seed = self.map.get(key).copied().filter(is_it)?;
        self.map.remove(key);
        if let Some(index) = self.alike.iter().position(|seed| seed.key() == *key) {
            self.map.insert(*key, self.alike.swap_remove(index));
        }
        Some(seed.entry)
    }

    /// The socket that `seen` is of.
    pub(super) fn get_mut(&mut self, seen: &Snapshot) -> Option<&mut Entry> {
        let key = (seen.netns, seen.tuple);
        let here = self.map.get_mut(&key)?;
        if here.is(seen) {
            return Some(&mut here.entry);
        }
        let mut alike = self.alike.iter_mut();
        let seed = alike.find(|seed| seed.key() == key && seed.is(seen))?;
        Some(&mut seed.entry)
    }

    pub(super) fn insert(&mut self, at: KtimeNs, seen: &Snapshot, generation: Generation) {
        let seed = Seed {
            entry: Entry::seeded(at, seen, generation),
            cookie: seen.cookie,
        };
        self.put(seed);
    }

    fn put(&mut self, seed: Seed) {
        match self.map.entry(seed.key()) {
            hash_map::Entry::Vacant(slot) => {
                slot.insert(seed);
            }
            hash_map::Entry::Occupied(_) => self.alike.push(seed),
        }
    }

    /// Drops every socket that `gone` says is gone.
    pub(super) fn drop_where(&mut self, mut gone: impl FnMut(SockAddr64, &mut Entry) -> bool) {
        let mut stays = |seed: &mut Seed| !gone(seed.stand_in(), &mut seed.entry);
        self.alike.retain_mut(&mut stays);
        self.map.retain(|_, seed| stays(seed));
        for seed in std::mem::take(&mut self.alike) {
            self.put(seed);
        }
    }
}

/// What stands for the address in the identity of a connection whose socket
/// has no name, given its network namespace, its tuple and its cookie: the same
/// number in every replay (FNV-1a), and no kernel address, which has the highest
/// bit set.
#[must_use]
pub fn stand_in((netns, tuple): &(u32, Tuple), cookie: u64) -> SockAddr64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let (netns, cookie) = (netns.to_ne_bytes(), cookie.to_ne_bytes());
    let bytes = netns.iter().chain(tuple.as_bytes()).chain(&cookie);
    SockAddr64(bytes.fold(0xcbf2_9ce4_8422_2325, mix) >> 1)
}
