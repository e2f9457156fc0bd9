//! A walk over the socket tables: what it vouches for, and what it did not see.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::state::TcpState;

use super::{
    Cause, Change, Dwell, Tracker,
    entry::{Entry, Generation},
    nameless::Key,
    step::{plain_line, release},
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, SocketKind, SweepPhase};

/// A walk that is going on. Its memory is given back at its end.
#[derive(Debug)]
pub(super) struct Walk {
    begin: KtimeNs,
    /// The gaps known when it began: records lost in them are older than its
    /// snapshots.
    pub(super) generation: Generation,
    /// The minisockets it saw: where sockets that were not seen have gone.
    /// `None` when nothing is to be repaired.
    minisockets: Option<HashMap<Key, TcpState, RandomState>>,
    room: usize,
    /// Known sockets by tuple, once a snapshot came without an address.
    by_tuple: Option<HashMap<Key, Vec<SockAddr64>, RandomState>>,
}

impl Walk {
    pub(super) fn note_minisocket(&mut self, seen: &Snapshot) {
        if let Some(minisockets) = &mut self.minisockets
            && seen.kind == SocketKind::Minisocket
            && minisockets.len() < self.room
        {
            minisockets.insert((seen.netns, seen.tuple), seen.state);
        }
    }

    /// The addresses under which `map` knows the socket that was seen: more
    /// than one for listeners that share a port.
    pub(super) fn named(
        &mut self,
        map: &HashMap<SockAddr64, Entry, RandomState>,
        seen: &Snapshot,
    ) -> Vec<SockAddr64> {
        let by_tuple = self.by_tuple.get_or_insert_with(|| index(map));
        let found = by_tuple.get(&(seen.netns, seen.tuple));
        let mut named = found.cloned().unwrap_or_default();
        named.retain(|sk| map.get(sk).is_some_and(|entry| entry.tuple == seen.tuple));
        named
    }

    /// Whether `entry` should have been seen and was not.
    fn missed(&self, entry: &Entry) -> bool {
        entry.is_suspect(self.generation)
            && entry.since < self.begin
            && entry.state != TcpState::Close
            && !entry.gone
    }

    /// The state in which a minisocket carries on the connection of `entry`.
    fn carried_on(&self, entry: &Entry) -> Option<TcpState> {
        let minisockets = self.minisockets.as_ref()?;
        minisockets.get(&(entry.netns, entry.tuple)).copied()
    }
}

fn index(
    map: &HashMap<SockAddr64, Entry, RandomState>,
) -> HashMap<Key, Vec<SockAddr64>, RandomState> {
    let mut by_tuple: HashMap<Key, Vec<SockAddr64>, RandomState> = HashMap::default();
    for (sk, entry) in map {
        let known = by_tuple.entry((entry.netns, entry.tuple)).or_default();
        known.push(*sk);
    }
    by_tuple
}

impl Tracker {
    pub(super) fn sweep(&mut self, at: KtimeNs, phase: SweepPhase, out: &mut Vec<Change>) {
        match phase {
            SweepPhase::Begin => {
                let repairs = self.repaired < self.generation;
                self.walk = Some(Walk {
                    begin: at,
                    generation: self.generation,
                    minisockets: repairs.then(HashMap::default),
                    room: self.table.max(),
                    by_tuple: None,
                });
            }
            SweepPhase::End => {
                if let Some(walk) = self.walk.take() {
                    self.drop_missed(at, &walk, out);
                    self.repaired = walk.generation;
                }
            }
            SweepPhase::Failed => self.walk = None,
        }
    }

    /// Ends what a complete walk did not see. A socket in `CLOSE` is in no
    /// table while its descriptor stays open, so nothing follows for it.
    fn drop_missed(&mut self, at: KtimeNs, walk: &Walk, out: &mut Vec<Change>) {
        let (holds, counters) = (&mut self.holds, &mut self.counters);
        let generation = self.generation;
        let mut end = |sk, entry: &mut Entry| {
            if !walk.missed(entry) {
                return false;
            }
            release(entry, holds, generation, counters, out);
            let carried_on = walk.carried_on(entry);
            counters.handed_over += u64::from(carried_on.is_some());
            counters.ended_unseen += u64::from(carried_on.is_none());
            if carried_on != Some(entry.state) {
                out.push(Change {
                    new: carried_on.unwrap_or(TcpState::Close),
                    cause: Some(Cause::Unseen),
                    ..plain_line(entry, sk, at, Dwell::Unknown)
                });
            }
            true
        };
        self.table.map.retain(|sk, entry| !end(*sk, entry));
        self.table.nameless.drop_where(end);
    }
}
