//! The minisockets by address, and what is about to happen to some of them:
//! begins that nobody has claimed, ends that are not certain.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::state::TcpState;

use super::{
    clue::{Connects, Resets},
    entry::{Minisocket, Origins},
    over::Over,
};
use crate::{
    decode::{KtimeNs, SockAddr64, Transition},
    track::{
        Cause, ConnId, Process, by_address::ByAddress, entry::Generation, nameless::Key,
        tuple::contradicts,
    },
};

/// How long an end is not certain. `timer_expire_entry` and a new start follow
/// `timer_cancel` at once, `kfree_skb` when the segment is done with; only an
/// interrupt or a hypervisor can come between, as before `tcp_send_reset`. In an
/// emulated machine that was shared, 30 ms were too few for one of 2000; and to
/// take a new start for an end would be wrong, to say it late is not.
const STOP_NS: u64 = 1_000_000_000;
/// How long the full socket may take to hand over, which is in the same call:
/// as with [`STOP_NS`], where too early means a connection that was refused its
/// minisocket.
const BEGIN_NS: u64 = 1_000_000_000;
/// Begins that wait at the same time, if a recording has that many: on a host
/// they are as many as CPUs.
const BEGINS: usize = 1 << 16;

/// By what a begin knows its full socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Tie {
    Socket(SockAddr64),
    Tuple(Key),
}

/// A begin that no full socket has claimed yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::track) struct Begin {
    pub(super) at: KtimeNs,
    pub(super) state: TcpState,
    /// `None` when the minisocket is not remembered.
    pub(super) tw: Option<SockAddr64>,
    pub(super) again: Option<Again>,
}

/// More likely than a begin, a start of the timer of a minisocket that was known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// The stop of its timer, which was its end if this was a begin.
    pub(super) stop: Option<Stop>,
}

/// An end that is not written yet: its timer was stopped, or its connection is
/// not known.
#[derive(Clone, Copy, Debug)]
pub(in crate::track) struct Stop {
    pub(super) at: KtimeNs,
    pub(super) key: Key,
    pub(super) state: TcpState,
    pub(super) left_ms: u32,
    pub(super) cause: Option<Cause>,
    pub(super) reset_reason: Option<u32>,
    pub(super) generation: Generation,
    /// It has ended; only its connection is missing.
    pub(super) certain: bool,
}

/// All minisockets. Queues and maps keep their memory, so nothing is allocated
/// once the usual number was there at the same time.
#[derive(Debug)]
pub(in crate::track) struct Minisockets {
    pub(in crate::track) map: ByAddress<Minisocket>,
    /// Those whose source told no address (`sock_diag`).
    pub(in crate::track) nameless: HashMap<Key, Minisocket, RandomState>,
    begins: HashMap<Tie, Begin, RandomState>,
    begins_due: VecDeque<(KtimeNs, Tie)>,
    pub(super) stops: HashMap<SockAddr64, Stop, RandomState>,
    stops_due: VecDeque<(KtimeNs, SockAddr64)>,
    pub(super) resets: Resets,
    pub(super) connects: Connects,
    pub(super) over: Over,
    /// Since when begins are reported.
    watched_since: Option<KtimeNs>,
    /// The last gap, and the first record after it.
    gap: (Generation, KtimeNs),
}

impl Minisockets {
    /// None, and room for so many by address.
    pub(in crate::track) fn with_room(room: usize) -> Self {
        Self {
            map: ByAddress::with_room(room),
            nameless: HashMap::default(),
            begins: HashMap::default(),
            begins_due: VecDeque::new(),
            stops: HashMap::default(),
            stops_due: VecDeque::new(),
            resets: Resets::default(),
            connects: Connects::default(),
            over: Over::default(),
            watched_since: None,
            gap: (Generation::default(), KtimeNs::default()),
        }
    }

    pub(in crate::track) fn len(&self) -> usize {
        self.map.len() + self.nameless.len()
    }

