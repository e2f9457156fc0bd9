//! A full socket right before it is over: which of its numbers the kernel knows.

use tcpstate_common::record::{
    self, Task,
    last_look::{flag, known},
};

use super::{SockAddr64, value::How};

/// A socket right before its transition into `CLOSE`. `None` is what the kernel
/// has no field for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    /// Whose.
    pub sk: SockAddr64,
    /// The FIN counts as one.
    pub bytes_received: Option<u64>,
    /// Payload sent, what was sent again counted once.
    pub bytes_sent: Option<u64>,
    /// Segments sent again.
    pub retransmits: Option<u32>,
    /// `rcv_nxt - copied_seq`
    pub unread: u32,
    /// `TCP_USER_TIMEOUT`, 0 without.
    pub user_timeout_ms: Option<u32>,
    /// Probes without an answer.
    pub probes: Option<u8>,
    /// Milliseconds since data went or came.
    pub idle_ms: Option<u32>,
    /// `SO_KEEPALIVE`
    pub keepalive: bool,
    /// `SO_LINGER` with a time of 0.
    pub linger_zero: Option<bool>,
    /// `TCP_LINGER2` below 0.
    pub no_fin_wait2: bool,
    /// Who ran.
    pub task: Task,
    /// Whether that task was exiting.
    pub exiting: bool,
}

pub(super) fn decode(wire: &record::LastLook) -> LastLook {
    let has = |bit| How(wire.known).has(bit);
    let is = |bit| How(wire.flags).has(bit);
    let linger = is(flag::LINGER);
    LastLook {
        sk: SockAddr64(wire.sk),
        bytes_received: has(known::BYTES_RECEIVED).then_some(wire.bytes_received),
        bytes_sent: has(known::BYTES_SENT)
            .then(|| wire.bytes_sent.saturating_sub(wire.bytes_retrans)),
        retransmits: has(known::TOTAL_RETRANS).then_some(wire.total_retrans),
        unread: wire.unread,
        user_timeout_ms: has(known::USER_TIMEOUT).then_some(wire.user_timeout_ms),
        probes: has(known::PROBES).then_some(wire.probes_out),
        idle_ms: has(known::DATA_TIMES).then(|| wire.sent_ms.min(wire.received_ms)),
        keepalive: is(flag::KEEPALIVE),
        linger_zero: match linger {
            false => Some(false),
            true => has(known::LINGER_TIME).then(|| is(flag::NO_LINGER_TIME)),
        },
        no_fin_wait2: is(flag::NO_FIN_WAIT2),
        task: wire.task,
        exiting: is(flag::EXITING),
    }
}
