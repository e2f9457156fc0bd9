//! What happens to requests, which stand for a connection from the SYN to the
//! last segment of the handshake.
//!
//! The hooks come in two families: the kernel's functions, by fentry and fexit,
//! and the tracepoints of its timers. When a request began is in the request
//! itself, so only what follows is reported. One without a SYN-ACK has no begin
//! and no record: its timer is started before that is sent, and syncookies and
//! fast open make no request that lives.
//! (`tcp_conn_request`): <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c>

use aya_ebpf::{
    EbpfContext as _,
    macros::{fentry, fexit, raw_tracepoint},
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};
use tcpstate_common::{
    record::{Request, Tuple, caller, kind, request as what},
    state::TcpState,
};

use crate::{
    emit::{count_foreign, emit, now},
    filter,
    maps::{CALLERS, CHILD, OFFSETS, setting},
    sock::{Sock, TCP_NEW_SYN_RECV, read},
    timewait::caller::in_stack,
};

/// `match-proto: struct sock *inet_csk_clone_lock(const struct sock *sk, const
/// struct request_sock *req, const gfp_t priority)`, the same on Linux 5.10 to
/// 7.3: it makes the child that takes over.
#[fentry(function = "inet_csk_clone_lock")]
pub(crate) fn req_cloned_fentry(ctx: FEntryContext) {
    send(Sock(ctx.arg(1)), what::CLONED, |_| Some(caller::HASHDANCE));
}

/// `match-proto: bool inet_csk_reqsk_queue_drop(struct sock *sk, struct
/// request_sock *req)`. Whoever calls it says why; where a child has been made,
/// [`req_cloned_fentry`] has said so.
#[fentry(function = "inet_csk_reqsk_queue_drop")]
pub(crate) fn req_ended_fentry(ctx: FEntryContext) {
    send(Sock(ctx.arg(1)), what::ENDED, |_| {
        told_unless(caller::HASHDANCE, in_stack(ctx.as_ptr()))
    });
}

/// `match-proto: void reqsk_timer_handler(struct timer_list *t)`: the SYN-ACK is
/// sent again, or the request ends.
#[fentry(function = "reqsk_timer_handler")]
pub(crate) fn req_expired_fentry(ctx: FEntryContext) {
    send(of_timer(ctx.arg(0)), what::EXPIRED, |_| {
        Some(caller::UNKNOWN)
    });
}

/// As [`req_expired_fentry`], behind it. Where the request has ended its memory
/// may be another's already, which is harmless: that is one whose life goes on.
#[fexit(function = "reqsk_timer_handler")]
pub(crate) fn req_armed_fexit1(ctx: FExitContext) {
    let timer: u64 = ctx.arg(0);
    let pending: u64 = read(timer, setting(&OFFSETS.timer_list_entry_pprev));
    if pending != 0 {
        send(of_timer(timer), what::ARMED, |_| Some(caller::UNKNOWN));
    }
}

/// `match-proto: struct sock *reuseport_migrate_sock(struct sock *sk, struct sock
/// *migrating_sk, struct sk_buff *skb)`, from Linux 5.14: the listener has closed
/// and another takes over (`tcp_migrate_req`), so that a copy of the request
/// lives on. A child in the accept queue comes here too.
#[fexit(function = "reuseport_migrate_sock")]
pub(crate) fn req_migrated_fexit3(ctx: FExitContext) {
    let migrating = Sock(ctx.arg(1));
    let heir: u64 = ctx.arg(3);
    if heir != 0 && migrating.state() == TCP_NEW_SYN_RECV {
        send(migrating, what::ARMED, |_| Some(caller::UNKNOWN));
    }
}

/// `match-proto: void trace_timer_start(struct timer_list *timer, …)`: the first
/// start comes before the SYN-ACK, and makes no record.
#[raw_tracepoint(tracepoint = "timer_start")]
pub(crate) fn req_timer_started(ctx: RawTracePointContext) {
    of_request(&ctx, what::ARMED, |_| Some(caller::UNKNOWN));
}

