//! The record of a socket that was looked at for a report.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Tuple};

/// All that a report needs to know of one full socket at this instant, without
/// any transition. User space asks for it by address; the address may have
/// become anything since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Inspection {
    /// [`super::kind::INSPECTION`]
    pub header: Header,
    /// When it was looked at, as [`super::Transition::ktime`].
    pub ktime: u64,
    /// As [`super::Transition::sk`].
    pub sk: u64,
    /// As the socket has it now.
    pub tuple: Tuple,
    /// `skc_state`.
    pub state: u8,
    /// Bits of [`super::how`].
    pub how: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Inode number of the socket's file, 0 without one.
    pub inode: u64,
    /// `rcv_nxt - copied_seq`: bytes that the application has not read. The FIN
    /// counts as one until end-of-file has been read.
    pub unread: u32,
    /// Milliseconds since the last acknowledgment was received
    /// (`tcpi_last_ack_recv`).
    pub quiet_ms: u32,
    /// `sk_ack_backlog`: of a listener, connections that wait for `accept()`.
    pub queue: u32,
    /// `sk_max_ack_backlog`: of a listener, how many may wait.
    pub queue_limit: u32,
}
