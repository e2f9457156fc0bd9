//! Where a task's stack ends, as far as the kernel knows.
//!
//! What lies behind that end is no stack: not to copy it loses nothing.

use tcpstate_common::settings::ABSENT;

use crate::{
    maps::{OFFSETS, setting},
    sock::read,
};

/// How many bytes of the current task's stack lie from `begin` on; more than
/// any stack has where nothing is known.
///
/// The stack of a process's first thread was empty where the kernel put its
/// arguments (`start_stack`). Another thread's library keeps its control block
/// right above the stack, and in `fsbase` its address. A block in use and a
/// stack in use have no byte in common, so whatever `fsbase` is, no stack that
/// `begin` lies on goes on behind it. It is the kernel's copy of the register,
/// which one who sets the register by itself may have outdated: then the slice
/// is too short, which is noticed, as for any other limit.
/// (`struct thread_struct`): <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/processor.h#L438-L448>
#[inline(always)]
pub(super) fn length(current: u64, mm: u64, begin: u64) -> u64 {
    let arguments = address(mm, &OFFSETS.mm_struct_start_stack);
    let control_block = address(current, &OFFSETS.task_struct_thread_fsbase);
    // What lies below `begin`, or nowhere, is far away.
    let first = arguments.wrapping_sub(begin);
    let other = control_block.wrapping_sub(begin);
    first.min(other)
}

#[inline(always)]
fn address(of: u64, offset: &'static u32) -> u64 {
    match setting(offset) {
        ABSENT => 0,
        offset => read(of, offset),
    }
}
