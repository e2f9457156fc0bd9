//! What a socket is now, seen without an event.
//!
//! A snapshot may be ahead of the ring: events older than it may still come,
//! and they know better. So it says something new only of a socket that is
//! unknown, or of which something may have been missed.

use hashbrown::hash_map;

use super::{
    Tracker,
    entry::{Entry, Generation, leads_to},
    hold::{Holds, Wait},
    sweep::Walk,
    tuple::{contradicts, is_complete},
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, SocketKind};

impl Tracker {
    pub(super) fn snapshot(&mut self, at: KtimeNs, seen: &Snapshot) {
        let minisocket = seen.kind == SocketKind::Minisocket;
        if minisocket && let Some(walk) = self.open_walk() {
            walk.note_minisocket(seen);
        }
        match (seen.kind, seen.sk) {
            (SocketKind::Full, Some(sk)) => self.named(at, sk, seen),
            (SocketKind::Full, None) => self.nameless(at, seen),
            _ if minisocket && self.keeps_minisockets() => self.minisocket_seen(at, seen),
            _ => self.counters.not_followed += 1,
        }
    }

    /// The walk that the snapshots of now belong to.
    fn open_walk(&mut self) -> Option<&mut Walk> {
        self.walk.as_mut().filter(|walk| walk.is_open())
    }

    fn named(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot) {
        // Outside a walk nobody says how old the look is: it vouches for nothing.
        let vouched = self.open_walk().map(|walk| walk.generation);
        let full = self.is_full();
        let entry = match self.table.map.entry(sk) {
            hash_map::Entry::Occupied(slot) => slot.into_mut(),
            hash_map::Entry::Vacant(_) if full => {
                self.counters.refused += 1;
                return;
            }
            hash_map::Entry::Vacant(slot) => {
                self.counters.connections += 1;
                slot.insert(Entry::seeded(at, seen, vouched.unwrap_or(self.generation)));
                return;
            }
        };
        if entry.gone || at <= entry.since {
            return;
        }
        offer_tuple(entry, &mut self.holds, at, seen);
        if let Some(vouched) = vouched
            && entry.is_suspect(vouched)
            && !repair(entry, at, seen, vouched)
            && let Some(walk) = &mut self.walk
        {
            walk.note_other(sk, Entry::seeded(at, seen, vouched));
        }
    }

    fn nameless(&mut self, at: KtimeNs, seen: &Snapshot) {
        let mut vouched = self.generation;
        if let Some(walk) = self.walk.as_mut().filter(|walk| walk.is_open()) {
            vouched = walk.generation;
            let named = walk.named(&self.table.map, seen);
            if !named.is_empty() {
                for sk in named {
                    self.named(at, sk, seen);
                }
                return;
            }
        }
        if let Some(entry) = self.table.nameless.get_mut(seen) {
            if entry.is_suspect(vouched) && !repair(entry, at, seen, vouched) {
                *entry = Entry::seeded(at, seen, vouched);
                self.counters.connections += 1;
                self.counters.ended_unseen += 1;
            }
        } else if self.is_full() {
            self.counters.refused += 1;
        } else {
            self.counters.connections += 1;
            self.table.nameless.insert(at, seen, vouched);
        }
    }
}

/// Offers what was seen to a line that waits for its tuple.
fn offer_tuple(entry: &Entry, holds: &mut Holds, at: KtimeNs, seen: &Snapshot) {
    if is_complete(&seen.tuple, entry.state)
        && !contradicts(&entry.tuple, &seen.tuple)
        && let Some(held) = entry.held.and_then(|key| holds.get_mut(key))
        && matches!(held.wait, Wait::Tuple(_))
    {
        held.wait = Wait::Tuple(Some((at, seen.tuple)));
    }
}

/// Brings an entry, of which something may have been missed, up to what was
/// seen. `false` when that is another connection.
fn repair(entry: &mut Entry, at: KtimeNs, seen: &Snapshot, vouched: Generation) -> bool {
    let same = !entry.is_nameless(vouched)
        && !contradicts(&entry.tuple, &seen.tuple)
        && leads_to(entry.state, seen.state);
    if same {
        entry.confirm(at, seen.state, vouched);
        entry.from_snapshot = true;
    }
    same
}
