//! A task that closes a socket: the last descriptor is gone.

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcpstate_common::record::kind;

use crate::{origin::in_task, sock::Sock, twice::once};

/// `match-proto: void __tcp_close(struct sock *sk, long timeout)`. Below
/// `tcp_close`, so that kTLS, sockmap and MPTCP subflows are seen as well.
#[fentry(function = "__tcp_close")]
pub(crate) fn close_fentry(ctx: FEntryContext) {
    closed(&ctx);
}

/// As [`close_fentry`], for what that is kept from.
#[fentry(function = "__tcp_close")]
pub(crate) fn close_fentry_copy(ctx: FEntryContext) {
    closed(&ctx);
}

#[inline(always)]
fn closed(ctx: &FEntryContext) {
    once(ctx.as_ptr(), || {
        in_task(kind::CLOSE_CALLED, Sock(ctx.arg(0)));
    });
}

/// As [`close_fentry`].
#[kprobe(function = "__tcp_close")]
pub(crate) fn close_kprobe(ctx: ProbeContext) {
    if let Some(sk) = ctx.arg(0) {
        in_task(kind::CLOSE_CALLED, Sock(sk));
    }
}
