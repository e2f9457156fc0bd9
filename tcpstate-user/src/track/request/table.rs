//! The requests that seem to end, until it is known how, and what tells why.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::{record::caller, state::TcpState};

use crate::{
    decode::{KtimeNs, Request as Event, RequestEvent as What, SockAddr64},
    track::{
        Cause,
        entry::{Entry, Generation},
        nameless::Key,
    },
};

/// How long it may take until a request that seemed to die proves to live: its
/// timer is started again in the same call of the kernel, so only an interrupt or
/// a hypervisor can come between, as with [`super::hold`].
const DEATH_NS: u64 = 100_000_000;
/// How long the begin of a request is kept for its child: it costs little, and
/// nobody waits for it.
const CHILD_NS: u64 = 1_000_000_000;
/// How much earlier a reset can have been sent that is part of the same call.
const SAME_CALL_NS: u64 = 5_000_000;
/// Requests that seem to end at the same time, if the timers of a flood run out
/// in one slot of the wheel.
pub(super) const WAITING: usize = 1 << 16;
/// Resets remembered: as many CPUs may be within such a call at the same time.
const RESETS: usize = 64;
/// `SK_RST_REASON_INVALID_SYN`, the same on Linux 6.12 to 7.3: `tcp_check_req`
/// alone sends it.
const INVALID_SYN: u32 = 10;

/// What becomes of a request that seems to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A child takes over.
    Child,
    /// It dies, unless a child or a start of its timer proves otherwise.
    Death(Option<Cause>, Option<u32>),
}

/// A request that seems to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: KtimeNs,
    pub(super) event: Event,
    pub(super) fate: Fate,
    pub(super) generation: Generation,
}

impl End {
    /// Whether the request ended because `child` took over. What died before
    /// the child was made, at the same tuple, is another one.
    pub(super) fn may_be_of(&self, child: Option<&Entry>) -> bool {
        match self.fate {
            Fate::Child => true,
            Fate::Death(..) if self.event.by != caller::UNKNOWN => false,
            Fate::Death(..) => child.is_none_or(|child| self.at >= child.since),
        }
    }
}

/// The requests that seem to end, and what tells why. The maps keep their
/// memory, so nothing is allocated once the usual number has waited.
#[derive(Debug, Default)]
pub(in crate::track) struct Requests {
    pub(super) waiting: HashMap<Key, End, RandomState>,
    deaths: VecDeque<(KtimeNs, Key)>,
    children: VecDeque<(KtimeNs, Key)>,
    /// The last resets that sockets sent, by their address.
    resets: VecDeque<(KtimeNs, SockAddr64, Option<u32>)>,
    /// Since when everything is reported.
    watched_since: Option<KtimeNs>,
    /// The last gap, and the first record after it.
    gap: (Generation, KtimeNs),
}

impl Requests {
    /// From `at` on, nothing goes unreported but what is lost.
    pub(in crate::track) fn watch(&mut self, at: KtimeNs) {
        self.watched_since.get_or_insert(at);
    }

    pub(super) fn watches(&self, at: KtimeNs) -> bool {
        self.watched_since.is_some_and(|since| since <= at)
    }

    /// Notes which gap was the last before a record of `at`.
    pub(in crate::track) fn note_gap(&mut self, at: KtimeNs, generation: Generation) {
        if self.gap.0 != generation {
            self.gap = (generation, at);
        }
    }

    /// Notes that the socket at `sk`, which may be a listener, answered a
    /// segment with a reset.
    pub(in crate::track) fn note_reset(
        &mut self,
        at: KtimeNs,
        sk: SockAddr64,
        reason: Option<u32>,
    ) {
        if self.resets.len() >= RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back((at, sk, reason));
    }

    /// What `tcp_check_req` ended a request for. A reset of the listener just
    /// before may be the answer to what ended it; without a reason it may as
    /// well belong to another segment.
    fn checked(&mut self, at: KtimeNs, listener: SockAddr64) -> Fate {
        let (last, told) = self.gap;
        if last != Generation(0) && at.since(told) < SAME_CALL_NS {
            return Fate::Death(None, None);
        }
        let mut resets = self.resets.iter().rev();
        let found = resets.find(|(sent, sk, _)| *sk == listener && at.since(*sent) < SAME_CALL_NS);
        match found {
            None => Fate::Death(Some(Cause::ResetReceived), None),
            Some((_, _, Some(INVALID_SYN))) => {
                Fate::Death(Some(Cause::ResetSent), Some(INVALID_SYN))
            }
            Some(_) => Fate::Death(None, None),
        }
    }

    /// What `event` says of the end of its request.
    pub(super) fn fate(&mut self, at: KtimeNs, event: &Event) -> Fate {
        let listens = event.listener_state == TcpState::Listen;
        let death = |cause| Fate::Death(cause, None);
        match (event.what, event.by) {
            (What::Cloned, _) | (_, caller::HASHDANCE) => Fate::Child,
            (What::Expired, _) if listens => death(Some(Cause::Timeout)),
            // A segment or its timer finds that nobody listens any more.
            (What::Expired, _) | (_, caller::RECEIVE) if !listens => death(Some(Cause::Close)),
            (_, caller::CHECK_REQUEST) => self.checked(at, event.listener),
            (_, caller::ABORT) => death(Some(Cause::Killed)),
            (_, caller::ICMP) => death(Some(Cause::Unreachable)),
            _ => death(None),
        }
    }

    /// Keeps a request that seems to end. `false`: no room.
    pub(super) fn wait(&mut self, key: Key, end: End) -> bool {
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&key) {
            return false;
        }
        self.waiting.insert(key, end);
        let queue = match end.fate {
            Fate::Child => &mut self.children,
            Fate::Death(..) => &mut self.deaths,
        };
        queue.push_back((end.at, key));
        true
    }

    /// The next request of which nothing has proved that it lives.
    pub(super) fn death_due(&mut self, now: KtimeNs) -> Option<End> {
        next_due(&mut self.waiting, &mut self.deaths, now, DEATH_NS)
    }

    /// Forgets the requests whose child has not been seen.
    pub(super) fn forget_children(&mut self, now: KtimeNs) {
        while next_due(&mut self.waiting, &mut self.children, now, CHILD_NS).is_some() {}
    }
}

/// The first of a queue that still waits, if it does so since `limit`
/// nanoseconds; it does not any more then.
fn next_due(
    waiting: &mut HashMap<Key, End, RandomState>,
    queue: &mut VecDeque<(KtimeNs, Key)>,
    now: KtimeNs,
    limit: u64,
) -> Option<End> {
    while let Some(&(at, key)) = queue.front() {
        let waits = waiting.get(&key).is_some_and(|end| end.at == at);
        if waits && now.since(at) < limit {
            return None;
        }
        queue.pop_front();
        if waits {
            return waiting.remove(&key);
        }
    }
    None
}
