//! The record of a full socket that is about to be over.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Task};

/// Bits of [`LastLook::flags`].
pub mod flag {
    /// `SOCK_KEEPOPEN`: `SO_KEEPALIVE` is on.
    pub const KEEPALIVE: u8 = 1 << 0;
    /// `SOCK_LINGER`: `SO_LINGER` is on.
    pub const LINGER: u8 = 1 << 1;
    /// `sk_lingertime` is 0.
    pub const NO_LINGER_TIME: u8 = 1 << 2;
    /// `linger2` is below 0: `TCP_LINGER2` allows no `FIN_WAIT2`.
    pub const NO_FIN_WAIT2: u8 = 1 << 3;
    /// The task that runs has `PF_EXITING`.
    pub const EXITING: u8 = 1 << 4;
}

/// Bits of [`LastLook::known`]: which fields this kernel has.
pub mod known {
    /// [`super::LastLook::bytes_received`]
    pub const BYTES_RECEIVED: u8 = 1 << 0;
    /// [`super::LastLook::bytes_sent`] and [`super::LastLook::bytes_retrans`]
    pub const BYTES_SENT: u8 = 1 << 1;
    /// [`super::LastLook::total_retrans`]
    pub const TOTAL_RETRANS: u8 = 1 << 2;
    /// [`super::LastLook::user_timeout_ms`]
    pub const USER_TIMEOUT: u8 = 1 << 3;
    /// [`super::LastLook::probes_out`]
    pub const PROBES: u8 = 1 << 4;
    /// [`super::flag::NO_LINGER_TIME`]
    pub const LINGER_TIME: u8 = 1 << 5;
    /// [`super::LastLook::sent_ms`] and [`super::LastLook::received_ms`]
    pub const DATA_TIMES: u8 = 1 << 6;
}

/// A full socket right before its transition into `CLOSE`, which follows in the
/// ring: `tcp_disconnect` sets its counters to zero after that. Only in a session
/// that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LastLook {
    /// [`super::kind::LAST_LOOK`]
    pub header: Header,
    /// As [`super::Transition::ktime`].
    pub ktime: u64,
    /// As [`super::Transition::sk`].
    pub sk: u64,
    /// `tcp_sock.bytes_received`: counts the FIN as one.
    pub bytes_received: u64,
    /// `tcp_sock.bytes_sent`: what was sent again counts again.
    pub bytes_sent: u64,
    /// `tcp_sock.bytes_retrans`
    pub bytes_retrans: u64,
    /// Who runs now, zeros for a thread of the kernel: it has to do with the
    /// socket only where the transition is one that a task causes.
    pub task: Task,
    /// `tcp_sock.total_retrans`
    pub total_retrans: u32,
    /// `rcv_nxt - copied_seq`, as [`super::Inspection::unread`].
    pub unread: u32,
    /// `icsk_user_timeout`
    pub user_timeout_ms: u32,
    /// Milliseconds since data was sent (`tcpi_last_data_sent`), in ticks of the
    /// kernel.
    pub sent_ms: u32,
    /// Milliseconds since data came (`tcpi_last_data_recv`).
    pub received_ms: u32,
    /// `icsk_probes_out`
    pub probes_out: u8,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Bits of [`known`].
    pub known: u8,
    /// Zero.
    pub reserved: u8,
}
