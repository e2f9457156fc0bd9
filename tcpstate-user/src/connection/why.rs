//! How a connection ended, and why, from its last change.
//!
//! Pure truth tables. Where the kernel names the reason of a RST (Linux 6.10),
//! that decides; else, and where its name says only that somebody wanted the
//! connection gone, what is known of the socket and its caller does. Kernel
//! functions named here are those of
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c> and of
//! `tcp_input.c` and `tcp_timer.c` beside it.

use tcpstate_common::{record::how, state::TcpState};

use super::{End, Reason};
use crate::{
    decode::SocketKind,
    track::{Call, Cause, Change, Dwell, Totals},
};

/// How it ended, of a change to `CLOSE` or `TIME_WAIT`.
pub(super) fn end(last: &Change) -> End {
    if last.new == TcpState::TimeWait || last.old == TcpState::TimeWait {
        return End::Fin;
    }
    match last.cause {
        // tcp_time_wait is for those of whom both FINs have been seen.
        Some(Cause::EvictedLimit) => End::EvictedLimit,
        Some(Cause::FinAcked) => End::Fin,
        Some(Cause::ResetSent) => End::ResetSent,
        Some(Cause::ResetReceived) => End::ResetReceived,
        Some(Cause::Refused) => End::Refused,
        Some(Cause::Timeout) => End::Timeout,
        Some(Cause::Unreachable) => End::Unreachable,
        Some(Cause::NoPort) => End::NoPort,
        Some(Cause::Killed) => End::Killed,
        Some(Cause::FinWait2Timeout) => End::FinWait2Timeout,
        Some(Cause::NetnsExit) => End::NetnsExit,
        Some(Cause::ReusedByConnect | Cause::ReusedBySyn) => End::Reused,
        Some(Cause::Close) => closed(last),
        None if last.kind == SocketKind::Request => End::HandshakeFailed,
        None if last.old == TcpState::SynSent => End::Abandoned,
        Some(Cause::Unseen | Cause::Expired | Cause::Shutdown | Cause::PeerFin) | None => {
            End::Unseen
        }
    }
}

/// `close()`, and no RST of which anybody knows.
fn closed(last: &Change) -> End {
    match (last.kind, last.old) {
        (SocketKind::Request, _) => End::ListenerClosed,
        (_, TcpState::SynSent) => End::Abandoned,
        _ => End::Dropped,
    }
}

/// Why we sent a RST, or gave up. `name` is the kernel's of [`number`].
pub(super) fn reason(last: &Change, end: End, name: Option<&str>) -> Option<Reason> {
    match end {
        End::Killed => Some(Reason::Killed),
        End::ResetSent => by_name(last, name).or_else(|| derived(last)),
        End::Timeout => given_up(last),
        // ICMP has told meanwhile why nothing comes.
        End::Unreachable => probed(last).then_some(Reason::Keepalive),
        _ => None,
    }
}

/// `enum sk_rst_reason` of the RST that ended it, or that left right before.
pub(super) fn number(last: &Change) -> Option<u32> {
    let sent = || last.totals.and_then(|totals| totals.reset?.reason);
    last.reset_reason.or_else(sent)
}

