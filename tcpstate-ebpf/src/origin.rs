//! A task that gets a socket from `accept`. (One that gets it from `connect`
//! is seen by its transition.)

use aya_ebpf::{
    EbpfContext as _,
    helpers::bpf_get_current_task,
    macros::{fexit, kretprobe, raw_tracepoint, tracepoint},
    programs::{FExitContext, RawTracePointContext, RetProbeContext, TracePointContext},
};
use tcpstate_common::record::{InTask, kind};

use crate::{
    emit::{emit, now},
    filter,
    maps::{OFFSETS, setting},
    sock::{Sock, read},
    task,
    twice::once,
};

/// `match-proto: struct sock *inet_csk_accept(struct sock *sk, int flags,
/// int *err, bool kern)`, up to Linux 6.9. The return value follows the
/// arguments in the context, so each number of arguments needs its program;
/// `bpf_get_func_ret` would not, but is only in Linux 5.17 and later.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted_fexit4(ctx: FExitContext) {
    once(ctx.as_ptr(), || accepted(ctx.arg(4)));
}

/// As [`accepted_fexit4`], for what that is kept from.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted_fexit4_copy(ctx: FExitContext) {
    once(ctx.as_ptr(), || accepted(ctx.arg(4)));
}

/// `match-proto: struct sock *inet_csk_accept(struct sock *sk, struct
/// proto_accept_arg *arg)`, from Linux 6.10.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted_fexit2(ctx: FExitContext) {
    once(ctx.as_ptr(), || accepted(ctx.arg(2)));
}

/// As [`accepted_fexit2`], for what that is kept from.
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accepted_fexit2_copy(ctx: FExitContext) {
    once(ctx.as_ptr(), || accepted(ctx.arg(2)));
}

/// As [`accepted_fexit2`], whatever the arguments.
#[kretprobe(function = "inet_csk_accept")]
pub(crate) fn accepted_kretprobe(ctx: RetProbeContext) {
    accepted(ctx.ret());
}

/// `/sys/kernel/tracing/events/syscalls/sys_exit_accept/format`:
/// `field:long ret; offset:16; size:8`. Only system calls of 64-bit programs.
#[tracepoint(category = "syscalls", name = "sys_exit_accept")]
pub(crate) fn accepted_tracepoint(ctx: TracePointContext) {
    // SAFETY: the record has eight bytes at this offset.
    if let Ok(returned) = unsafe { ctx.read_at::<i64>(16) } {
        accepted_fd(returned);
    }
}

/// `match-proto: void trace_sys_exit(struct pt_regs *regs, long ret)`: every
/// system call of every task, so this looks at the number first.
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn accepted_sys_exit(ctx: RawTracePointContext) {
    if syscall::is_accept(ctx.arg(0)) {
        accepted_fd(ctx.arg(1));
    }
}

/// A return value of `inet_csk_accept`: NULL (or an errno) when it failed.
#[inline(always)]
fn accepted(child: u64) {
    if let Some(sk) = accepted_socket(child) {
        in_task(kind::ACCEPTED, sk);
    }
}

/// The TCP socket that a return value of `inet_csk_accept` is.
#[inline(always)]
pub(crate) fn accepted_socket(child: u64) -> Option<Sock> {
    const MAX_ERRNO: u64 = 4095;
    let sk = Sock(child);
    (child != 0 && child < MAX_ERRNO.wrapping_neg() && sk.is_tcp()).then_some(sk)
}

/// A return value of `accept`: a file descriptor of the current task when it
/// is not negative.
#[inline(always)]
fn accepted_fd(returned: i64) {
    if let Some(sk) = accepted_by_fd(returned) {
        in_task(kind::ACCEPTED, sk);
    }
}

/// The TCP socket behind a return value of `accept`.
#[inline(always)]
pub(crate) fn accepted_by_fd(returned: i64) -> Option<Sock> {
    let fd = u32::try_from(returned).ok()?;
    let sk = socket_of_fd(fd);
    (sk.0 != 0 && sk.is_inet() && sk.is_tcp()).then_some(sk)
}

/// The socket behind a descriptor of the current task; 0 when it has none.
#[inline(always)]
fn socket_of_fd(fd: u32) -> Sock {
    const S_IFMT: u16 = 0o170_000;
    const S_IFSOCK: u16 = 0o140_000;
    // SAFETY: the helper has no precondition.
    let current = unsafe { bpf_get_current_task() };
    let files: u64 = read(current, setting(&OFFSETS.task_struct_files));
    let table: u64 = read(files, setting(&OFFSETS.files_struct_fdt));
    let size: u32 = read(table, setting(&OFFSETS.fdtable_max_fds));
    if fd >= size {
        return Sock(0);
    }
    let slots: u64 = read(table, setting(&OFFSETS.fdtable_fd));
    let file: u64 = read(slots.wrapping_add(u64::from(fd) * 8), 0);
    let inode: u64 = read(file, setting(&OFFSETS.file_f_inode));
    let mode: u16 = read(inode, setting(&OFFSETS.inode_i_mode));
    if mode & S_IFMT != S_IFSOCK {
        return Sock(0);
    }
    let socket: u64 = read(file, setting(&OFFSETS.file_private_data));
    Sock(read(socket, setting(&OFFSETS.socket_sk)))
}

/// Sends that the current task did something with a socket.
#[inline(always)]
pub(crate) fn in_task(kind: u8, sk: Sock) {
    if filter::keep(sk) {
        emit(kind, 0, |header| InTask {
            header,
            ktime: now(),
            sk: sk.0,
            task: task::current(),
        });
    }
}

/// Which system call just returned, from its saved registers.
#[cfg(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
))]
pub(crate) mod syscall {
    use core::mem::offset_of;

    use aya_ebpf::bindings::pt_regs;

    use crate::sock::read;

    /// Code segment of 32-bit programs, whose calls have other numbers.
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/segment.h#L215-L219>
    const USER32_CS: u64 = 0x23;

    #[inline(always)]
    pub(crate) fn is_accept(regs: u64) -> bool {
        const ACCEPT: u64 = 43;
        const ACCEPT4: u64 = 288;
        let number = register(regs, offset_of!(pt_regs, orig_rax));
        if register(regs, offset_of!(pt_regs, cs)) == USER32_CS {
            return is_accept_32(regs, number);
        }
        matches!(number, ACCEPT | ACCEPT4)
    }

    /// 32-bit programs also accept through `socketcall`, whose first argument
    /// (`SYS_ACCEPT`, `SYS_ACCEPT4`) is still in its register.
    #[inline(always)]
    fn is_accept_32(regs: u64, number: u64) -> bool {
        const SOCKETCALL: u64 = 102;
        const ACCEPT4: u64 = 364;
        const SYS_ACCEPT: u64 = 5;
        const SYS_ACCEPT4: u64 = 18;
        number == ACCEPT4
            || number == SOCKETCALL
                && matches!(
                    register(regs, offset_of!(pt_regs, rbx)),
                    SYS_ACCEPT | SYS_ACCEPT4
                )
    }

    #[inline(always)]
    fn register(regs: u64, offset: usize) -> u64 {
        read(regs.wrapping_add(offset as u64), 0)
    }
}

/// Elsewhere `pt_regs` has no system call number that BPF could read.
#[cfg(not(any(
    bpf_target_arch = "x86_64",
    all(not(target_arch = "bpf"), target_arch = "x86_64")
)))]
pub(crate) mod syscall {
    #[inline(always)]
    pub(crate) fn is_accept(_regs: u64) -> bool {
        false
    }
}
