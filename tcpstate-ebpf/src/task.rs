//! The task that runs on this CPU now.
//!
//! Whether it has anything to do with the event is for the caller to know: in
//! softirq context it is whoever was interrupted.

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, generated::bpf_get_current_comm,
};
use tcpstate_common::{record::Task, settings::ABSENT};

use crate::{
    maps::{OFFSETS, setting},
    sock::read,
};

/// Bits of `task_struct.flags`, the same on Linux 5.10 to 7.3:
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h> (`PF_*`).
const PF_EXITING: u32 = 0x0000_0004;
const PF_KTHREAD: u32 = 0x0020_0000;

/// Its process.
#[inline(always)]
pub(crate) fn pid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Process, thread and name. A name that cannot be read is empty.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the helper packs two 32-bit numbers into one of 64"
)]
pub(crate) fn current() -> Task {
    let ids = bpf_get_current_pid_tgid();
    // A number, because LLVM copies byte arrays byte by byte.
    let mut comm = 0_u128;
    // SAFETY: the helper writes no more than the given length.
    unsafe { bpf_get_current_comm((&raw mut comm).cast(), size_of::<u128>() as u32) };
    Task {
        pid: (ids >> 32) as u32,
        tid: ids as u32,
        comm: comm.to_ne_bytes(),
    }
}

/// What it is about.
#[derive(Clone, Copy)]
pub(crate) struct Flags(u32);

impl Flags {
    /// Of no task.
    pub(crate) const NONE: Self = Self(0);

    /// Of the task that runs now; none where the kernel's types do not tell.
    #[inline(always)]
    pub(crate) fn of_current() -> Self {
        match setting(&OFFSETS.task_struct_flags) {
            ABSENT => Self(0),
            // SAFETY: the helper has no precondition.
            flags => Self(read(unsafe { bpf_get_current_task() }, flags)),
        }
    }

    /// It ends: its descriptors are closed for it.
    #[inline(always)]
    pub(crate) fn exits(self) -> bool {
        self.0 & PF_EXITING != 0
    }

    /// It works for the kernel, and closes what others have let go of.
    #[inline(always)]
    pub(crate) fn is_kernels(self) -> bool {
        self.0 & PF_KTHREAD != 0
    }
}
