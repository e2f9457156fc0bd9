//! What ended a state, from the evidence at that instant.
//!
//! Pure truth tables over one event and what preceded it on the same socket.
//! Kernel functions named here are those of
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c> and of
//! `tcp.c` and `tcp_timer.c` beside it.

use tcpstate_common::{record::how, state::TcpState};

use super::{Cause, entry::Entry};
use crate::decode::{How, Transition};

/// How a connection's full socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// As the event says: in this state, by this cause.
    AsReported(Option<Cause>),
    /// We sent a RST, with the kernel's reason.
    Reset(Option<u32>),
    /// A minisocket took over in `TIME_WAIT`; the cause is that of this change.
    TimeWait(Cause),
    /// A minisocket took over in the state that the socket had, `FIN_WAIT2`:
    /// nothing that a user would call a change.
    Orphaned,
    /// Whether a minisocket took over is not known, so nothing is said.
    Doubtful,
}

impl Ending {
    /// The same when evidence for a cause may have been lost.
    pub(super) fn without_cause(self) -> Self {
        match self {
            Self::AsReported(_) => Self::AsReported(None),
            other => other,
        }
    }
}

/// What is known of an ending when `-> CLOSE` fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything.
    Known(Ending),
    /// `tcp_send_reset` fires only after `-> CLOSE`, so a RST may be reported in
    /// a moment.
    Awaits {
        /// What it was when none is.
        otherwise: Ending,
        /// The RST answers a segment that was for an orphan: `tcp_done`
        /// destroys the socket before `tcp_v4_send_reset` answers.
        outlives_socket: bool,
    },
}

/// The evidence at `-> CLOSE`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    old: TcpState,
    how: How,
    err: u8,
    has_port: bool,
    by_opener: bool,
    reset_received: bool,
    reset_sent: Option<Option<u32>>,
    close_seen: bool,
    close_called: bool,
    has_gap: bool,
}

impl Closing {
    /// `entry` is the socket before `event`; `has_gap` when records between
    /// its last event and this may be missing.
    pub(super) fn of(entry: &Entry, event: &Transition, has_gap: bool) -> Self {
        let opener = entry.origin.map(|process| process.pid);
        Self {
            old: event.old,
            how: event.how,
            err: event.err,
            has_port: event.tuple.lport != 0,
            by_opener: opener.is_some() && opener == event.task.map(|task| task.pid),
            reset_received: entry.reset_received,
            reset_sent: entry.reset_sent,
            close_seen: entry.close_seen,
            close_called: entry.close_called,
            has_gap,
        }
    }

    fn released(&self) -> bool {
        self.how.has(how::FILE_RELEASED) || self.close_called
    }

    /// `close()` itself does this, and it is the first thing it does to the
    /// state: a linger of 0 or unread data, not the FIN's way. `sk_err` is
    /// then a leftover. `__tcp_close` shuts both ways down first and makes the
    /// socket an orphan last.
    fn is_abortive_close(&self) -> bool {
        const CLOSING: u8 = how::FILE_RELEASED | how::RCV_SHUTDOWN | how::SEND_SHUTDOWN;
        self.how.has(CLOSING) && !self.how.has(how::ORPHAN) && !self.close_seen
    }
}

/// What ended the state before a change that is not `-> CLOSE`.
pub(super) fn of_step(entry: &Entry, event: &Transition) -> Option<Cause> {
    match (event.old, event.new) {
        (_, TcpState::FinWait1) | (TcpState::CloseWait, TcpState::LastAck) => {
            if event.how.has(how::FILE_RELEASED) || entry.close_called {
                Some(Cause::Close)
            } else {
                Some(Cause::Shutdown)
            }
        }
        (_, TcpState::CloseWait | TcpState::Closing) => Some(Cause::PeerFin),
        (TcpState::FinWait1, TcpState::FinWait2) => Some(Cause::FinAcked),
        _ => None,
    }
}

