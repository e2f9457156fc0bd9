//! What a socket is now, seen without an event.
//!
//! A snapshot may be ahead of the ring: events older than it may still come,
//! and they know better. So it says something new only of a socket that is
//! unknown, or of which something may have been missed.

use hashbrown::hash_map;
use tcpstate_common::state::TcpState;

use super::{
    Change, Tracker,
    entry::{Entry, Generation, leads_to},
    hold::Wait,
    step::release,
    tuple::{contradicts, is_complete},
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, SocketKind};

impl Tracker {
    pub(super) fn snapshot(&mut self, at: KtimeNs, seen: &Snapshot, out: &mut Vec<Change>) {
        if seen.kind != SocketKind::Full {
            self.counters.not_followed += 1;
            if let Some(walk) = &mut self.walk {
                walk.note_minisocket(seen);
            }
            return;
        }
        match seen.sk {
            Some(sk) => self.named(at, sk, seen, out),
            None => self.nameless(at, seen, out),
        }
    }

    fn named(&mut self, at: KtimeNs, sk: SockAddr64, seen: &Snapshot, out: &mut Vec<Change>) {
        // Outside a walk nobody says how old the look is: it vouches for nothing.
        let vouched = self.walk.as_ref().map(|walk| walk.generation);
        let full = self.table.is_full();
        match self.table.map.entry(sk) {
            hash_map::Entry::Vacant(_) if full => self.counters.refused += 1,
            hash_map::Entry::Vacant(slot) => {
                self.counters.connections += 1;
                slot.insert(Entry::seeded(at, seen, vouched.unwrap_or(self.generation)));
            }
            hash_map::Entry::Occupied(slot) => {
                let entry = slot.into_mut();
                if entry.gone || at <= entry.since {
                    return;
                }
                if let Some(key) = entry.held
                    && let Some(held) = self.holds.get_mut(key)
                    && matches!(held.wait, Wait::Tuple(_))
                    && is_complete(&seen.tuple, entry.state)
                    && !contradicts(&entry.tuple, &seen.tuple)
                {
                    held.wait = Wait::Tuple(Some((at, seen.tuple)));
                }
                let Some(vouched) = vouched.filter(|&vouched| entry.is_suspect(vouched)) else {
                    return;
                };
                if repair(entry, at, seen, vouched) == Repair::Same {
                    return;
                }
                self.counters.connections += 1;
                self.counters.ended_unseen += u64::from(entry.state != TcpState::Close);
                release(entry, &mut self.holds, self.generation, &mut self.counters, out);
                *entry = Entry::seeded(at, seen, vouched);
            }
        }
    }

    fn nameless(&mut self, at: KtimeNs, seen: &Snapshot, out: &mut Vec<Change>) {
        let vouched = self
            .walk
            .as_ref()
            .map_or(self.generation, |walk| walk.generation);
        if let Some(walk) = &mut self.walk {
            let named = walk.named(&self.table.map, seen);
            if !named.is_empty() {
                for sk in named {
                    self.named(at, sk, seen, out);
                }
                return;
            }
        }
        if let Some(entry) = self.table.nameless.get_mut(seen) {
            if entry.is_suspect(vouched) {
                repair(entry, at, seen, vouched);
            }
        } else if self.table.is_full() {
            self.counters.refused += 1;
        } else {
            self.counters.connections += 1;
            self.table.nameless.insert(at, seen, vouched);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    /// The snapshot is of the connection that was known.
    Same,
    /// It is of another.
    Other,
}

/// Brings an entry, of which something may have been missed, up to what was
/// seen, if it is the same connection.
fn repair(entry: &mut Entry, at: KtimeNs, seen: &Snapshot, vouched: Generation) -> Repair {
    if contradicts(&entry.tuple, &seen.tuple) || !leads_to(entry.state, seen.state) {
        return Repair::Other;
    }
    entry.confirm(at, seen.state, vouched);
    entry.from_snapshot = true;
    Repair::Same
}