fn by_name(last: &Change, name: Option<&str>) -> Option<Reason> {
    let refuses_to_wait = last.totals.is_some_and(|totals| totals.no_fin_wait2);
    Some(match name?.trim_start_matches("SK_RST_REASON_") {
        "TCP_ABORT_ON_CLOSE" => Reason::UnreadData,
        // tcp_rcv_state_process looks at linger2 before it looks for data.
        "TCP_ABORT_ON_DATA" if refuses_to_wait => Reason::Linger2,
        "TCP_ABORT_ON_DATA" | "TCP_TIMEWAIT_SOCKET" => Reason::DataAfterClose,
        "TCP_ABORT_ON_LINGER" => Reason::Linger2,
        "TCP_ABORT_ON_MEMORY" => Reason::OrphanLimit,
        "TCP_KEEPALIVE_TIMEOUT" => Reason::Keepalive,
        "TCP_DISCONNECT_WITH_DATA" => Reason::UnsentData,
        "NO_SOCKET" => return derived(last).or(Some(Reason::NoSocket)),
        // __tcp_close has a reason of its own for unread data.
        "TCP_STATE" => match derived(last)? {
            Reason::UnreadData => Reason::LingerZero,
            other => other,
        },
        "TCP_INVALID_ACK_SEQUENCE"
        | "TCP_RFC7323_PAWS"
        | "TCP_TOO_OLD_ACK"
        | "TCP_ACK_UNSENT_DATA"
        | "TCP_FLAGS"
        | "TCP_OLD_ACK"
        | "INVALID_SYN" => Reason::InvalidSegment,
        _ => return None,
    })
}

/// From the caller, the state and the last look.
fn derived(last: &Change) -> Option<Reason> {
    match last.closer.map(|closer| closer.call) {
        Some(Call::AcceptQueue) => return Some(Reason::ListenerClosed),
        Some(Call::Connect) => return Some(Reason::Disconnect),
        _ => {}
    }
    if last.kind == SocketKind::Minisocket {
        return (last.old == TcpState::FinWait2).then_some(Reason::DataAfterClose);
    }
    let totals = last.totals?;
    let orphan = totals.how.has(how::ORPHAN);
    if totals.reset.is_some_and(|reset| reset.answers) {
        return answered(last.old, &totals);
    }
    if totals.how.has(how::FILE_RELEASED) && !orphan {
        return aborted(&totals);
    }
    match last.old {
        TcpState::FinWait2 if orphan && totals.no_fin_wait2 => Some(Reason::Linger2),
        TcpState::FinWait2 if orphan => Some(Reason::OrphanTimeout),
        TcpState::FinWait1 | TcpState::LastAck | TcpState::Closing if orphan => {
            Some(Reason::OrphanLimit)
        }
        _ => None,
    }
}

/// A RST that answers a segment.
fn answered(old: TcpState, totals: &Totals) -> Option<Reason> {
    match old {
        TcpState::FinWait1 | TcpState::FinWait2 if totals.no_fin_wait2 => Some(Reason::Linger2),
        TcpState::FinWait1 | TcpState::FinWait2 => Some(Reason::DataAfterClose),
        TcpState::SynSent | TcpState::SynRecv => Some(Reason::InvalidSegment),
        _ => None,
    }
}

/// A RST instead of a FIN: `__tcp_close` looks for unread data first, then at
/// `SO_LINGER`, and has no other reason.
fn aborted(totals: &Totals) -> Option<Reason> {
    match totals.linger_zero {
        _ if totals.unread > 0 => Some(Reason::UnreadData),
        Some(true) => Some(Reason::LingerZero),
        Some(false) => Some(Reason::UnreadData),
        None => None,
    }
}

/// Only the keepalive's timer sends a RST before it gives up
/// (`tcp_keepalive_timer`).
fn probed(last: &Change) -> bool {
    let sent = last.totals.and_then(|totals| totals.reset);
    sent.is_some_and(|sent| !sent.answers)
}

fn given_up(last: &Change) -> Option<Reason> {
    let totals = last.totals?;
    if probed(last) {
        return Some(Reason::Keepalive);
    }
    let limit_ms = totals.user_timeout_ms?;
    if limit_ms == 0 {
        return Some(Reason::Retransmissions);
    }
    // In the handshake both limits hold (tcp_write_timeout), afterwards only this.
    let lasted = match last.dwell {
        Dwell::Exact(ns) | Dwell::AtLeast(ns) => ns,
        Dwell::Unknown => 0,
    };
    let opening = matches!(last.old, TcpState::SynSent | TcpState::SynRecv);
    Some(if opening && lasted < u64::from(limit_ms) * 1_000_000 {
        Reason::Retransmissions
    } else {
        Reason::UserTimeout
    })
}
