//! What a record says of a request: of a connection on the listener's side from
//! the SYN to the last segment of the handshake.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Tuple};

/// Value of [`Request::what`]: a child is made of it, so it goes on as a full
/// socket.
pub const CLONED: u8 = 1;
/// Its timer was stopped: a child has been made of it, or it ends, or the timer
/// runs out or is started again at once.
pub const STOPPED: u8 = 2;
/// Its timer ran out: it ends, or its timer is started again at once.
pub const EXPIRED: u8 = 3;
/// Its timer was started again: it lives on.
pub const ARMED: u8 = 4;
/// It is removed.
pub const ENDED: u8 = 5;

/// Something that happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Request {
    /// [`super::kind::REQUEST`]
    pub header: Header,
    /// As [`super::Transition::ktime`].
    pub ktime: u64,
    /// Kernel address of the request.
    pub req: u64,
    /// Kernel address of the listener.
    pub listener: u64,
    /// When the first SYN-ACK was sent: `CLOCK_MONOTONIC` in microseconds, never 0.
    pub synack_us: u64,
    /// The connection's.
    pub tuple: Tuple,
    /// What happened: [`CLONED`] to [`ENDED`].
    pub what: u8,
    /// On whose behalf, as one of [`super::caller`].
    pub by: u8,
    /// Bits of [`super::how`]: the family.
    pub how: u8,
    /// State number of the listener.
    pub listener_state: u8,
}
