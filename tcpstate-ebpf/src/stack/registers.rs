//! The registers with which a task entered the kernel.
//!
//! They lie at the top of its kernel stack.

/// The ones that an unwinder begins with.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
}

impl Registers {
    const NONE: Self = Self {
        ip: 0,
        sp: 0,
        fp: 0,
    };
}

#[cfg(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
))]
pub(crate) use x86_64::{of, of_other};

#[cfg(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
))]
mod x86_64 {
    use core::mem::offset_of;

    use aya_ebpf::{
        bindings::{pt_regs, task_struct},
        helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    };
    use tcpstate_common::record::slice;
    use zerocopy::FromBytes;

    use super::Registers;
    use crate::{
        maps::{OFFSETS, OPTIONS, setting},
        sock::read,
    };

    /// User registers of the current task, or zeros and why it has none. (Not a
    /// `Result`: for one part of that nothing is written in the other's case, and
    /// the compiler copies that nothing around, which the verifier refuses.)
    #[inline(always)]
    pub(crate) fn of(current: u64) -> (u8, Registers) {
        user(current, || saved(current))
    }

    /// As [`of`], of any task. They are those with which it entered the kernel
    /// last: while it runs in user space, old ones.
    #[inline(always)]
    pub(crate) fn of_other(task: *mut task_struct) -> (u8, Registers) {
        // SAFETY: the verifier wants a task here, and it is one.
        user(task as u64, || unsafe { bpf_task_pt_regs(task) } as u64)
    }

    #[inline(always)]
    fn user(task: u64, saved: impl FnOnce() -> u64) -> (u8, Registers) {
        /// Kernel threads, and `io_uring`'s, which have registers of their own making:
        /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1669-L1708>.
        const PF_IO_WORKER: u32 = 0x10;
        const PF_KTHREAD: u32 = 0x20_0000;
        /// Code segments of user space: the lowest two bits are 3.
        const USER: u64 = 3;
        const USER32_CS: u64 = 0x23;

        let flags: u32 = read(task, setting(&OFFSETS.task_struct_flags));
        if flags & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return (slice::NO_REGISTERS, Registers::NONE);
        }
        let saved = saved();
        let frame: Frame = read(saved.wrapping_add(offset_of!(pt_regs, rip) as u64), 0);
        let Frame { ip, cs, sp, .. } = frame;
        if cs & USER != USER || ip == 0 {
            return (slice::NO_REGISTERS, Registers::NONE);
        }
        if cs == USER32_CS {
            return (slice::COMPAT, Registers::NONE);
        }
        let registers = Registers {
            ip,
            sp,
            fp: read(saved.wrapping_add(offset_of!(pt_regs, rbp) as u64), 0),
        };
        (slice::COPIED, registers)
    }

    /// What the processor itself saves, at the end of `pt_regs`: one read for
    /// three registers.
    #[derive(FromBytes)]
    #[repr(C)]
    struct Frame {
        ip: u64,
        cs: u64,
        _flags: u64,
        sp: u64,
    }

    const _: () = {
        assert!(offset_of!(pt_regs, cs) - offset_of!(pt_regs, rip) == offset_of!(Frame, cs));
        assert!(offset_of!(pt_regs, rsp) - offset_of!(pt_regs, rip) == offset_of!(Frame, sp));
    };

    /// Where they are. Before the helper (Linux 5.15) nothing lay above them
    /// on the kernel stack, whose size its mapping tells:
    /// <https://github.com/torvalds/linux/blob/v5.10/arch/x86/include/asm/processor.h#L813-L818>.
    #[inline(always)]
    fn saved(current: u64) -> u64 {
        const PAGE: u64 = 4096;
        if setting(&OPTIONS.capture.task_pt_regs) != 0 {
            // SAFETY: the helpers have no precondition; the verifier looks at
            // them only where the loader says that the kernel has them.
            return unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
        }
        let bottom: u64 = read(current, setting(&OFFSETS.task_struct_stack));
        let area: u64 = read(current, setting(&OFFSETS.task_struct_stack_vm_area));
        let pages: u32 = read(area, setting(&OFFSETS.vm_struct_nr_pages));
        let top = bottom.wrapping_add(u64::from(pages) * PAGE);
        top.wrapping_sub(size_of::<pt_regs>() as u64)
    }
}

/// Elsewhere it is not known here where they are.
#[cfg(not(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
)))]
#[inline(always)]
pub(crate) fn of(_current: u64) -> (u8, Registers) {
    (
        tcpstate_common::record::slice::NO_REGISTERS,
        Registers::NONE,
    )
}

/// As [`of`].
#[cfg(not(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
)))]
#[inline(always)]
pub(crate) fn of_other(_task: *mut aya_ebpf::bindings::task_struct) -> (u8, Registers) {
    (
        tcpstate_common::record::slice::NO_REGISTERS,
        Registers::NONE,
    )
}
