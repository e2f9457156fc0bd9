//! What a socket is now, without any event: a look at one address.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::{
    record::{Header, Inspection, Snapshot, kind, socket_kind},
    state::TcpState,
};

use crate::{
    emit::{emit, now},
    sock::{Sock, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
    timewait,
};

/// Never attached: user space runs it with the address of a socket of which it
/// must know more than an event told, and finds the answer in the ring. The
/// address may have become anything since; user space checks what comes back.
#[raw_tracepoint]
pub(crate) fn peek(ctx: RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    let state = sk.state();
    if is_socket(state) {
        emit(kind::SNAPSHOT, sk.netns(), |header| {
            snapshot(header, sk, state)
        });
    }
}

/// As [`peek`], for all that a report needs to know of a full socket. Of another
/// kind at this address nothing is told.
#[raw_tracepoint]
pub(crate) fn inspect(ctx: RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    let state = sk.state();
    if !is_socket(state) || matches!(state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV) {
        return;
    }
    let family = sk.family();
    emit(kind::INSPECTION, sk.netns(), |header| Inspection {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: sk.tuple(family),
        state,
        how: Sock::how_family(family) | sk.how_closed(),
        reserved: [0; 2],
        inode: sk.inode(),
        unread: sk.unread(),
        quiet_ms: timewait::ms_since(sk.last_ack()),
        queue: sk.accept_queue(),
        queue_limit: sk.accept_limit(),
    });
}

/// Memory that is being made a socket is zero, and no state is; so is what
/// cannot be read.
#[inline(always)]
fn is_socket(state: u8) -> bool {
    state != 0
}

#[inline(always)]
fn snapshot(header: Header, sk: Sock, kernel_state: u8) -> Snapshot {
    let family = sk.family();
    let full = !matches!(kernel_state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV);
    let (kind, state) = match kernel_state {
        TCP_TIME_WAIT => (socket_kind::MINISOCKET, sk.substate()),
        TCP_NEW_SYN_RECV => (socket_kind::REQUEST, TcpState::SynRecv as u8),
        state => (socket_kind::FULL, state),
    };
    Snapshot {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: if full {
            sk.tuple(family)
        } else {
            sk.small_tuple(family)
        },
        state,
        kind,
        how: Sock::how_family(family) | if full { sk.how_closed() } else { 0 },
        reserved: 0,
        inode: match kernel_state {
            TCP_TIME_WAIT => u64::from(timewait::left_ms(sk)),
            TCP_NEW_SYN_RECV => 0,
            _ => sk.inode(),
        },
        cookie: sk.cookie(),
    }
}
