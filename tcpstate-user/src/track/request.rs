//! Requests: what a connection is on the listener's side from the SYN to the
//! last segment of the handshake.
//!
//! A request tells when it began (its first SYN-ACK) in each of its records, so
//! nothing is remembered of one that lives: only of one that seems to end, until
//! it is known how. A child of its tuple has taken it over, and gets its begin;
//! or its timer is started again; or it has died, and was a connection that
//! ended in `SYN_RECV`.
//!
//! Kernel functions named here are those of
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_connection_sock.c> and
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_minisocks.c>.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::{
    record::{Tuple, caller},
    state::TcpState,
};

use super::{
    Cause, Change, ConnId, Dwell, Tracker,
    entry::{Entered, Entry, Generation},
    nameless::Key,
    tuple::is_complete,
};
use crate::decode::{
    KtimeNs, Request as Event, RequestEvent as What, SockAddr64, SocketKind, Transition,
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
const WAITING: usize = 1 << 16;
/// Resets remembered: as many CPUs may be within such a call at the same time.
const RESETS: usize = 64;
/// `SK_RST_REASON_INVALID_SYN`, the same on Linux 6.12 to 7.3: `tcp_check_req`
/// alone sends it.
const INVALID_SYN: u32 = 10;

/// What becomes of a request that seems to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// A child takes over.
    Child,
    /// It dies, unless a child or a start of its timer proves otherwise.
    Death(Option<Cause>, Option<u32>),
}

/// A request that seems to end.
#[derive(Clone, Copy, Debug)]
struct End {
    at: KtimeNs,
    event: Event,
    fate: Fate,
    generation: Generation,
}

impl End {
    /// Whether the request ended because `child` took over. What died before
    /// the child was made, at the same tuple, is another one.
    fn may_be_of(&self, child: Option<&Entry>) -> bool {
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
pub(super) struct Requests {
    waiting: HashMap<Key, End, RandomState>,
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
    pub(super) fn watch(&mut self, at: KtimeNs) {
        self.watched_since.get_or_insert(at);
    }

    fn watches(&self, at: KtimeNs) -> bool {
        self.watched_since.is_some_and(|since| since <= at)
    }

    /// Notes which gap was the last before a record of `at`.
    pub(super) fn note_gap(&mut self, at: KtimeNs, generation: Generation) {
        if self.gap.0 != generation {
            self.gap = (generation, at);
        }
    }

    /// Notes that the socket at `sk`, which may be a listener, answered a
    /// segment with a reset.
    pub(super) fn note_reset(&mut self, at: KtimeNs, sk: SockAddr64, reason: Option<u32>) {
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
    fn fate(&mut self, at: KtimeNs, event: &Event) -> Fate {
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
    fn wait(&mut self, key: Key, end: End) -> bool {
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
    fn death_due(&mut self, now: KtimeNs) -> Option<End> {
        next_due(&mut self.waiting, &mut self.deaths, now, DEATH_NS)
    }

    /// Forgets the requests whose child has not been seen.
    fn forget_children(&mut self, now: KtimeNs) {
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

impl Tracker {
    /// What a record says of a request.
    pub(super) fn request(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        if !self.follows.requests {
            return;
        }
        let key = (event.netns, event.tuple);
        let before = self.requests.waiting.get(&key).copied();
        let same = before.filter(|before| before.event.begun == event.begun);
        if let Some(other) = before
            && same.is_none()
        {
            self.requests.waiting.remove(&key);
            self.conclude_request(&other, out);
        }
        if event.what == What::Armed {
            self.requests.waiting.remove(&key);
            return;
        }
        let fate = self.requests.fate(at, event);
        // Somebody unknown: the same call that has told more.
        if same.is_some() && fate == Fate::Death(None, None) {
            return;
        }
        let end = End {
            at,
            event: *event,
            fate,
            generation: self.generation,
        };
        let kept = self.requests.wait(key, end);
        self.counters.refused += u64::from(!kept);
    }

    /// Gives the child that leaves `SYN_RECV` with `event` the begin of its
    /// request. A fast-open child has none, and one out of a syncookie neither.
    pub(super) fn claim_request(&mut self, event: &Transition) {
        if event.old != TcpState::SynRecv || self.requests.waiting.is_empty() {
            return;
        }
        let entry = self.table.get_mut(event.sk);
        let known: Option<Tuple> = entry.as_ref().map(|entry| entry.tuple);
        let tuple = match known {
            Some(known) if !is_complete(&event.tuple, event.old) => known,
            _ => event.tuple,
        };
        let key = (event.netns, tuple);
        let Some(&end) = self.requests.waiting.get(&key) else {
            return;
        };
        let child = entry.filter(|entry| {
            (entry.state, entry.entered) == (TcpState::SynRecv, Entered::Before)
                && !entry.is_suspect(self.generation)
                && !entry.gone
        });
        if !end.may_be_of(child.as_deref()) {
            return;
        }
        self.requests.waiting.remove(&key);
        let begun = end.event.begun;
        if let Some(child) = child
            && end.generation == self.generation
            && begun <= child.since
        {
            child.since = begun;
            child.entered = Entered::Seen;
            child.from_snapshot = false;
            if let Some(held) = child.held.and_then(|key| self.holds.get_mut(key)) {
                held.line.at = begun;
            }
        }
    }

    /// Writes what no further record can change any more.
    pub(super) fn settle_requests(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        while let Some(end) = self.requests.death_due(now) {
            self.conclude_request(&end, out);
        }
        self.requests.forget_children(now);
    }

    /// Writes the death of a request, unless what would disprove it may have
    /// been lost.
    fn conclude_request(&mut self, end: &End, out: &mut Vec<Change>) {
        let Fate::Death(cause, reset_reason) = end.fate else {
            return;
        };
        if end.generation != self.generation || !self.requests.watches(end.at) {
            return;
        }
        self.counters.connections += 1;
        let begun = end.event.begun;
        let birth = Change {
            at: begun,
            conn: ConnId {
                birth: begun,
                sk: end.event.req,
            },
            netns: end.event.netns,
            family: end.event.how.family(),
            tuple: end.event.tuple,
            old: TcpState::Listen,
            new: TcpState::SynRecv,
            dwell: Dwell::Unknown,
            kind: SocketKind::Request,
            origin: None,
            cause: None,
            reset_reason: None,
            rearmed: 0,
        };
        // What happened before the session is no line of it.
        out.extend(self.requests.watches(begun).then_some(birth));
        out.push(Change {
            at: end.at,
            old: TcpState::SynRecv,
            new: TcpState::Close,
            dwell: Dwell::Exact(end.at.since(begun)),
            cause,
            reset_reason,
            ..birth
        });
    }
}
