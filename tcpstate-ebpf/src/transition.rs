//! Every change of state of a TCP socket.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    record::{Header, Transition, TransitionInTask, how, kind},
    state::TcpState,
};

use crate::{
    emit::{count_foreign, count_rescued, emit, now},
    filter,
    maps::{MARKED, MARKS},
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
    record(&ctx);
    if let Some((place, event)) = place(&ctx) {
        // SAFETY: a map value is valid as long as the program runs; volatile,
        // because an interrupt looks at it in between.
        unsafe { place.write_volatile(event) };
    }
}

/// The same again, attached behind [`transition`], for the events that the
/// kernel keeps from it.
///
/// The kernel does not run a program on a CPU that is running it already
/// (`prog->active`, since Linux 6.1:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L2354-L2360>):
/// a packet that arrives while [`transition`] runs for a task would change its
/// socket's state unseen, and so would any other task where the one that runs
/// the program can be preempted (seen with Debian's 7.2 and 7.3). Measured with
/// the loopback's packets steered onto a CPU that opens and closes listeners: 1
/// event in 100 was missed, and a fifth of these were missing in the kernel's own
/// count of misses too.
///
/// Whether [`transition`] has seen this event, its mark says. Whatever keeps this
/// program from running did not keep the first one.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn transition_again(ctx: RawTracePointContext) {
    let Some((place, event)) = place(&ctx) else {
        return;
    };
    // SAFETY: as above.
    if unsafe { place.read_volatile() } == event {
        // SAFETY: as above.
        unsafe { place.write_volatile(0) };
    } else {
        count_rescued();
        record(&ctx);
    }
}

/// Where [`transition`] marks the event, and the mark: where its arguments lie on
/// the stack. They lie there for both programs, and for no other event as long as
/// this one is under way. Events that interrupt each other have places of their
/// own, but for 1 in 64: of those, one may be recorded twice.
#[inline(always)]
fn place(ctx: &RawTracePointContext) -> Option<(*mut u64, u64)> {
    /// 2^64 divided by the golden ratio: spreads what differs in the low bits.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    const SHIFT: u32 = 64 - MARKS.ilog2();
    let marks = MARKED.get_ptr_mut(0)?;
    // The verifier lets no pointer be multiplied, but two be subtracted.
    let event = (ctx.as_ptr() as u64).wrapping_sub(marks as u64);
    let index = (event.wrapping_mul(SPREAD) >> SHIFT) as usize;
    // SAFETY: the index is below `MARKS`: it has that many bits.
    Some((unsafe { marks.cast::<u64>().add(index) }, event))
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
