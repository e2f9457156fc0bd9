//! Minisockets by tracepoints alone: their timers, and the segments that they
//! handle.
//!
//! The tracepoints fire for every timer and every dropped packet of the host,
//! so what is not a minisocket's is told by one or two reads.

use aya_ebpf::{EbpfContext as _, macros::raw_tracepoint, programs::RawTracePointContext};
use tcpstate_common::record::minisocket as what;

use crate::{
    maps::{CALLERS, OFFSETS, setting},
    sock::{Sock, TCP_TIME_WAIT, read},
};

/// `match-proto: void trace_timer_start(struct timer_list *timer, …)`, when the
/// timer is in the wheel: the minisocket is complete, but which full socket it
/// replaces only the tuple says. A re-arm within one slot of the wheel does not
/// come here.
/// (`__mod_timer`): <https://github.com/torvalds/linux/blob/v6.12/kernel/time/timer.c>
#[raw_tracepoint(tracepoint = "timer_start")]
pub(crate) fn tw_timer_started(ctx: RawTracePointContext) {
    if let Some(tw) = of_minisocket(ctx.arg(0)) {
        send(tw, [what::BEGUN, 0]);
    }
}

/// `match-proto: void trace_timer_cancel(struct timer_list *timer)`: before
/// every end, before an expiry too, and before a re-arm. Who stops it says why.
#[raw_tracepoint(tracepoint = "timer_cancel")]
pub(crate) fn tw_timer_stopped(ctx: RawTracePointContext) {
    if let Some(tw) = of_minisocket(ctx.arg(0)) {
        let left_ms = super::left_ms(tw);
        let by = super::caller::unless_due(ctx.as_ptr(), left_ms);
        super::send(tw, 0, [what::STOPPED, by], left_ms);
    }
}

/// `match-proto: void trace_timer_expire_entry(struct timer_list *timer,
/// unsigned long baseclk)`
#[raw_tracepoint(tracepoint = "timer_expire_entry")]
pub(crate) fn tw_timer_expired(ctx: RawTracePointContext) {
    if let Some(tw) = of_minisocket(ctx.arg(0)) {
        send(tw, [what::EXPIRED, 0]);
    }
}

/// The minisocket whose timer this is, if it is one's.
#[inline(always)]
fn of_minisocket(timer: u64) -> Option<Sock> {
    let function: u64 = read(timer, setting(&OFFSETS.timer_list_function));
    (function == setting(&CALLERS.tw_timer_handler)).then(|| super::of_timer(timer))
}

#[inline(always)]
fn send(tw: Sock, what: [u8; 2]) {
    super::send(tw, 0, what, super::left_ms(tw));
}

/// `match-proto: void trace_kfree_skb(struct sk_buff *skb, void *location, enum
/// skb_drop_reason reason, struct sock *rx_sk)`, from Linux 6.11. Every segment
/// that a minisocket handles ends here, but for a SYN that a listener accepts.
///
/// The minisocket may have ended by the segment, and its memory be another's
/// already. Reading it is harmless, because freed socket memory stays socket
/// memory as long as the packet is being received (`SLAB_TYPESAFE_BY_RCU`); a
/// record about the other one is prevented by comparing the ports.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn tw_handled(ctx: RawTracePointContext) {
    let rx_sk: u64 = ctx.arg(3);
    if rx_sk != 0 {
        handled(Sock(rx_sk), ctx.arg(0));
    }
}

/// Others have a receiving socket too: full ones whose queue was full, requests.
#[inline(always)]
fn handled(tw: Sock, skb: u64) {
    /// Offset of the flags in a TCP header (RFC 9293 section 3.1).
    const FLAGS: u32 = 13;
    if tw.state() != TCP_TIME_WAIT || !tw.is_tcp_by_proto() {
        return;
    }
    let head: u64 = read(skb, setting(&OFFSETS.sk_buff_head));
    let offset: u16 = read(skb, setting(&OFFSETS.sk_buff_transport_header));
    let segment = head.wrapping_add(u64::from(offset));
    if tw.receives(segment) {
        let flags = read(segment, FLAGS);
        send(tw, [what::HANDLED, flags]);
    }
}
