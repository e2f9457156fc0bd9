//! The registers with which a task entered the kernel.
//!
//! They lie at the top of its kernel stack.

/// The ones that an unwinder begins with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) fp: u64,
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

    use super::Registers;
    use crate::{
        maps::{OFFSETS, OPTIONS, setting},
        sock::read,
    };

    /// User registers of the current task, or why it has none.
    #[inline(always)]
    pub(crate) fn of(current: u64) -> Result<Registers, u8> {
        user(current, || saved(current))
    }

    /// As [`of`], of any task. They are those with which it entered the kernel
    /// last: while it runs in user space, old ones.
    #[inline(always)]
    pub(crate) fn of_other(task: *mut task_struct) -> Result<Registers, u8> {
        // SAFETY: the verifier wants a task here, and it is one.
        user(task as u64, || unsafe { bpf_task_pt_regs(task) } as u64)
    }

    #[inline(always)]
    fn user(task: u64, saved: impl FnOnce() -> u64) -> Result<Registers, u8> {
        /// Kernel threads, and `io_uring`'s, which have registers of their own making:
        /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h#L1669-L1708>.
        const PF_IO_WORKER: u32 = 0x10;
        const PF_KTHREAD: u32 = 0x20_0000;
        /// Code segments of user space: the lowest two bits are 3.
        const USER: u64 = 3;
        const USER32_CS: u64 = 0x23;

        let flags: u32 = read(task, setting(&OFFSETS.task_struct_flags));
        if flags & (PF_IO_WORKER | PF_KTHREAD) != 0 {
            return Err(slice::NO_REGISTERS);
        }
        let saved = saved();
        let register = |offset: usize| read::<u64>(saved.wrapping_add(offset as u64), 0);
        let cs = register(offset_of!(pt_regs, cs));
        let ip = register(offset_of!(pt_regs, rip));
        if cs & USER != USER || ip == 0 {
            return Err(slice::NO_REGISTERS);
        }
        if cs == USER32_CS {
            return Err(slice::COMPAT);
        }
        Ok(Registers {
            ip,
            sp: register(offset_of!(pt_regs, rsp)),
            fp: register(offset_of!(pt_regs, rbp)),
        })
    }

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
pub(crate) fn of(_current: u64) -> Result<Registers, u8> {
    Err(tcpstate_common::record::slice::NO_REGISTERS)
}

/// As [`of`].
#[cfg(not(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
)))]
#[inline(always)]
pub(crate) fn of_other(_task: *mut aya_ebpf::bindings::task_struct) -> Result<Registers, u8> {
    Err(tcpstate_common::record::slice::NO_REGISTERS)
}
