//! What a socket is now, seen without an event.
//!
//! A walk's snapshot may be ahead of the ring: events older than it may still
//! come, and they know better. So it says something new only of a socket that is
//! unknown, or of which something may have been missed.

use hashbrown::hash_map;

use super::{
    Change, Tracker,
    entry::{Entry, Generation, leads_to},
    hold::Wait,
    step::release,
    sweep::Walk,
    tuple::{contradicts, improve, is_complete},
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, SocketKind};

impl Tracker {
    /// A look at one socket, through the ring: every event before it has been
    /// applied, so a line that waits for the tuple waits no longer.
    pub(super) fn looked(&mut self, at: KtimeNs, seen: &Snapshot, out: &mut Vec<Change>) {
        let entry = seen.sk.and_then(|sk| self.table.get_mut(sk));
        let Some(entry) = entry.filter(|entry| at > entry.since) else {
            return;
        };
        let Some(held) = entry.held.and_then(|key| self.holds.get_mut(key)) else {
            return;
        };
        if entry.is_nameless(self.generation)
            || !is_complete(&seen.tuple, entry.state)
            || contradicts(&entry.tuple, &seen.tuple)
        {
            return;
        }
        if matches!(held.wait, Wait::Tuple | Wait::Request) {
            improve(&mut entry.tuple, &seen.tuple, entry.state);
            held.line.tuple = entry.tuple;
        }
        if matches!(held.wait, Wait::Tuple) {
            release(
                entry,
                &mut self.holds,
                self.generation,
                &mut self.counters,
                out,
            );
        }
    }

    /// A snapshot of a walk.
    pub(super) fn walked(&mut self, at: KtimeNs, seen: &Snapshot) {
        let minisocket = seen.kind == SocketKind::Minisocket;
        if minisocket && let Some(walk) = &mut self.walk {
            walk.note_minisocket(seen);
        }
        match (seen.kind, seen.sk) {
            (SocketKind::Full, Some(sk)) => self.named(at, sk, seen),
            (SocketKind::Full, None) => self.nameless(at, seen),
            _ if minisocket && self.keeps_minisockets() => self.minisocket_seen(at, seen),
            _ => self.counters.not_followed += 1,
        }
    }

    pub(super) fn is_walking(&self) -> bool {
        self.walk.as_ref().is_some_and(Walk::is_open)
    }

    fn named(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot) {
        let full = self.is_full();
        let Some(walk) = &mut self.walk else { return };
        let entry = match self.table.map.entry(sk) {
            hash_map::Entry::Occupied(slot) => slot.into_mut(),
            hash_map::Entry::Vacant(_) if full => {
                self.counters.refused += 1;
                return;
            }
            hash_map::Entry::Vacant(slot) => {
                self.counters.connections += 1;
                slot.insert(Entry::seeded(at, seen, walk.generation));
                return;
            }
        };
        if entry.gone || at <= entry.since {
            return;
        }
        if entry.is_suspect(walk.generation) && !repair(entry, at, seen, walk.generation) {
            walk.note_other(sk, Entry::seeded(at, seen, walk.generation));
        }
    }

    fn nameless(&mut self, at: KtimeNs, seen: &Snapshot) {
        let Some(walk) = &mut self.walk else { return };
        let generation = walk.generation;
        let named = walk.named(&self.table.map, seen);
        if !named.is_empty() {
            for sk in named {
                self.named(at, sk, seen);
            }
        } else if let Some(entry) = self.table.nameless.get_mut(seen) {
            if entry.is_suspect(generation) && !repair(entry, at, seen, generation) {
                *entry = Entry::seeded(at, seen, generation);
                self.counters.connections += 1;
                self.counters.ended_unseen += 1;
            }
        } else if self.is_full() {
            self.counters.refused += 1;
        } else {
            self.counters.connections += 1;
            self.table.nameless.insert(at, seen, generation);
        }
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
