//! Every change of state of a TCP socket.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    record::{Header, Transition, TransitionInTask, how, kind},
    state::TcpState,
};

use crate::{
    emit::{count_foreign, count_rescued, header, now, room},
    filter,
    head::Head,
    last_look, request,
    sock::Sock,
    task,
    twice::Mark,
};

const ESTABLISHED: u8 = TcpState::Established as u8;
const SYN_SENT: u8 = TcpState::SynSent as u8;
const SYN_RECV: u8 = TcpState::SynRecv as u8;
const FIN_WAIT1: u8 = TcpState::FinWait1 as u8;
const CLOSE: u8 = TcpState::Close as u8;
const CLOSE_WAIT: u8 = TcpState::CloseWait as u8;
const LAST_ACK: u8 = TcpState::LastAck as u8;
const LISTEN: u8 = TcpState::Listen as u8;
const CLOSING: u8 = TcpState::Closing as u8;

/// `match-proto: void trace_inet_sock_set_state(const struct sock *sk,
/// const int oldstate, const int newstate)`, the same on Linux 5.10 to 7.3.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn transition(ctx: RawTracePointContext) {
    record(&ctx);
    if let Some(mark) = Mark::of(ctx.as_ptr()) {
        mark.set();
    }
}

/// The same again, attached behind [`transition`], for the events that the
/// kernel keeps from it. Measured with the loopback's packets steered onto a CPU
/// that opens and closes listeners: 1 event in 100 was missed, and a fifth of
/// these were missing in the kernel's own count of misses too.
///
/// A tracepoint calls its programs in the order in which they were attached, so
/// that this one, which most events pass for nothing, counts the others only.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn transition_again(ctx: RawTracePointContext) {
    let Some(mark) = Mark::of(ctx.as_ptr()) else {
        return;
    };
    if mark.is_set() {
        mark.clear();
    } else {
        count_rescued();
        record(&ctx);
    }
}

#[inline(always)]
fn record(ctx: &RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    let (old, new): (u8, u8) = (ctx.arg(1), ctx.arg(2));
    let kept = if old == CLOSE {
        filter::keep_opening(sk)
    } else {
        filter::keep(sk)
    };
    if !kept {
        return;
    }
    let (is_tcp, shutdown) = sk.is_tcp_and_shutdown();
    if !is_tcp {
        count_foreign();
        return;
    }
    let head = Head::of(sk);
    if old == LISTEN && new == SYN_RECV {
        request::child_made(sk);
    }
    let how = if old == CLOSE && new != CLOSE {
        sk.how_opened(&head)
    } else if closes(old, new) {
        sk.how_closed_by(head.flags(), shutdown)
    } else {
        0
    };
    let asked = last_look::asked();
    if asked && new == CLOSE && old != CLOSE && old != LISTEN {
        last_look::look(sk);
    }
    // Who opens is asked for always, who closes only here.
    let flags = if asked && old != CLOSE {
        task::Flags::of_current()
    } else {
        task::Flags::NONE
    };
    if caused_by_current_task(old, new, how) && !flags.is_kernels() {
        let how = if flags.exits() {
            how | how::EXITING
        } else {
            how
        };
        let task = task::current();
        if let Some(room) = room::<TransitionInTask>(kind::TRANSITION_IN_TASK) {
            let header = header::<TransitionInTask>(kind::TRANSITION_IN_TASK, head.netns());
            room.send(TransitionInTask {
                transition: transition_record(header, sk, &head, [old, new, how]),
                task,
            });
        }
    } else if let Some(room) = room::<Transition>(kind::TRANSITION) {
        let header = header::<Transition>(kind::TRANSITION, head.netns());
        room.send(transition_record(header, sk, &head, [old, new, how]));
    }
}

#[inline(always)]
fn transition_record(
    header: Header,
    sk: Sock,
    head: &Head,
    [old, new, how]: [u8; 3],
) -> Transition {
    let family = head.family();
    let lport = if old == CLOSE {
        head.num()
    } else {
        sk.lport(head)
    };
    Transition {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: head.tuple(family, lport),
        old,
        new,
        how: how | Sock::how_family(family),
        err: if new == CLOSE { sk.err() } else { 0 },
    }
}

/// Whether the reason of the change may show in `how`; elsewhere the five
/// reads are saved. `old == new` is `close` of a socket that was shut down.
#[inline(always)]
fn closes(old: u8, new: u8) -> bool {
    matches!(new, FIN_WAIT1 | LAST_ACK | CLOSE | CLOSING | CLOSE_WAIT) || old == new
}

/// Whether the kernel makes this change only when the task that runs now asked
/// for it (`connect`, `listen`, `shutdown`, `close`): not when a packet or a timer
/// interrupted it.
///
/// `-> CLOSE` also comes from packets. It is `close` if the file is gone and
/// the socket is shut down both ways, which `__tcp_close` does first and under
/// the socket lock, while `tcp_done` does it only after the change:
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c#L2969-L3009>.
/// A state behind `FIN_WAIT1` or `LAST_ACK` is left out: there the closing task
/// may be asleep in `SO_LINGER`, and the change a packet's.
///
/// One exception stays: `shutdown` of a socket in `SYN_RECV` is carried out when
/// the handshake ends, in the context of that packet.
#[inline(always)]
fn caused_by_current_task(old: u8, new: u8, how: u8) -> bool {
    const CLOSED: u8 = how::FILE_RELEASED | how::RCV_SHUTDOWN | how::SEND_SHUTDOWN;
    match (old, new) {
        (CLOSE, SYN_SENT | LISTEN) | (_, FIN_WAIT1 | LAST_ACK) | (LISTEN, CLOSE) => true,
        (ESTABLISHED | SYN_SENT | SYN_RECV | CLOSE_WAIT, CLOSE) => how & CLOSED == CLOSED,
        _ => old == new,
    }
}
