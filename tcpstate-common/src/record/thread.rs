//! The record of a thread: registers, and a slice of memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;

/// What a thread has on its user stack while it sleeps in the kernel: this head,
/// and the slice of the stack behind it.
///
/// A file of an iterator has these and nothing else. As with a [`super::Stack`],
/// a slice may hold secrets: it is unwound and dropped, never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Thread {
    /// [`super::kind::THREAD`]; `words` is [`super::LONG`].
    pub header: Header,
    /// Length of head and slice.
    pub bytes: u32,
    /// One of [`mod@super::slice`].
    pub slice: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// As [`super::Transition::ktime`].
    pub ktime: u64,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// As [`super::Stack::start_boottime`].
    pub start_boottime: u64,
    /// As [`super::Stack::mm`].
    pub mm: u64,
    /// As [`super::Stack::ip`].
    pub ip: u64,
    /// As [`super::Stack::sp`].
    pub sp: u64,
    /// As [`super::Stack::fp`].
    pub fp: u64,
}