/// What ended the connection, or who took it over.
pub(super) fn of_close(it: &Closing) -> Verdict {
    match it.old {
        TcpState::Listen => Verdict::Known(Ending::AsReported(listen(it))),
        TcpState::SynSent => Verdict::Known(Ending::AsReported(syn_sent(it))),
        // SOCK_DONE is set in tcp_fin, which in FIN_WAIT2 goes straight on to
        // tcp_time_wait: no other way leads here with it.
        TcpState::FinWait2 if it.how.has(how::FIN_RECEIVED) => {
            Verdict::Known(Ending::TimeWait(Cause::PeerFin))
        }
        _ => aborted(it).unwrap_or_else(|| orderly(it)),
    }
}

fn listen(it: &Closing) -> Option<Cause> {
    if it.released() {
        return Some(Cause::Close);
    }
    // ss -K on a listener looks the same, but is another process.
    it.by_opener.then_some(Cause::Shutdown)
}

fn syn_sent(it: &Closing) -> Option<Cause> {
    if it.reset_received {
        return Some(Cause::Refused);
    }
    if it.is_abortive_close() {
        return Some(Cause::Close);
    }
    match of_errno(it.err) {
        Some(Cause::ResetReceived) => Some(Cause::Refused),
        None if it.released() => Some(Cause::Close),
        // inet_hash_connect found none, inet_sport is still 0.
        None if !it.has_port => Some(Cause::NoPort),
        cause => cause,
    }
}

/// Something other than the four-way close, if there is evidence for it.
fn aborted(it: &Closing) -> Option<Verdict> {
    let closed = |cause| Verdict::Known(Ending::AsReported(Some(cause)));
    if it.reset_received {
        return Some(reset_received(it));
    }
    if it.is_abortive_close() {
        return Some(Verdict::Awaits {
            otherwise: Ending::AsReported(Some(Cause::Close)),
            outlives_socket: false,
        });
    }
    match of_errno(it.err) {
        Some(Cause::ResetReceived) => return Some(reset_received(it)),
        Some(cause) => return Some(closed(cause)),
        None => {}
    }
    // tcp_abort, the keepalive timer and tcp_out_of_resources send first.
    it.reset_sent
        .map(|reason| Verdict::Known(Ending::Reset(reason)))
}

/// `tcp_reset` runs for a RST, but in `tcp_rcv_state_process` (step 7) also for
/// data that arrives when nobody can read it any more: that is answered with a
/// RST, which a RST never is.
fn reset_received(it: &Closing) -> Verdict {
    let otherwise = Ending::AsReported(Some(Cause::ResetReceived));
    match it.old {
        TcpState::FinWait1 | TcpState::FinWait2 if it.how.has(how::RCV_SHUTDOWN) => {
            Verdict::Awaits {
                otherwise,
                outlives_socket: true,
            }
        }
        _ => Verdict::Known(otherwise),
    }
}

fn orderly(it: &Closing) -> Verdict {
    match it.old {
        TcpState::Closing => Verdict::Known(Ending::TimeWait(Cause::FinAcked)),
        // A FIN_WAIT2 minisocket is made for orphans only; an orphan that gets
        // data, or has TCP_LINGER2 below 0, is reset instead.
        TcpState::FinWait2 if it.how.has(how::ORPHAN) => Verdict::Awaits {
            otherwise: Ending::Orphaned,
            outlives_socket: true,
        },
        TcpState::LastAck => {
            let cause = (!it.has_gap).then_some(Cause::FinAcked);
            Verdict::Known(Ending::AsReported(cause))
        }
        _ => Verdict::Awaits {
            otherwise: Ending::AsReported(it.released().then_some(Cause::Close)),
            outlives_socket: false,
        },
    }
}

/// What `sk_err` says at `-> CLOSE`. Unreachable are the values of
/// `icmp_err_convert` and `icmpv6_err_convert`.
fn of_errno(err: u8) -> Option<Cause> {
    match i32::from(err) {
        libc::ECONNREFUSED => Some(Cause::Refused),
        libc::ETIMEDOUT => Some(Cause::Timeout),
        libc::ECONNRESET | libc::EPIPE => Some(Cause::ResetReceived),
        libc::ECONNABORTED => Some(Cause::Killed),
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::EHOSTDOWN
        | libc::ENONET
        | libc::ENOPROTOOPT
        | libc::EPROTO
        | libc::EOPNOTSUPP
        | libc::EACCES => Some(Cause::Unreachable),
        _ => None,
    }
}
