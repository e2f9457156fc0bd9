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

/// How long after a record another can come that belongs to the same call of the
/// kernel, as the start of the timer that proves that a request lives on. Only an
/// interrupt or a hypervisor can come between, as in [`crate::track::hold`].
const SAME_CALL_NS: u64 = 100_000_000;
/// How long the begin of a request is kept for its child: it costs little, and
/// nobody waits for it.
const CHILD_NS: u64 = 1_000_000_000;
/// Requests that seem to end at the same time, if the timers of a flood run out
/// in one slot of the wheel.
pub(super) const WAITING: usize = 1 << 16;
/// Places in the queue of those: so many that making room takes no time.
pub(super) const QUEUED: usize = 2 * WAITING;
/// Resets remembered. Beyond that, what ended a request is not known.
const RESETS: usize = 64;
/// `SK_RST_REASON_INVALID_SYN`, the same on Linux 6.12 to 7.3: on behalf of a
/// listener `tcp_check_req` alone sends it.
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
    /// The time of the last one that there was no room for.
    forgotten: Option<KtimeNs>,
    /// Since when everything is reported.
    watched_since: Option<KtimeNs>,
    /// The last gap, and the first record after it.
    gap: (Generation, KtimeNs),
}

impl Requests {
    /// Whether nothing is due some time.
    pub(super) fn awaits_nothing(&self) -> bool {
        self.deaths.is_empty() && self.children.is_empty()
    }

    /// From `at` on, nothing goes unreported but what is lost.
    pub(in crate::track) fn watch(&mut self, at: KtimeNs) {
        self.watched_since.get_or_insert(at);
    }

    pub(super) fn watches(&self, at: KtimeNs) -> bool {
        self.watched_since.is_some_and(|since| since <= at)
    }

    /// Notes which gap was the last before a record of `at`.
    #[inline]
    pub(in crate::track) fn note_gap(&mut self, at: KtimeNs, generation: Generation) {
        if self.gap.0 != generation {
            self.gap = (generation, at);
        }
    }

    /// Notes that the socket at `sk`, which may be a listener, answered a
    /// segment with a reset that may be one of `tcp_check_req`.
    pub(in crate::track) fn note_reset(
        &mut self,
        at: KtimeNs,
        sk: SockAddr64,
        reason: Option<u32>,
    ) {
        if reason.is_some_and(|reason| reason != INVALID_SYN) {
            return;
        }
        if self.resets.len() >= RESETS {
            self.forgotten = self.resets.pop_front().map(|(at, ..)| at);
        }
        self.resets.push_back((at, sk, reason));
    }

    /// What `tcp_check_req` ended a request for: a RST, or a segment that we
    /// answer by one, which the listener has sent just before then. Where
    /// resets have no reason, it may as well have been for another segment.
    fn checked(&mut self, at: KtimeNs, listener: SockAddr64) -> Fate {
        let recent = |time: KtimeNs| at.since(time) < SAME_CALL_NS;
        let lost = self.gap.0 != Generation(0) && recent(self.gap.1);
        if lost || self.forgotten.is_some_and(recent) {
            return Fate::Death(None, None);
        }
        let mut resets = self.resets.iter();
        let found = resets.rposition(|(sent, sk, _)| *sk == listener && recent(*sent));
        match found.map(|found| (found, self.resets[found].2)) {
            None => Fate::Death(Some(Cause::ResetReceived), None),
            Some((_, None)) => Fate::Death(None, None),
            Some((found, reason)) => {
                self.resets.remove(found);
                Fate::Death(Some(Cause::ResetSent), reason)
            }
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
        let before = self.waiting.insert(key, end);
        let queue = match end.fate {
            Fate::Child => &mut self.children,
            Fate::Death(..) => &mut self.deaths,
        };
        // Those that have been claimed meanwhile are still in the queue: a second
        // of them, at any rate.
        if queue.len() >= QUEUED {
            let waiting = &self.waiting;
            queue.retain(|(at, key)| waiting.get(key).is_some_and(|end| end.at == *at));
        }
        let queued = before.is_some_and(|before| (before.at, before.fate) == (end.at, end.fate));
        if !queued {
            queue.push_back((end.at, key));
        }
        true
    }

    /// The next request of which nothing has proved that it lives.
    pub(super) fn death_due(&mut self, now: KtimeNs) -> Option<End> {
        next_due(&mut self.waiting, &mut self.deaths, now, SAME_CALL_NS)
    }

    /// Places taken in both queues.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.deaths.len() + self.children.len()
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
