//! The end of a full socket.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::record::{OnSocket, kind};

use crate::{
    emit::{emit, now},
    filter,
    sock::Sock,
    twice::once,
};

/// `match-proto: void trace_tcp_destroy_sock(struct sock *sk)`: once for each
/// full TCP socket, never for a minisocket or a request.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub(crate) fn destroyed(ctx: RawTracePointContext) {
    once(ctx.as_ptr(), || gone(Sock(ctx.arg(0))));
}

/// As [`destroyed`], for what that is kept from.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub(crate) fn destroyed_copy(ctx: RawTracePointContext) {
    once(ctx.as_ptr(), || gone(Sock(ctx.arg(0))));
}

#[inline(always)]
fn gone(sk: Sock) {
    if filter::keep_ending(sk) {
        on_socket(kind::DESTROYED, sk);
    }
}

/// Sends that something happened to a socket, and no more.
#[inline(always)]
pub(crate) fn on_socket(kind: u8, sk: Sock) {
    emit(kind, 0, |header| OnSocket {
        header,
        ktime: now(),
        sk: sk.0,
    });
}
