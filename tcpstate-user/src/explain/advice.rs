//! What to do about what became of a connection.

use tcpstate_common::state::TcpState;

use super::verdict::Seen;
use crate::{
    connection::{Connection, End, Reason, Role},
    decode::SocketKind,
    track::Dwell,
};

/// A process that takes longer to close after its peer has no reason to, as far
/// as can be seen from here.
const LATE_NS: u64 = 1_000_000_000;

/// Of one that is over. Nothing where all went as it should.
pub(super) fn over(it: &Connection) -> Option<&'static str> {
    if let Some(advice) = it.reset_reason.and_then(by_reason) {
        return Some(advice);
    }
    match it.end {
        End::Fin => orderly(it),
        End::ResetReceived => Some(
            "the peer knows why: run tcpstate there; a middlebox that forgets idle connections \
             resets them, too",
        ),
        End::Refused => Some(
            "nobody listens at that address and port, its accept queue is full, or a firewall \
             rejects: ask `ss -ltn` there",
        ),
        End::Timeout if it.last == TcpState::SynSent => Some(
            "no answer to the SYN: the host is down, a firewall drops, or the listener's queue \
             is full",
        ),
        End::Unreachable => Some("look at the route to the peer and its neighbour entry"),
        End::NoPort => Some("`tcpstate ports` says who uses up the local ports"),
        End::FinWait2Timeout => {
            Some("the peer never closed: `tcpstate leaks` there finds the process")
        }
        End::EvictedLimit => Some("raise net.ipv4.tcp_max_tw_buckets, or reuse connections"),
        End::ListenerClosed => Some("let the listener drain its queue before it is closed"),
        _ => None,
    }
}

/// A peer that waited long for us to close is the one thing to see.
fn orderly(it: &Connection) -> Option<&'static str> {
    let waited = match it.states.get(TcpState::CloseWait) {
        Some(Dwell::Exact(ns) | Dwell::AtLeast(ns)) => ns,
        Some(Dwell::Unknown) | None => 0,
    };
    (it.role == Role::Passive && waited >= LATE_NS)
        .then_some("close when a read returns 0: the peer waited in FIN_WAIT2 all that time")
}

const fn by_reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::LingerZero => {
            "leave SO_LINGER alone: a reset throws away what the peer has not read, and the \
             TIME_WAIT that it spares costs a server nothing and a client one port for a minute"
        }
        Reason::UnreadData => {
            "read up to end-of-file before close: a reset can take the end of the answer from the \
             peer"
        }
        Reason::DataAfterClose => {
            "shut down writing, read up to end-of-file, then close: the peer was still sending"
        }
        Reason::NoSocket => "the peer sends to a connection that was gone here",
        Reason::ListenerClosed => "let the listener drain its accept queue before it is closed",
        Reason::OrphanLimit => {
            "raise net.ipv4.tcp_max_orphans, or find out why peers do not acknowledge FINs: \
             `tcpstate dwell --state fin-wait1`"
        }
        Reason::Keepalive | Reason::UserTimeout | Reason::Retransmissions => {
            "the peer, or the way to it, was gone: look at its uptime, and at firewalls that \
             forget idle connections"
        }
        Reason::Disconnect | Reason::Linger2 | Reason::OrphanTimeout | Reason::UnsentData => {
            "close without TCP_LINGER2 and without disconnecting where the peer should get all"
        }
        Reason::InvalidSegment => "capture its packets: somebody sends what TCP does not allow",
        Reason::Killed => return None,
    })
}

/// Of one that is not over.
pub(super) fn open(seen: &Seen<'_>) -> Option<&'static str> {
    let now = seen.now?;
    match (now.state, now.kind) {
        (TcpState::CloseWait, _) => Some(
            "`tcpstate leaks` says where it was opened, and what its process does instead of \
             closing it",
        ),
        (TcpState::Close, _) => Some("close the descriptor on ECONNRESET and EPIPE"),
        (TcpState::FinWait2, SocketKind::Full) => Some(
            "set a receive timeout or close: no kernel timer ends FIN_WAIT2 while a descriptor is \
             open",
        ),
        (TcpState::FinWait2, _) => {
            Some("the peer holds it in CLOSE_WAIT: `tcpstate leaks` there finds the process")
        }
        (TcpState::SynSent, _) => {
            Some("the host is down, a firewall drops, or the listener's queue is full")
        }
        _ => None,
    }
}
