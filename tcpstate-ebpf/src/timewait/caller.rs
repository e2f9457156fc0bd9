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
#[inline(always)]
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
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "an index below `caller::COUNT`, which is 11"
)]
fn of_address(address: u64) -> u8 {
    for (index, [first, second]) in CALLERS.functions.iter().enumerate() {
        if contains(first, address) || contains(second, address) {
            return index as u8;
        }
    }
    caller::UNKNOWN
}

/// A return address is that of the instruction after the call, which may be
/// the first one behind the function.
#[inline(always)]
fn contains(range: &'static AddressRange, address: u64) -> bool {
    let call = address.wrapping_sub(1);
    (setting(&range.start)..setting(&range.end)).contains(&call)
}
