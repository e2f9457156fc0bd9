//! The record of a captured stack: registers, and a slice of memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Task};

/// Values of [`Stack::why`].
pub mod why {
    /// The task connects: `CLOSE -> SYN_SENT`.
    pub const CONNECT: u8 = 1;
    /// `accept` returned the socket to the task.
    pub const ACCEPT: u8 = 2;
    /// The task read end-of-file, by a read that was no peek.
    pub const END_OF_FILE: u8 = 3;
}

/// Values of [`Stack::slice`] and [`super::Thread::slice`].
pub mod slice {
    /// Copied from the stack pointer on, until the limit or the first page that
    /// could not be read.
    pub const COPIED: u8 = 0;
    /// A kernel thread or a worker of `io_uring`: it has no user registers.
    pub const NO_REGISTERS: u8 = 1;
    /// A 32-bit program: its stack is not copied.
    pub const COMPAT: u8 = 2;
    /// There is nothing to read at the stack pointer.
    pub const UNREADABLE: u8 = 3;
    /// The task runs, so that what it entered the kernel with is of the past.
    /// Only of a [`super::Thread`].
    pub const RUNNING: u8 = 4;
}

/// A task's user stack at the moment when it did something with a socket:
/// this head, and the slice of the stack behind it.
///
/// A slice may hold anything that the program has on its stack, passwords and
/// keys too: it is unwound and dropped, never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stack {
    /// [`super::kind::STACK`]; `words` is [`super::LONG`].
    pub header: Header,
    /// Length of head and slice.
    pub bytes: u32,
    /// One of [`why`].
    pub why: u8,
    /// One of [`mod@slice`].
    pub slice: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// As [`super::Transition::ktime`].
    pub ktime: u64,
    /// As [`super::Transition::sk`].
    pub sk: u64,
    /// Whose stack.
    pub task: Task,
    /// When the process started, `CLOCK_BOOTTIME`, ns: a process id that is
    /// used again has another one.
    pub start_boottime: u64,
    /// Kernel address of its `struct mm_struct`: another one after `exec`.
    pub mm: u64,
    /// User instruction pointer (`rip`).
    pub ip: u64,
    /// User stack pointer (`rsp`). The slice begins there, rounded down to a
    /// multiple of eight.
    pub sp: u64,
    /// User frame pointer (`rbp`), which need not be one.
    pub fp: u64,
}
