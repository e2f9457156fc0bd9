//! Who called the function that a program hooks.

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_get_stack, programs::ProbeContext};
use tcpstate_common::{record::caller, settings::AddressRange};

use crate::maps::{CALLERS, setting};

/// The innermost of our [`caller`]s in the kernel stack, which is unwound.
///
/// In front of it are, in an fentry program: the program, its trampoline, the
/// hooked function, one or two more. At `timer_cancel`: the program, two
/// functions of the tracepoint, up to four of the timer, who stops it, and on
/// whose behalf.
///
/// Not inlined: its caller would keep these addresses while it makes a record, and
/// all its functions together have 512 bytes on Linux 5.10 and 6.1. Whether that was
/// enough depended on what the compiler inlined.
#[inline(never)]
pub(crate) fn in_stack(ctx: *mut c_void) -> u8 {
    const DEPTH: u32 = 12;
    let mut stack = [0_u64; DEPTH as usize];
    // SAFETY: the helper writes no more than the given length.
    unsafe { bpf_get_stack(ctx, stack.as_mut_ptr().cast(), DEPTH * 8, 0) };
    for address in stack {
        let found = of_address(address);
        if found != caller::UNKNOWN {
            return found;
        }
    }
    caller::UNKNOWN
}

/// As [`in_stack`], while the timer has time left. Once that is over it runs out
/// at any moment, nearly always by itself, and with thousands of others in the
/// same softirq: there the microsecond of the walk (measured on Linux 6.18, four
/// times the rest of the program) is not spent.
#[inline(always)]
pub(super) fn unless_due(ctx: *mut c_void, left_ms: u32) -> u8 {
    if left_ms == 0 {
        caller::UNKNOWN
    } else {
        in_stack(ctx)
    }
}

/// The caller of the function at whose entry this kprobe is.
#[cfg(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
))]
#[inline(always)]
pub(super) fn of_function(ctx: &ProbeContext) -> u8 {
    // SAFETY: a kprobe program's context is a `struct pt_regs`.
    let stack = unsafe { (*ctx.regs).rsp };
    // At the entry of a function its return address is on top of the stack.
    of_address(crate::sock::read(stack, 0))
}

/// Where else a return address is at the entry of a function is not known here.
#[cfg(not(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
)))]
#[inline(always)]
pub(super) fn of_function(_ctx: &ProbeContext) -> u8 {
    caller::UNKNOWN
}

/// Not inlined: a dozen times it would be most of the program.
///
/// Without a branch: the verifier walked every way from here to the end of the
/// program for every frame of the stack, 25,000 instructions and up to 21 ms of
/// a start (Linux 6.18).
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an index below `caller::COUNT`, which is 11"
)]
fn of_address(address: u64) -> u8 {
    // A return address is that of the instruction after the call, which may be
    // the first one behind the function.
    let call = address.wrapping_sub(1);
    let (mut by, mut others) = (u64::from(caller::UNKNOWN), u64::MAX);
    for (index, [first, second]) in CALLERS.functions.iter().enumerate() {
        let found = (within(first, call) | within(second, call)) & others;
        by |= index as u64 & found;
        others &= !found;
    }
    by as u8
}

/// All ones for a call in this range, else 0. What is in the kernel's half of
/// the addresses is less than 2⁶³ apart, so the sign tells which is greater; the
/// call of no address is the greatest of all, and in no range.
#[inline(always)]
#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the sign is meant"
)]
fn within(range: &'static AddressRange, call: u64) -> u64 {
    let before = call.wrapping_sub(setting(&range.start));
    let inside = call.wrapping_sub(setting(&range.end)) & !before;
    (inside as i64 >> 63) as u64
}
