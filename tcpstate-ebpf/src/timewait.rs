//! What happens to minisockets, which stand for a connection in `TIME_WAIT` or,
//! once nobody has the socket any more, in `FIN_WAIT2`.
//!
//! The hooks come in three families: here the kernel's functions, by fentry and
//! by kprobe; in `timer` its tracepoints. Their records mean the same,
//! so each signal can come from whichever family works.

pub(crate) mod caller;
mod timer;

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_current_pid_tgid, generated::bpf_jiffies64},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tcpstate_common::record::{Minisocket, kind, minisocket as what};

use crate::{
    emit::{count_foreign, emit, now},
    filter,
    maps::{OFFSETS, OPTIONS, setting},
    sock::{Sock, read},
};

/// `match-proto: void inet_twsk_hashdance_schedule(struct inet_timewait_sock
/// *tw, struct sock *sk, struct inet_hashinfo *hashinfo, int timeo)`, from
/// Linux 6.11. It starts the timer only after this.
#[fentry(function = "inet_twsk_hashdance_schedule")]
pub(crate) fn tw_begun4_fentry(ctx: FEntryContext) {
    begun(Sock(ctx.arg(0)), ctx.arg(1), ms(ticks(ctx.arg(3))));
}

/// As [`tw_begun4_fentry`].
#[kprobe(function = "inet_twsk_hashdance_schedule")]
pub(crate) fn tw_begun4_kprobe(ctx: ProbeContext) {
    if let (Some(tw), Some(sk), Some(timeo)) = (ctx.arg(0), ctx.arg(1), ctx.arg(3)) {
        begun(Sock(tw), sk, ms(ticks(timeo)));
    }
}

/// `match-proto: void inet_twsk_hashdance(struct inet_timewait_sock *tw, struct
/// sock *sk, struct inet_hashinfo *hashinfo)`, up to Linux 6.10: the timer runs
/// already.
#[fentry(function = "inet_twsk_hashdance")]
pub(crate) fn tw_begun3_fentry(ctx: FEntryContext) {
    let tw = Sock(ctx.arg(0));
    begun(tw, ctx.arg(1), left_ms(tw));
}

/// As [`tw_begun3_fentry`].
#[kprobe(function = "inet_twsk_hashdance")]
pub(crate) fn tw_begun3_kprobe(ctx: ProbeContext) {
    if let (Some(tw), Some(sk)) = (ctx.arg(0), ctx.arg(1)) {
        begun(Sock(tw), sk, left_ms(Sock(tw)));
    }
}

#[inline(always)]
fn begun(tw: Sock, sk: u64, left_ms: u32) {
    send(tw, sk, [what::BEGUN, 0], left_ms);
}

/// `match-proto: void __inet_twsk_schedule(struct inet_timewait_sock *tw, int
/// timeo, bool rearm)`, the same on Linux 5.10 to 7.3. The first start is
/// another hook's (and in some builds inlined), a re-arm always passes here.
#[fentry(function = "__inet_twsk_schedule")]
pub(crate) fn tw_armed_fentry(ctx: FEntryContext) {
    armed(Sock(ctx.arg(0)), ctx.arg(1), ctx.arg(2));
}

/// As [`tw_armed_fentry`].
#[kprobe(function = "__inet_twsk_schedule")]
pub(crate) fn tw_armed_kprobe(ctx: ProbeContext) {
    if let (Some(tw), Some(timeo), Some(rearm)) = (ctx.arg(0), ctx.arg(1), ctx.arg(2)) {
        armed(Sock(tw), timeo, rearm);
    }
}

#[inline(always)]
fn armed(tw: Sock, timeo: u64, rearm: u64) {
    // A bool is the low byte of its register, the rest is undefined.
    if rearm & 0xff != 0 {
        send(tw, 0, [what::ARMED, 0], ms(ticks(timeo)));
    }
}

/// `match-proto: void tw_timer_handler(struct timer_list *t)`
#[fentry(function = "tw_timer_handler")]
pub(crate) fn tw_expired_fentry(ctx: FEntryContext) {
    expired(of_timer(ctx.arg(0)));
}

/// As [`tw_expired_fentry`].
#[kprobe(function = "tw_timer_handler")]
pub(crate) fn tw_expired_kprobe(ctx: ProbeContext) {
    if let Some(timer) = ctx.arg(0) {
        expired(of_timer(timer));
    }
}

