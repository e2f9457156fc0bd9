//! The task that runs on this CPU now.
//!
//! Whether it has anything to do with the event is for the caller to know: in
//! softirq context it is whoever was interrupted.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_get_current_comm};
use tcpstate_common::record::Task;

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
