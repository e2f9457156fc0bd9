//! What the tracker remembers of one socket.

use tcpstate_common::{
    record::{Tuple, how},
    state::TcpState,
};

use super::{
    ConnId, Dwell, Opened, Process,
    hold::HeldKey,
    tuple::{contradicts, improve, is_complete},
};
use crate::decode::{Family, KtimeNs, Snapshot, SockAddr64, Transition};

/// Number of the gap that was the last one before something was known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(pub(super) u32);

/// How the begin of the current interval is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// The event was seen.
    Seen,
    /// The state was there already.
    Before,
    /// Nothing is known of it.
    Untold,
}

/// A socket, under its kernel address, in a pair of cache lines: what every event
/// writes is in the first, so that the second need not go back to memory.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) birth: KtimeNs,
    /// Begin of the current interval.
    pub(super) since: KtimeNs,
    /// The current interval is vouched for up to this gap.
    pub(super) generation: Generation,
    pub(super) netns: u32,
    /// An active RST has gone out while the socket was still open, with its
    /// reason.
    pub(super) reset_sent: Option<Option<u32>>,
    /// A line of this socket that waits for something.
    pub(super) held: Option<HeldKey>,
    pub(super) state: TcpState,
    pub(super) entered: Entered,
    pub(super) family: Family,
    pub(super) opened: Opened,
    /// The origin was told after a gap, and no event since has shown that it is
    /// not that of another connection, whose socket is at this address by now.
    pub(super) origin_in_doubt: bool,
    /// `since` is the time of a snapshot: events may come that are older.
    pub(super) from_snapshot: bool,
    /// Nothing but snapshots is known of this connection.
    pub(super) seeded: bool,
    /// An event showed the last descriptor gone: `close()` is behind it.
    pub(super) close_seen: bool,
    /// `__tcp_close` was called.
    pub(super) close_called: bool,
    /// `tcp_reset` ran: `-> CLOSE` is next.
    pub(super) reset_received: bool,
    /// A RST from the peer ended it.
    pub(super) was_reset: bool,
    /// The kernel has destroyed the socket, a held line keeps the entry.
    pub(super) gone: bool,
    pub(super) tuple: Tuple,
    pub(super) origin: Option<Process>,
}

const _: () = {
    use super::by_address::{OFFSET, SLOT};
    const LINE: usize = 64;
    assert!(OFFSET + std::mem::offset_of!(Entry, tuple) <= LINE);
    assert!(OFFSET + size_of::<Entry>() <= SLOT);
};

impl Entry {
    /// The socket before `event`: nothing is known of the state it leaves.
    pub(super) fn before(at: KtimeNs, event: &Transition, generation: Generation) -> Self {
        Self {
            birth: at,
            since: at,
            tuple: event.tuple,
            netns: event.netns,
            generation,
            origin: None,
            origin_in_doubt: false,
            reset_sent: None,
            held: None,
            state: event.old,
            entered: Entered::Before,
            family: event.how.family(),
            opened: Opened::Unknown,
            from_snapshot: false,
            seeded: false,
            close_seen: false,
            close_called: false,
            reset_received: false,
            was_reset: false,
            gone: false,
        }
    }

    /// A socket that was there already.
    pub(super) fn seeded(at: KtimeNs, seen: &Snapshot, generation: Generation) -> Self {
        let still = Transition {
            sk: SockAddr64(0),
            netns: seen.netns,
            tuple: seen.tuple,
            old: seen.state,
            new: seen.state,
            how: seen.how,
            err: 0,
            task: None,
        };
        Self {
            from_snapshot: true,
            seeded: true,
            ..Self::before(at, &still, generation)
        }
    }

    /// The connection's identity, given the entry's key.
    pub(super) fn conn(&self, sk: SockAddr64) -> ConnId {
        ConnId {
            birth: self.birth,
            sk,
        }
    }