#[inline(always)]
fn expired(tw: Sock) {
    send(tw, 0, [what::EXPIRED, 0], left_ms(tw));
}

/// `match-proto: void inet_twsk_deschedule_put(struct inet_timewait_sock *tw)`.
/// Whoever calls it says why the minisocket ends.
#[fentry(function = "inet_twsk_deschedule_put")]
pub(crate) fn tw_ended_fentry(ctx: FEntryContext) {
    let tw: *const c_void = ctx.arg(0);
    ended(Sock(tw as u64), caller::in_stack(ctx.as_ptr()));
}

/// As [`tw_ended_fentry`].
#[kprobe(function = "inet_twsk_deschedule_put")]
pub(crate) fn tw_ended_kprobe(ctx: ProbeContext) {
    if let Some(tw) = ctx.arg(0) {
        ended(Sock(tw), caller::of_function(&ctx));
    }
}

#[inline(always)]
fn ended(tw: Sock, by: u8) {
    send(tw, 0, [what::ENDED, by], left_ms(tw));
}

/// `match-proto: void tcp_twsk_destructor(struct sock *sk)`: every end comes
/// here, that too of a network namespace up to Linux 6.1, where
/// `inet_twsk_purge` passes none of the functions above; but it is in the stack.
#[fentry(function = "tcp_twsk_destructor")]
pub(crate) fn tw_destroyed_fentry(ctx: FEntryContext) {
    let tw: *const c_void = ctx.arg(0);
    destroyed(ctx.as_ptr(), Sock(tw as u64));
}

/// As [`tw_destroyed_fentry`].
#[kprobe(function = "tcp_twsk_destructor")]
pub(crate) fn tw_destroyed_kprobe(ctx: ProbeContext) {
    if let Some(tw) = ctx.arg(0) {
        destroyed(ctx.as_ptr(), Sock(tw));
    }
}

#[inline(always)]
fn destroyed(ctx: *mut c_void, tw: Sock) {
    let left_ms = left_ms(tw);
    let by = caller::unless_due(ctx, left_ms);
    send(tw, 0, [what::DESTROYED, by], left_ms);
}

/// The minisocket whose `tw_timer` this is.
#[inline(always)]
fn of_timer(timer: u64) -> Sock {
    let offset = setting(&OFFSETS.inet_timewait_sock_tw_timer);
    Sock(timer.wrapping_sub(u64::from(offset)))
}

/// Sends that something happened to a minisocket of TCP: `what` and `by`.
#[inline(always)]
fn send(tw: Sock, sk: u64, [what, by]: [u8; 2], left_ms: u32) {
    if !tw.is_tcp_by_proto() {
        count_foreign();
        return;
    }
    if !filter::keep(tw) {
        return;
    }
    let family = tw.family();
    emit(kind::MINISOCKET, tw.netns(), |header| Minisocket {
        header,
        ktime: now(),
        tw: tw.0,
        sk,
        tuple: tw.small_tuple(family),
        what,
        substate: tw.substate(),
        how: Sock::how_family(family),
        by,
        pid: current_pid(),
        left_ms,
    });
}

#[inline(always)]
fn current_pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Milliseconds until the timer of this minisocket runs out, 0 when it should
/// have: the timer wheel is late by up to a slot.
#[inline(always)]
pub(crate) fn left_ms(tw: Sock) -> u32 {
    let timer =
        tw.0.wrapping_add(u64::from(setting(&OFFSETS.inet_timewait_sock_tw_timer)));
    let expires: u64 = read(timer, setting(&OFFSETS.timer_list_expires));
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_jiffies64() };
    ms(expires.wrapping_sub(now))
}

/// Milliseconds since `then`, the low half of `jiffies`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
pub(crate) fn ms_since(then: u32) -> u32 {
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_jiffies64() } as u32;
    ms(u64::from(now.wrapping_sub(then)))
}

/// An `int` argument: the upper half of its register is undefined.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sign extension"
)]
fn ticks(argument: u64) -> u64 {
    i64::from(argument as i32) as u64
}

/// Ticks of `jiffies` in milliseconds, a negative number as 0.
#[inline(always)]
fn ms(ticks: u64) -> u32 {
    const NS_PER_MS: u64 = 1_000_000;
    if ticks > u64::MAX / 2 {
        return 0;
    }
    let ticks = ticks.min(u64::from(u32::MAX));
    u32::try_from(ticks * setting(&OPTIONS.tick_ns) / NS_PER_MS).unwrap_or(u32::MAX)
}
