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

mod table;
#[cfg(test)]
mod tests;

use tcpstate_common::{record::Tuple, state::TcpState};

use self::table::{End, Fate};
use super::{Change, ConnId, Dwell, Tracker, entry::Entered, tuple::is_complete};
use crate::decode::{KtimeNs, Request as Event, RequestEvent as What, SocketKind, Transition};

pub(super) use table::Requests;

impl Tracker {
    /// What a record says of a request.
    pub(in crate::track) fn request(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
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
    pub(in crate::track) fn claim_request(&mut self, event: &Transition) {
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
    #[inline]
    pub(in crate::track) fn settle_requests(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        if self.requests.awaits_nothing() {
            return;
        }
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
            closer: None,
            totals: None,
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
