//! A captured stack: head and slice.
//!
//! What lies in the slice is for `unwind` to say. It may hold secrets: the
//! decoded event does not contain it, so that it cannot be kept by accident.

use tcpstate_common::record::{self, Header, Stack, Task};
use zerocopy::FromBytes as _;

use super::{
    DecodeError, Event, KtimeNs, Record, SockAddr64, record_at, unknown_value, wrong_length,
};

/// A stack was captured. [`slice()`] of the same bytes has the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackEvent {
    /// When.
    pub at: KtimeNs,
    /// The socket that the task did something with.
    pub sk: SockAddr64,
    /// What it did.
    pub why: Why,
    /// Who.
    pub task: Task,
    /// When the process started, `CLOCK_BOOTTIME`, ns.
    pub start_boottime: u64,
    /// Kernel address of its memory map: another one after `exec`.
    pub mm: u64,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Whether there is a slice.
    pub status: SliceStatus,
}

/// Values of [`tcpstate_common::record::why`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It connects.
    Connect,
    /// It accepted.
    Accept,
    /// It read end-of-file.
    EndOfFile,
}

/// Values of [`tcpstate_common::record::slice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SliceStatus {
    /// There is a slice.
    Copied,
    /// A kernel thread, or a worker of `io_uring`.
    NoRegisters,
    /// A 32-bit program.
    Compat,
    /// The stack pointer leads nowhere.
    Unreadable,
    /// The task runs: where, its registers do not say. Only of a
    /// [`super::ThreadStack`].
    Running,
}

impl SliceStatus {
    pub(super) const fn of(value: u8) -> Option<Self> {
        match value {
            record::slice::COPIED => Some(Self::Copied),
            record::slice::NO_REGISTERS => Some(Self::NoRegisters),
            record::slice::COMPAT => Some(Self::Compat),
            record::slice::UNREADABLE => Some(Self::Unreadable),
            record::slice::RUNNING => Some(Self::Running),
            _ => None,
        }
    }
}

/// The slice of the stack in the bytes of a [`StackEvent`]'s record; empty for
/// any other bytes.
#[must_use]
pub fn slice(bytes: &[u8]) -> &[u8] {
    bytes.get(size_of::<Stack>()..).unwrap_or_default()
}

/// Length of a record that is too long for its header.
pub(super) fn long_len(bytes: &[u8], header: Header) -> Result<usize, DecodeError> {
    let have = bytes.len();
    let behind = &bytes[size_of::<Header>()..];
    let (length, _) = u32::read_from_prefix(behind).map_err(|_size| DecodeError::Truncated {
        have,
        need: size_of::<Header>() + size_of::<u32>(),
    })?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length < size_of::<Header>() + 8 || !length.is_multiple_of(8) {
        return Err(wrong_length(header));
    }
    Ok(length)
}

pub(super) fn decode(bytes: &[u8], header: Header) -> Result<Record, DecodeError> {
    if header.words != record::LONG {
        return Err(wrong_length(header));
    }
    let (wire, slice) = Stack::read_from_prefix(bytes).map_err(|_size| wrong_length(header))?;
    if usize::try_from(wire.bytes) != Ok(bytes.len()) {
        return Err(wrong_length(header));
    }
    let event = event(&wire)?;
    if (event.status == SliceStatus::Copied) == slice.is_empty() {
        return Err(wrong_length(header));
    }
    Ok(record_at(wire.ktime, header, Event::Stack(event)))
}

fn event(wire: &Stack) -> Result<StackEvent, DecodeError> {
    let why = match wire.why {
        record::why::CONNECT => Why::Connect,
        record::why::ACCEPT => Why::Accept,
        record::why::END_OF_FILE => Why::EndOfFile,
        value => return Err(unknown_value(wire.header, value)),
    };
    let status = match SliceStatus::of(wire.slice) {
        // Who does something with a socket runs.
        None | Some(SliceStatus::Running) => return Err(unknown_value(wire.header, wire.slice)),
        Some(status) => status,
    };
    Ok(StackEvent {
        at: KtimeNs(wire.ktime),
        sk: SockAddr64(wire.sk),
        why,
        task: wire.task,
        start_boottime: wire.start_boottime,
        mm: wire.mm,
        ip: wire.ip,
        sp: wire.sp,
        fp: wire.fp,
        status,
    })
}