    /// What the queues have room for.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        let queues = self.begins_due.capacity() + self.stops_due.capacity();
        queues + self.begins.allocation_size() + self.stops.allocation_size()
    }

    /// Whether nothing is due some time.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.stops_due.is_empty() && self.begins_due.is_empty()
    }

    /// From `at` on, no begin goes unreported.
    pub(in crate::track) fn watch(&mut self, at: KtimeNs) {
        self.watched_since.get_or_insert(at);
    }

    /// Whether every hook was attached at `at`.
    pub(super) fn is_watched(&self, at: KtimeNs) -> bool {
        self.watched_since.is_some_and(|since| since <= at)
    }

    /// Notes which gap was the last before a record of `at`.
    #[inline]
    pub(in crate::track) fn note_gap(&mut self, at: KtimeNs, generation: Generation) {
        if self.gap.0 != generation {
            self.gap = (generation, at);
        }
    }

    /// Whether the begin that belongs to a hand-over at `at` was reported, if
    /// there was one: nothing was lost since it could have been.
    pub(in crate::track) fn watches(&self, at: KtimeNs) -> bool {
        let (last, told) = self.gap;
        let whole = last == Generation(0) || at.since(told) >= BEGIN_NS;
        whole && self.is_watched(at)
    }

    /// Whether a walk saw one without an address that is not younger than a record
    /// of `at`.
    pub(super) fn has_seen(&self, at: KtimeNs, key: &Key) -> bool {
        self.nameless.get(key).is_some_and(|it| it.heard <= at)
    }

    /// Moves what a walk saw without an address to `tw`, if it is not younger
    /// than a record of `at`.
    pub(super) fn adopt(&mut self, at: KtimeNs, tw: SockAddr64, key: Key) {
        let seen = self
            .has_seen(at, &key)
            .then(|| self.nameless.remove(&key))
            .flatten();
        if let Some(seen) = seen {
            self.map.insert(tw, seen);
        }
    }

    /// A full socket that was missed is carried on by the minisocket of its
    /// tuple, of which nothing else is known.
    pub(in crate::track) fn inherit(
        &mut self,
        tw: Option<SockAddr64>,
        key: &Key,
        conn: ConnId,
        origin: Option<Process>,
    ) {
        let known = match tw {
            Some(tw) => self.map.get_mut(&tw),
            None => self.nameless.get_mut(key),
        };
        if let Some(known) = known
            && (known.netns, known.tuple) == *key
            && known.origins == Origins::Unknown
        {
            known.conn = conn;
            known.origin = origin;
            known.origins = Origins::Counted;
        }
    }

    /// Keeps a begin until its full socket claims it. `false`: no room.
    pub(super) fn await_claim(&mut self, sk: Option<SockAddr64>, key: Key, begin: Begin) -> bool {
        if self.begins.len() >= BEGINS {
            return false;
        }
        let tie = sk.map_or(Tie::Tuple(key), Tie::Socket);
        self.begins.insert(tie, begin);
        self.begins_due.push_back((begin.at, tie));
        true
    }

    /// The begin of the minisocket that takes over from the full socket of
    /// `event`, whose connection is `key`.
    pub(in crate::track) fn claim(&mut self, event: &Transition, key: Key) -> Option<Begin> {
        if self.begins.is_empty() {
            return None;
        }
        let here = Tie::Socket(event.sk);
        let by_address = self.begins.get(&here).copied();
        if let Some(begin) = by_address
            && self.is_of(&begin, &key)
        {
            return self.begins.remove(&here);
        }
        self.begins.remove(&Tie::Tuple(key))
    }

    /// Whether nothing says that the begin is of another connection than `key`,
    /// whose full socket had the address before.
    fn is_of(&self, begin: &Begin, key: &Key) -> bool {
        let known = begin.tw.and_then(|tw| self.map.get(&tw));
        known.is_none_or(|known| known.netns == key.0 && !contradicts(&known.tuple, &key.1))
    }

    /// The next begin that nobody has claimed in time.
    pub(super) fn begin_due(&mut self, now: KtimeNs) -> Option<Begin> {
        while let Some(&(at, tie)) = self.begins_due.front() {
            let waits = self.begins.get(&tie).filter(|begin| begin.at == at);
            if waits.is_some() && now.since(at) < BEGIN_NS {
                return None;
            }
            let due = waits.copied();
            self.begins_due.pop_front();
            if due.is_some() {
                self.begins.remove(&tie);
                return due;
            }
        }
        None
    }

    /// Keeps an end until it is certain.
    pub(super) fn await_end(&mut self, tw: SockAddr64, stop: Stop) {
        self.stops.insert(tw, stop);
        if !stop.certain {
            self.stops_due.push_back((stop.at, tw));
        }
    }

    /// The next minisocket whose timer was stopped and that was not heard of
    /// since.
    pub(super) fn stop_due(&mut self, now: KtimeNs) -> Option<SockAddr64> {
        while let Some(&(at, tw)) = self.stops_due.front() {
            let stop = self.stops.get(&tw);
            let waits = stop.is_some_and(|stop| stop.at == at && !stop.certain);
            if waits && now.since(at) < STOP_NS {
                return None;
            }
            self.stops_due.pop_front();
            if waits {
                return Some(tw);
            }
        }
        None
    }
}
