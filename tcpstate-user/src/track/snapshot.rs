//! What a socket is now, seen without an event.
//!
//! A walk's snapshot may be ahead of the ring: events older than it may still
//! come, and they know better. So it says something new only of a socket that is
//! unknown, or of which something may have been missed. It tells a tuple and a
//! cookie, and no address (of a recording it may); a look at an address, which
//! comes through the ring, tells by the cookie which of them is there.

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
    /// applied.
    pub(super) fn looked(&mut self, at: KtimeNs, seen: &Snapshot, out: &mut Vec<Change>) {
        match (seen.kind, seen.sk) {
            (SocketKind::Full, Some(sk)) => {
                self.identify(at, sk, seen);
                self.complete(at, sk, seen, out);
            }
            (SocketKind::Minisocket, Some(tw)) => self.identify_minisocket(at, tw, seen),
            _ => {}
        }
    }

    /// A line that waits for the tuple waits no longer.
    fn complete(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot, out: &mut Vec<Change>) {
        let entry = self.table.get_mut(sk);
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

    /// If a walk has seen the socket at `sk`: that is where it is.
    fn identify(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot) {
        let walk = self.walk.as_mut();
        let claimed = walk.and_then(|walk| walk.answer(seen));
        if let Some(entry) = self.table.map.get(&sk) {
            if !contradicts(&entry.tuple, &seen.tuple) {
                // Seen in a walk before its tuple was told by an event.
                self.table.nameless.found(seen);
            }
            if claimed.is_some() {
                self.named(at, sk, seen);
            }
            return;
        }
        let seed = self.table.nameless.found(seen);
        if let Some(mut entry) = seed.or(claimed) {
            self.counters.connections += 1;
            self.table.hearsay.tell(sk, &mut entry);
            self.table.map.insert(sk, entry);
        }
    }

    /// A snapshot of a walk.
    pub(super) fn walked(&mut self, at: KtimeNs, seen: &Snapshot) {
        let minisocket = seen.kind == SocketKind::Minisocket;
        if minisocket && let Some(walk) = &mut self.walk {
            walk.note_minisocket(&self.minisockets.map, seen);
        }
        match (seen.kind, seen.sk) {
            (SocketKind::Full, Some(sk)) => self.named(at, sk, seen),
            (SocketKind::Full, None) => self.nameless(at, seen),
            _ if minisocket && self.keeps_minisockets() => self.minisocket_seen(at, seen),
            _ => self.counters.not_followed += 1,
        }
    }

    /// Whether a snapshot is that of a walk, not a look in its course.
    pub(super) fn is_of_walk(&self, seen: &Snapshot) -> bool {
        let asked_for = self.follows.looks && seen.sk.is_some();
        !asked_for && self.walk.as_ref().is_some_and(Walk::is_open)
    }

    fn named(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot) {
        let full = self.is_full();
        let Some(walk) = &mut self.walk else { return };
        let Some(entry) = self.table.map.get_mut(&sk) else {
            if full {
                self.counters.refused += 1;
            } else {
                self.counters.connections += 1;
                let seeded = Entry::seeded(at, seen, walk.generation);
                self.table.map.insert(sk, seeded);
            }
            return;
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
        let suspect = |sk: &SockAddr64| {
            let entry = self.table.map.get(sk);
            entry.is_some_and(|entry| entry.is_suspect(generation))
        };
        if named.is_empty() {
            self.plant(at, seen, generation);
        } else if !self.follows.looks || seen.cookie == 0 {
            self.named_by_tuple(at, seen);
        } else if named.iter().any(suspect) {
            walk.claim(at, seen, &named);
        }
    }

    /// Brings up to what was seen whoever has that tuple.
    pub(super) fn named_by_tuple(&mut self, at: KtimeNs, seen: &Snapshot) {
        let Some(walk) = &mut self.walk else { return };
        for sk in walk.named(&self.table.map, seen) {
            self.named(at, sk, seen);
        }
    }

    /// Keeps a socket that is known without its address. It is counted when it
    /// is known by that, or is over.
    pub(super) fn plant(&mut self, at: KtimeNs, seen: &Snapshot, generation: Generation) {
        let full = self.is_full();
        if let Some(entry) = self.table.nameless.get_mut(seen) {
            if entry.is_suspect(generation) && !repair(entry, at, seen, generation) {
                *entry = Entry::seeded(at, seen, generation);
                self.counters.connections += 1;
                self.counters.ended_unseen += 1;
            }
        } else if full {
            self.counters.refused += 1;
        } else {
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