    /// Who connected, listened or accepted, as far as that is certain.
    pub(super) fn known_origin(&self) -> Option<Process> {
        self.origin.filter(|_| !self.origin_in_doubt)
    }

    /// Whether something may have happened to the socket that was not seen.
    pub(super) fn is_suspect(&self, generation: Generation) -> bool {
        self.generation < generation
    }

    /// Whether `at` lies before the snapshot that the entry stands on.
    pub(super) fn is_younger_than(&self, at: KtimeNs) -> bool {
        self.from_snapshot && at < self.since
    }

    /// Whether nothing is missing in the tuple.
    pub(super) fn is_complete(&self) -> bool {
        is_complete(&self.tuple, self.state)
    }

    /// Whether nothing tells this connection from a next one at its address.
    pub(super) fn is_nameless(&self, generation: Generation) -> bool {
        self.is_suspect(generation) && !self.is_complete()
    }

    /// Time in the current state until `at`, if the socket leaves it then.
    pub(super) fn dwell(&self, at: KtimeNs, generation: Generation) -> Dwell {
        if self.is_suspect(generation) || self.is_younger_than(at) {
            return Dwell::Unknown;
        }
        match self.entered {
            Entered::Seen => Dwell::Exact(at.since(self.since)),
            Entered::Before => Dwell::AtLeast(at.since(self.since)),
            Entered::Untold => Dwell::Unknown,
        }
    }

    /// Whether `event`, which is no birth, is of another connection, or may be
    /// and nothing could tell: a gap while the tuple was not known.
    pub(super) fn is_other(&self, at: KtimeNs, event: &Transition, generation: Generation) -> bool {
        let overtaken = self.is_younger_than(at);
        let listener = self.state == TcpState::Listen;
        listener != (event.old == TcpState::Listen)
            || self.is_nameless(generation)
            || contradicts(&self.tuple, &event.tuple)
            || (!overtaken && !leads_to(self.state, event.old))
    }

    /// Carries the socket over into the state that `event` enters.
    pub(super) fn enter(&mut self, at: KtimeNs, event: &Transition, generation: Generation) {
        // A child exists since its handshake began, as a request that is not
        // followed.
        let child = event.old == TcpState::Listen && event.new == TcpState::SynRecv;
        self.entered = if child {
            Entered::Before
        } else {
            Entered::Seen
        };
        self.opened = match (event.old, event.new) {
            (TcpState::Close, TcpState::SynSent) => Opened::Connect,
            (TcpState::Listen, TcpState::SynRecv) => Opened::Accept,
            _ => self.opened,
        };
        self.state = event.new;
        self.since = at;
        self.generation = generation;
        self.origin_in_doubt = false;
        self.from_snapshot = false;
        self.seeded = false;
        self.close_seen |= event.how.has(how::FILE_RELEASED);
        self.was_reset = event.new == TcpState::Close && self.reset_received;
        self.reset_received = false;
        self.reset_sent = None;
        improve(&mut self.tuple, &event.tuple, event.new);
    }

    /// Starts the interval anew with what was seen at `at`: the state was
    /// entered before.
    pub(super) fn confirm(&mut self, at: KtimeNs, state: TcpState, generation: Generation) {
        self.state = state;
        self.since = at;
        self.entered = Entered::Before;
        self.generation = generation;
        self.origin_in_doubt = false;
        self.from_snapshot = false;
    }
}

/// Whether a connection that was in state `from` can be in state `to` later.
pub(super) fn leads_to(from: TcpState, to: TcpState) -> bool {
    let stage = |state| match state {
        TcpState::SynSent => Some(0),
        TcpState::SynRecv => Some(1),
        TcpState::Established => Some(2),
        TcpState::FinWait1 | TcpState::CloseWait => Some(3),
        TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck => Some(4),
        TcpState::TimeWait => Some(5),
        TcpState::Close | TcpState::Listen => None,
    };
    match (stage(from), stage(to)) {
        _ if from == to => true,
        (Some(from), Some(to)) => from < to,
        _ => false,
    }
}
