//! A second, independent count of TCP state changes, for the live tests.
//!
//! It shares nothing with the tracer: a classic tracepoint instead of a raw
//! one, field positions from the documented format file instead of BTF, a
//! counter per pair of states instead of records. What both say agrees, or one
//! of them is wrong.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{map, raw_tracepoint, tracepoint},
    maps::PerCpuArray,
    programs::{RawTracePointContext, TracePointContext},
};

/// One more than the largest state number that is counted by itself.
const STATES: u32 = 16;
/// `IPPROTO_TCP`: MPTCP parents, SCTP and DCCP use the same tracepoint.
const TCP: u16 = 6;

/// Positions in `/sys/kernel/tracing/events/sock/inet_sock_set_state/format`,
/// written by the loader.
#[unsafe(no_mangle)]
static OLDSTATE_AT: u32 = 0;
#[unsafe(no_mangle)]
static NEWSTATE_AT: u32 = 0;
#[unsafe(no_mangle)]
static SPORT_AT: u32 = 0;
#[unsafe(no_mangle)]
static DPORT_AT: u32 = 0;
#[unsafe(no_mangle)]
static PROTOCOL_AT: u32 = 0;
/// Only sockets with this port at either end are counted.
#[unsafe(no_mangle)]
static PORT: u32 = 0;

/// Cell `old * 16 + new`; a state number of 16 or more is counted as 0.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(STATES * STATES, 0);

/// How often [`timer_stopped`] has run.
#[map]
static STOPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The kernel lets only programs under a GPL-compatible licence call tracing helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// `sock:inet_sock_set_state`
#[tracepoint]
fn witness(ctx: TracePointContext) -> u32 {
    // The return value of a classic tracepoint program decides whether perf
    // also records the event: it never should.
    let _ = count(&ctx);
    0
}

/// `timer:timer_cancel`, of which perf keeps a count of its own.
#[raw_tracepoint(tracepoint = "timer_cancel")]
fn timer_stopped(_ctx: RawTracePointContext) {
    if let Some(stops) = STOPS.get_ptr_mut(0) {
        // SAFETY: as in `count`.
        unsafe { *stops += 1 };
    }
}

fn count(ctx: &TracePointContext) -> Result<(), i32> {
    if read::<u16>(ctx, &PROTOCOL_AT)? != TCP {
        return Ok(());
    }
    let port = setting(&PORT);
    let sport = u32::from(read::<u16>(ctx, &SPORT_AT)?);
    let dport = u32::from(read::<u16>(ctx, &DPORT_AT)?);
    if sport != port && dport != port {
        return Ok(());
    }
    let old = known(read(ctx, &OLDSTATE_AT)?);
    let new = known(read(ctx, &NEWSTATE_AT)?);
    if let Some(cell) = COUNTS.get_ptr_mut(old * STATES + new) {
        // SAFETY: the kernel gave this CPU's cell, and a tracepoint program is
        // not interrupted by another run of itself on the same CPU.
        unsafe { *cell += 1 };
    }
    Ok(())
}

fn known(state: u32) -> u32 {
    if state < STATES { state } else { 0 }
}

fn read<T>(ctx: &TracePointContext, at: &u32) -> Result<T, i32> {
    // SAFETY: the helper checks the address; the format file says which type
    // stands at this position.
    unsafe { ctx.read_at(setting(at) as usize) }
}

/// A volatile read, or the compiler would take the initial value for the truth.
fn setting(global: &u32) -> u32 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(global) }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
