//! A walk over the socket tables: what it vouches for, and what it did not see.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tcpstate_common::state::TcpState;

use super::{
    Cause, Change, Dwell, Tracker,
    by_address::ByAddress,
    entry::{Entry, Generation, leads_to},
    minisocket::Minisocket,
    nameless::Key,
    step::{plain_line, release},
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, SocketKind, SweepPhase};

/// How much later than the end of a walk a record must be, so that none that is
/// older can follow: stamps of different CPUs differ by microseconds.
const SKEW_NS: u64 = 1_000_000;

/// A walk, from its begin until the ring has been read beyond its end: only
/// then is a socket that it did not see gone, because records that explain it
/// may lie in the ring. Its memory is given back then.
#[derive(Debug)]
pub(super) struct Walk {
    begin: KtimeNs,
    end: Option<KtimeNs>,
    /// The gaps known when it began: records lost in them are older than its
    /// snapshots.
    pub(super) generation: Generation,
    /// The minisockets it saw: where sockets that were not seen have gone.
    /// `None` when nothing is to be repaired.
    minisockets: Option<HashMap<Key, CarriedOn, RandomState>>,
    room: usize,
    /// Other connections seen at addresses of which something may have been
    /// missed. Which one was there first is known once the ring is read.
    others: HashMap<SockAddr64, Entry, RandomState>,
    other_minisockets: HashMap<SockAddr64, Minisocket, RandomState>,
    /// Known sockets by tuple, once a snapshot came without an address.
    by_tuple: Option<HashMap<Key, Vec<SockAddr64>, RandomState>>,
    minisockets_by_tuple: Option<HashMap<Key, SockAddr64, RandomState>>,
    /// By cookie, and when: those with the tuple of a socket of which something
    /// may have been missed, and which may be another one by now.
    claims: HashMap<u64, (KtimeNs, Snapshot), RandomState>,
    /// The addresses at which they may be, still to be looked at.
    doubted: Vec<SockAddr64>,
}

/// A minisocket that a walk saw.
#[derive(Clone, Copy, Debug)]
struct CarriedOn {
    state: TcpState,
    tw: Option<SockAddr64>,
}

impl Walk {
    pub(super) fn is_open(&self) -> bool {
        self.end.is_none()
    }

    pub(super) fn note_other(&mut self, sk: SockAddr64, other: Entry) {
        self.others.insert(sk, other);
    }

    pub(super) fn note_minisocket(&mut self, map: &ByAddress<Minisocket>, seen: &Snapshot) {
        if self.minisockets.is_none() {
            return;
        }
        let tw = seen.sk.or_else(|| self.minisocket_at(map, seen));
        if let Some(minisockets) = &mut self.minisockets
            && minisockets.len() < self.room
        {
            let state = seen.state;
            minisockets.insert((seen.netns, seen.tuple), CarriedOn { state, tw });
        }
    }

    pub(super) fn note_other_minisocket(&mut self, tw: SockAddr64, other: Minisocket) {
        self.other_minisockets.insert(tw, other);
    }

    pub(super) fn other_minisocket(&self, tw: SockAddr64) -> Option<Minisocket> {
        self.other_minisockets.get(&tw).copied()
    }

    /// The address under which `map` knows the minisocket that was seen without
    /// one.
    pub(super) fn minisocket_at(
        &mut self,
        map: &ByAddress<Minisocket>,
        seen: &Snapshot,
    ) -> Option<SockAddr64> {
        if seen.sk.is_some() {
            return None;
        }
        let by_tuple = self.minisockets_by_tuple.get_or_insert_with(|| {
            let keys = map.iter().map(|(tw, it)| ((it.netns, it.tuple), *tw));
            keys.collect()
        });
        by_tuple.get(&(seen.netns, seen.tuple)).copied()
    }

