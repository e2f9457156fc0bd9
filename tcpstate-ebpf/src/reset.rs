//! Resets that leave and resets that arrive.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::record::{ResetSent, kind};

use crate::{
    destroy::on_socket,
    emit::{emit, now},
    filter,
    maps::{OFFSETS, setting},
    sock::Sock,
    twice::once,
};

/// `match-proto: void trace_tcp_receive_reset(struct sock *sk)`
#[raw_tracepoint(tracepoint = "tcp_receive_reset")]
pub(crate) fn reset_received(ctx: RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    if filter::keep(sk) {
        on_socket(kind::RESET_RECEIVED, sk);
    }
}

/// `match-proto: void trace_tcp_send_reset(const struct sock *sk, const struct
/// sk_buff *skb)`; from Linux 6.10 with a third argument, `const enum
/// sk_rst_reason reason`. Without a provoking segment the reset is our own.
///
/// The socket may be a minisocket, NULL, or just destroyed.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(crate) fn reset_sent(ctx: RawTracePointContext) {
    once(ctx.as_ptr(), || sent(&ctx));
}

/// As [`reset_sent`], for what that is kept from.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(crate) fn reset_sent_copy(ctx: RawTracePointContext) {
    once(ctx.as_ptr(), || sent(&ctx));
}

#[inline(always)]
fn sent(ctx: &RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    if !filter::keep(sk) {
        return;
    }
    let skb: u64 = ctx.arg(1);
    // Reading an argument that does not exist makes attaching fail; the
    // verifier looks only at branches that the offsets allow.
    let reason = if setting(&OFFSETS.tcp_send_reset_args) == 3 {
        ctx.arg(2)
    } else {
        ResetSent::NO_REASON
    };
    emit(kind::RESET_SENT, 0, |header| ResetSent {
        header,
        ktime: now(),
        sk: sk.0,
        reason,
        active: u8::from(skb == 0),
        reserved: [0; 3],
    });
}
