//! Every change of state of a TCP socket.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    record::{Header, Transition, TransitionInTask, how, kind},
    state::TcpState,
};

use crate::{
    emit::{count_foreign, count_rescued, emit, now},
    filter,
    maps::RUNNING,
    request,
    sock::Sock,
    task,
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
    set_running(1);
    record(&ctx);
    set_running(0);
}

/// The same again, attached behind [`transition`], for the events that the
/// kernel keeps from it.
///
/// The kernel does not run a program on a CPU that is running it already
/// (`prog->active`, since Linux 6.1:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L2354-L2360>):
/// a packet that arrives while [`transition`] runs for a task would change its
/// socket's state unseen. Measured with the loopback's packets steered onto a
/// CPU that opens and closes listeners: 1 event in 100 was missed, and a fifth
/// of these were missing in the kernel's own count of misses too.
///
/// When a packet interrupts this one, it finds [`transition`] free. Where the
/// kernel lets a program interrupt itself, [`transition`] has run and is marked
/// as not running by the time this one comes.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn transition_again(ctx: RawTracePointContext) {
    if is_running() {
        count_rescued();
        record(&ctx);
    }
}

#[inline(always)]
fn set_running(value: u64) {
    if let Some(running) = RUNNING.get_ptr_mut(0) {
        // SAFETY: a map value is valid as long as the program runs; volatile,
        // because an interrupt looks at it in between.
        unsafe { running.write_volatile(value) };
    }
}

#[inline(always)]
fn is_running() -> bool {
    RUNNING.get(0).is_some_and(|&running| running != 0)
}

#[inline(always)]
fn record(ctx: &RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    if !sk.is_tcp() {
        count_foreign();
        return;
    }
    let (old, new): (u8, u8) = (ctx.arg(1), ctx.arg(2));
    let kept = if old == CLOSE {
        filter::keep_opening(sk)
    } else {
        filter::keep(sk)
    };
    if !kept {
        return;
    }
    if old == LISTEN && new == SYN_RECV {
        request::child_made(sk);
    }
    let how = if old == CLOSE && new != CLOSE {
        sk.how_opened()
    } else if closes(old, new) {
        sk.how_closed()
    } else {
        0
    };
    let netns = sk.netns();
    let record = |header| transition_record(header, sk, [old, new, how]);
    if caused_by_current_task(old, new, how) {
        emit(kind::TRANSITION_IN_TASK, netns, |header| TransitionInTask {
            transition: record(header),
            task: task::current(),
        });
    } else {
        emit(kind::TRANSITION, netns, record);
    }
}

#[inline(always)]
fn transition_record(header: Header, sk: Sock, [old, new, how]: [u8; 3]) -> Transition {
    let family = sk.family();
    Transition {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: if old == CLOSE {
            sk.opening_tuple(family)
        } else {
            sk.tuple(family)
        },
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