/// `match-proto: void trace_timer_cancel(struct timer_list *timer)`: before
/// every end, before an expiry too, of which the next one tells, and before a
/// re-arm.
#[raw_tracepoint(tracepoint = "timer_cancel")]
pub(crate) fn req_timer_stopped(ctx: RawTracePointContext) {
    of_request(&ctx, what::STOPPED, |tuple| {
        if has_child(tuple) {
            return Some(caller::HASHDANCE);
        }
        told_unless(caller::TIMERS, in_stack(ctx.as_ptr()))
    });
}

/// `match-proto: void trace_timer_expire_entry(struct timer_list *timer,
/// unsigned long baseclk)`
#[raw_tracepoint(tracepoint = "timer_expire_entry")]
pub(crate) fn req_timer_expired(ctx: RawTracePointContext) {
    of_request(&ctx, what::EXPIRED, |_| Some(caller::UNKNOWN));
}

/// The tracepoints fire for every timer of the host, so what is not a request's
/// is told by one read.
#[inline(always)]
fn of_request(ctx: &RawTracePointContext, what: u8, by: impl FnOnce(&Tuple) -> Option<u8>) {
    let timer: u64 = ctx.arg(0);
    let function: u64 = read(timer, setting(&OFFSETS.timer_list_function));
    if function == setting(&CALLERS.reqsk_timer_handler) {
        send(of_timer(timer), what, by);
    }
}

/// Remembers the child that is made on this CPU now. Its request is removed next,
/// before anything else can happen to a request on this CPU.
///
/// The stack would tell as well, but with that an accepted connection cost
/// [`req_timer_stopped`] 1.7 µs, and 0.3 µs without (`bpf_stats`, Linux 6.18).
#[inline(always)]
pub(crate) fn child_made(child: Sock) {
    if let Some(last) = CHILD.get_ptr_mut(0) {
        // SAFETY: a map value is valid as long as the program runs; volatile,
        // because an interrupt may look at it.
        unsafe { last.write_volatile(child.0) };
    }
}

/// Whether the last child on this CPU is that of the request with `tuple`.
#[inline(always)]
fn has_child(tuple: &Tuple) -> bool {
    let Some(child) = CHILD.get(0) else {
        return false;
    };
    let child = Sock(*child);
    child.state() == TcpState::SynRecv as u8 && child.small_tuple(child.family()) == *tuple
}

/// `by`, unless another program tells of what is done on behalf of `other`.
#[inline(always)]
fn told_unless(other: u8, by: u8) -> Option<u8> {
    if by == other { None } else { Some(by) }
}

/// The request whose `rsk_timer` this is.
#[inline(always)]
fn of_timer(timer: u64) -> Sock {
    let offset = setting(&OFFSETS.request_sock_rsk_timer);
    Sock(timer.wrapping_sub(u64::from(offset)))
}

/// Sends that something happened to a request of TCP that has sent a SYN-ACK.
/// On whose behalf is found out last, because it takes longest.
#[inline(always)]
fn send(req: Sock, what: u8, by: impl FnOnce(&Tuple) -> Option<u8>) {
    let synack_us: u64 = read(req.0, setting(&OFFSETS.tcp_request_sock_snt_synack));
    let listener: u64 = read(req.0, setting(&OFFSETS.sock_common_skc_listener));
    if synack_us == 0 || listener == 0 {
        return;
    }
    if !req.is_tcp_by_proto() {
        count_foreign();
        return;
    }
    if !filter::keep(req) {
        return;
    }
    let family = req.family();
    let tuple = req.small_tuple(family);
    let Some(by) = by(&tuple) else { return };
    emit(kind::REQUEST, req.netns(), |header| Request {
        header,
        ktime: now(),
        req: req.0,
        listener,
        synack_us,
        tuple,
        what,
        by,
        how: Sock::how_family(family),
        listener_state: Sock(listener).state(),
    });
}
