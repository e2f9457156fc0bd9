//! What is told of one connection once it is over.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::StateTimes;
use crate::{
    decode::{Family, KtimeNs},
    track::{Cause, Closer, ConnId, Dwell, Opened, Process, Totals},
};

/// Who sent the first FIN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// We did.
    Active,
    /// The peer did.
    Passive,
    /// Both did, before the other's arrived.
    Simultaneous,
    /// Nobody did, or nobody saw it.
    #[default]
    None,
}

impl Role {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::Simultaneous => "simultaneous",
            Self::None => "none",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// Both sides sent their FIN.
    Fin,
    /// By a RST of ours.
    ResetSent,
    /// By a RST of the peer's.
    ResetReceived,
    /// `connect()` was answered by a RST.
    Refused,
    /// Nothing came back, in spite of retransmissions or probes.
    Timeout,
    /// ICMP said the peer cannot be reached.
    Unreachable,
    /// No local port was free for `connect()`.
    NoPort,
    /// `ss -K` or another use of `SOCK_DESTROY`.
    Killed,
    /// The peer's FIN did not come within the orphan's time in `FIN_WAIT2`.
    FinWait2Timeout,
    /// There was no room for a minisocket: `tcp_max_tw_buckets`.
    EvictedLimit,
    /// The network namespace went.
    NetnsExit,
    /// The application closed the socket before the handshake was done.
    Abandoned,
    /// The listener was closed before the handshake was done.
    ListenerClosed,
    /// The handshake failed, and nothing tells why.
    HandshakeFailed,
    /// The socket went without a FIN and without a RST, as with `TCP_REPAIR`.
    Dropped,
    /// The peer's SYN for a new connection, or `connect()`, took over from a
    /// minisocket in `FIN_WAIT2`.
    Reused,
    /// It is over, and how was not seen, as when records were lost.
    Unseen,
}

impl End {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::NoPort => "no_port",
            Self::Killed => "killed",
            Self::FinWait2Timeout => "fin_wait2_timeout",
            Self::EvictedLimit => "evicted_limit",
            Self::NetnsExit => "netns_exit",
            Self::Abandoned => "abandoned",
            Self::ListenerClosed => "listener_closed",
            Self::HandshakeFailed => "handshake_failed",
            Self::Dropped => "dropped",
            Self::Reused => "reused",
            Self::Unseen => "unseen",
        }
    }
}

/// Why we ended a connection by a RST, or gave it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It was closed with `SO_LINGER` on and a time of 0.
    LingerZero,
    /// It was closed before the application had read all that had come.
    UnreadData,
    /// The peer sent data after the application had closed.
    DataAfterClose,
    /// The peer's segment was for a socket that does not exist.
    NoSocket,
    /// The listener was closed with the connection in its accept queue.
    ListenerClosed,
    /// There were too many orphans, or too little memory for them.
    OrphanLimit,
    /// The probes of `SO_KEEPALIVE` had no answer.
    Keepalive,
    /// What was sent had no answer within `TCP_USER_TIMEOUT`.
    UserTimeout,
    /// What was sent had no answer, however often it was sent again.
    Retransmissions,
    /// `ss -K` or another use of `SOCK_DESTROY`.
    Killed,
    /// `connect()` to `AF_UNSPEC`.
    Disconnect,
    /// It was closed with `TCP_LINGER2` below 0, which allows no `FIN_WAIT2`.
    Linger2,
    /// An orphan's time in `FIN_WAIT2` was over.
    OrphanTimeout,
    /// It was closed for good before all had been sent.
    UnsentData,
    /// The segment that the RST answers was none that TCP allows here.
    InvalidSegment,
}

impl Reason {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LingerZero => "linger_zero",
            Self::UnreadData => "unread_data",
            Self::DataAfterClose => "data_after_close",
            Self::NoSocket => "no_socket",
            Self::ListenerClosed => "listener_closed",
            Self::OrphanLimit => "orphan_limit",
            Self::Keepalive => "keepalive",
            Self::UserTimeout => "user_timeout",
            Self::Retransmissions => "retransmissions",
            Self::Killed => "killed",
            Self::Disconnect => "disconnect",
            Self::Linger2 => "linger2",
            Self::OrphanTimeout => "orphan_timeout",
            Self::UnsentData => "unsent_data",
            Self::InvalidSegment => "invalid_segment",
        }
    }
}

/// A connection that is over, seen from one of its sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// When it was over.
    pub at: KtimeNs,
    /// Which.
    pub conn: ConnId,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Of the socket; v4-mapped is `Inet6`.
    pub family: Family,
    /// As in [`crate::track::Change`].
    pub tuple: Tuple,
    /// How the application came by it; `Unknown` if that was before the trace.
    pub opened: Opened,
    /// Who connected, listened or accepted.
    pub process: Option<Process>,
    /// From the first sign of it to `at`.
    pub lifetime: Dwell,
    /// Time in each state.
    pub states: StateTimes,
    /// Bytes each way and the like; `None` when nobody looked at the socket, as
    /// in a recording without that, or of a handshake that failed.
    pub totals: Option<Totals>,
    /// For how long no data had come or gone when it was closed, to a tick of
    /// the kernel.
    pub idle_ns: Option<u64>,
    /// Who sent the first FIN.
    pub role: Role,
    /// How it ended.
    pub end: End,
    /// Why we ended it by a RST, or gave it up.
    pub reset_reason: Option<Reason>,
    /// The kernel's own reason, `enum sk_rst_reason`, where it gives one.
    pub kernel_reason: Option<u32>,
    /// Who ended it, where a task did that is known. Of a connection that ended
    /// by FIN, who closed first; [`Self::closer_is_peer`] then tells which side.
    pub closed_by: Option<Closer>,
    /// Whether [`Self::closed_by`] has the other end of the connection, which is
    /// on this host too.
    pub closer_is_peer: bool,
    /// The state in which it ended.
    pub last: TcpState,
    /// What it went into: `CLOSE`, or `TIME_WAIT`, whether that was waited for
    /// or not.
    pub into: TcpState,
    /// What ended its `TIME_WAIT`, if that was waited for.
    pub gone: Option<Cause>,
}