    /// Keeps what was seen until looks at `sockets` tell which of them it is.
    pub(super) fn claim(&mut self, at: KtimeNs, seen: &Snapshot, sockets: &[SockAddr64]) {
        self.claims.insert(seen.cookie, (at, *seen));
        self.doubted.extend_from_slice(sockets);
    }

    /// The addresses to be looked at, once.
    pub(super) fn doubted(&mut self, sockets: &mut Vec<SockAddr64>) {
        // Listeners that share a port are claimed once for each of them.
        self.doubted.sort_unstable();
        self.doubted.dedup();
        sockets.append(&mut self.doubted);
    }

    /// What was seen of the socket that a look has found, as it was then.
    pub(super) fn answer(&mut self, found: &Snapshot) -> Option<Entry> {
        let (at, seen) = self.claims.remove(&found.cookie)?;
        let same = (seen.netns, seen.tuple) == (found.netns, found.tuple);
        let later = same && leads_to(seen.state, found.state);
        later.then(|| Entry::seeded(at, &seen, self.generation))
    }

    /// Whether something that was last heard of at `heard` should have been
    /// seen, were it still there.
    pub(super) fn missed_since(&self, heard: KtimeNs) -> bool {
        heard < self.begin
    }

    /// When what was not seen is over.
    pub(super) fn over(&self) -> KtimeNs {
        self.end.unwrap_or(self.begin)
    }

    /// The addresses under which `map` knows the socket that was seen: more
    /// than one for listeners that share a port.
    pub(super) fn named(&mut self, map: &ByAddress<Entry>, seen: &Snapshot) -> Vec<SockAddr64> {
        let by_tuple = self.by_tuple.get_or_insert_with(|| index(map));
        let found = by_tuple.get(&(seen.netns, seen.tuple));
        let mut named = found.cloned().unwrap_or_default();
        named.retain(|sk| map.get(sk).is_some_and(|entry| entry.tuple == seen.tuple));
        named
    }

    /// Whether `entry` should have been seen and was not.
    fn missed(&self, entry: &Entry) -> bool {
        entry.is_suspect(self.generation)
            && self.missed_since(entry.since)
            && entry.state != TcpState::Close
            && !entry.gone
    }

    /// The minisocket that carries on the connection of `entry`.
    fn carried_on(&self, entry: &Entry) -> Option<CarriedOn> {
        let minisockets = self.minisockets.as_ref()?;
        minisockets.get(&(entry.netns, entry.tuple)).copied()
    }
}

fn index(map: &ByAddress<Entry>) -> HashMap<Key, Vec<SockAddr64>, RandomState> {
    let mut by_tuple: HashMap<Key, Vec<SockAddr64>, RandomState> = HashMap::default();
    for (sk, entry) in map.iter() {
        let known = by_tuple.entry((entry.netns, entry.tuple)).or_default();
        known.push(*sk);
    }
    by_tuple
}

impl Tracker {
    pub(super) fn sweep(&mut self, at: KtimeNs, phase: SweepPhase) {
        match phase {
            SweepPhase::Begin => {
                // Every hook is attached by the first walk.
                self.minisockets.watch(at);
                self.requests.watch(at);
                let repairs = self.repaired < self.generation;
                self.walk = Some(Walk {
                    begin: at,
                    end: None,
                    generation: self.generation,
                    minisockets: repairs.then(HashMap::default),
                    room: self.table.max(),
                    others: HashMap::default(),
                    other_minisockets: HashMap::default(),
                    by_tuple: None,
                    minisockets_by_tuple: None,
                    claims: HashMap::default(),
                    doubted: Vec::new(),
                });
            }
            SweepPhase::End => self.end_walk(at),
            SweepPhase::Failed => self.walk = None,
        }
    }

    fn end_walk(&mut self, at: KtimeNs) {
        let Some(walk) = &mut self.walk else { return };
        walk.end = Some(at);
        let (begin, generation) = (walk.begin, walk.generation);
        let mut claims: Vec<_> = std::mem::take(&mut walk.claims).into_values().collect();
        if claims.is_empty() {
            return;
        }
        // The order of a hash table is another in every run.
        claims.sort_by_key(|(_, seen)| seen.cookie);
        // Where answers were lost, the tuple has to do: another walk follows.
        let whole = self.generation == generation;
        let spoken = if whole {
            self.spoken_since(begin)
        } else {
            HashSet::default()
        };
        for (at, seen) in claims {
            let full = seen.kind == SocketKind::Full;
            match (whole, full) {
                (true, _) if spoken.contains(&(seen.netns, seen.tuple)) => {}
                (true, true) => self.plant(at, &seen, generation),
                (true, false) => self.minisocket_seen_somewhere(at, &seen, generation),
                (false, true) => self.named_by_tuple(at, &seen),
                (false, false) => self.minisocket_seen_by_tuple(at, &seen, generation),
            }
        }
    }

    /// Whoever has told of itself since `begin`.
    fn spoken_since(&self, begin: KtimeNs) -> HashSet<Key, RandomState> {
        let full = self.table.map.values();
        let full = full.filter(|entry| entry.since.max(entry.birth) >= begin);
        let full = full.map(|entry| (entry.netns, entry.tuple));
        let small = self.minisockets.map.values();
        let small = small.filter(|known| known.heard >= begin);
        full.chain(small.map(|known| (known.netns, known.tuple)))
            .collect()
    }

    /// Concludes a walk once a record shows that the ring is read beyond it.
    pub(super) fn pass_walk(&mut self, at: KtimeNs, out: &mut Vec<Change>) {
        if self.walk.is_some() {
            self.settle_walk(KtimeNs(at.0.saturating_sub(SKEW_NS)), out);
        }
    }

    /// Concludes a walk that ended before `now`.
    pub(super) fn settle_walk(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        let ended = self
            .walk
            .take_if(|walk| walk.end.is_some_and(|end| end <= now));
        if let Some(walk) = ended {
            self.drop_missed(&walk, out);
            self.repaired = walk.generation;
        }
    }

    /// Ends what a complete walk did not see. A socket in `CLOSE` is in no
    /// table while its descriptor stays open, so nothing follows for it.
    fn drop_missed(&mut self, walk: &Walk, out: &mut Vec<Change>) {
        let (holds, counters) = (&mut self.holds, &mut self.counters);
        let minisockets = &mut self.minisockets;
        let generation = self.generation;
        let at = walk.over();
        let first = out.len();
        let mut end = |sk, entry: &mut Entry| {
            if !walk.missed(entry) {
                return false;
            }
            release(entry, holds, generation, counters, out);
            let carried_on = walk.carried_on(entry);
            counters.handed_over += u64::from(carried_on.is_some());
            counters.ended_unseen += u64::from(carried_on.is_none());
            if let Some(minisocket) = carried_on {
                let key = (entry.netns, entry.tuple);
                let (conn, origin) = (entry.conn(sk), entry.known_origin());
                minisockets.inherit(minisocket.tw, &key, conn, origin);
            }
            let state = carried_on.map_or(TcpState::Close, |it| it.state);
            // Without a tuple nobody knows where it went, or whether.
            if state != entry.state && entry.is_complete() {
                out.push(Change {
                    new: state,
                    cause: Some(Cause::Unseen),
                    ..plain_line(entry, sk, at, Dwell::Unknown)
                });
            }
            let other = walk.others.get(&sk);
            if let Some(other) = other {
                counters.connections += 1;
                *entry = *other;
            }
            other.is_none()
        };
        self.table.map.retain(|sk, entry| !end(*sk, entry));
        let mut uncounted = 0;
        self.table.nameless.drop_where(|sk, entry| {
            let ended = end(sk, entry);
            uncounted += u64::from(ended);
            ended
        });
        self.counters.connections += uncounted;
        self.drop_missed_minisockets(walk, out);
        // The order of a hash table is another in every run.
        out[first..].sort_by_key(|line| line.conn);
    }
}
