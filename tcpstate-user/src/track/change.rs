//! What the tracker tells: one change of state of one connection, complete.

use std::fmt;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::last::Totals;
use crate::decode::{Family, KtimeNs, SockAddr64, SocketKind};

/// One lifetime of one connection, across full socket, minisocket and request.
///
/// Printed, it is the same string on every line of the connection and in every
/// replay of it. Of the address only the bits below the granularity of kernel
/// address randomisation are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// When the connection was first seen.
    pub birth: KtimeNs,
    /// Its first kernel address; a number that stands for its tuple where no
    /// source told one.
    pub sk: SockAddr64,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:06x}", self.birth.0, (self.sk.0 >> 6) & 0xff_ffff)
    }
}

/// Time between entering and leaving a state, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dwell {
    /// Both ends were seen.
    Exact(u64),
    /// The entry was before the trace, or records were lost in between.
    AtLeast(u64),
    /// Nothing true can be said.
    Unknown,
}

/// The process at a connection's origin: it called connect, listen or accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread name at that moment: any bytes, NUL-padded.
    pub comm: [u8; 16],
}

/// What a task did to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Its last descriptor went by `close()`, or by what closes it in passing
    /// (`dup2`, `exec`).
    Close,
    /// It called `shutdown()`.
    Shutdown,
    /// It ended, with the descriptor open.
    Exit,
    /// It closed the listener in whose accept queue the connection was.
    AcceptQueue,
    /// `ss -K`, or another use of `SOCK_DESTROY`.
    Kill,
    /// `connect()` to `AF_UNSPEC`, which disconnects.
    Connect,
}

impl Call {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Shutdown => "shutdown",
            Self::Exit => "exit",
            Self::AcceptQueue => "accept_queue",
            Self::Kill => "kill",
            Self::Connect => "connect",
        }
    }
}

/// Who ended a state, where a task did: not the origin, but whoever made the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Closer {
    /// Who.
    pub process: Process,
    /// By what.
    pub call: Call,
}

/// How the application came by a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Opened {
    /// It called `connect()`.
    Connect,
    /// It called `accept()`, or will.
    Accept,
    /// Before the trace began, or while records were lost.
    #[default]
    Unknown,
}

impl Opened {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Unknown => "unknown",
        }
    }
}

/// What ended a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The application closed its last descriptor (or exited).
    Close,
    /// The application called `shutdown()`.
    Shutdown,
    /// The peer's FIN arrived.
    PeerFin,
    /// The peer acknowledged our FIN.
    FinAcked,
    /// We sent a RST.
    ResetSent,
    /// The peer sent a RST.
    ResetReceived,
    /// `connect()` was answered by a RST.
    Refused,
    /// Retransmissions, keepalive or user timeout ran out.
    Timeout,
    /// ICMP said the peer cannot be reached.
    Unreachable,
    /// No local port was free for `connect()`.
    NoPort,
    /// `ss -K` or `SOCK_DESTROY`.
    Killed,
    /// `TIME_WAIT` ran its full time.
    Expired,
    /// The peer's FIN did not come within the orphan's time in `FIN_WAIT2`.
    FinWait2Timeout,
    /// `connect()` took the ports over from a minisocket.
    ReusedByConnect,
    /// The peer's SYN for a new connection was accepted by a minisocket.
    ReusedBySyn,
    /// The network namespace went, and its minisockets with it.
    NetnsExit,
    /// There was no room for a minisocket: `tcp_max_tw_buckets`.
    EvictedLimit,
    /// The socket left the kernel's tables without that being seen, as when
    /// records were being lost.
    Unseen,
}

impl Cause {
    /// The name printed in tables and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Shutdown => "shutdown",
            Self::PeerFin => "peer_fin",
            Self::FinAcked => "fin_acked",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::NoPort => "no_port",
            Self::Killed => "killed",
            Self::Expired => "expired",
            Self::FinWait2Timeout => "fin_wait2_timeout",
            Self::ReusedByConnect => "reused_by_connect",
            Self::ReusedBySyn => "reused_by_syn",
            Self::NetnsExit => "netns_exit",
            Self::EvictedLimit => "evicted_limit",
            Self::Unseen => "unseen",
        }
    }
}

/// One change of state of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: KtimeNs,
    /// Whose.
    pub conn: ConnId,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Of the socket; v4-mapped is `Inet6`.
    pub family: Family,
    /// The connection's own, on every line. A port of 0 is not known, an
    /// unspecified remote address with port 0 likewise.
    pub tuple: Tuple,
    /// Left.
    pub old: TcpState,
    /// Entered.
    pub new: TcpState,
    /// Time spent in `old`.
    pub dwell: Dwell,
    /// What it was when it changed.
    pub kind: SocketKind,
    /// Who connected, listened or accepted; `None` when not known (yet).
    pub origin: Option<Process>,
    /// What ended `old`, where something did.
    pub cause: Option<Cause>,
    /// `enum sk_rst_reason`, where a RST ended it and the kernel gives one.
    pub reset_reason: Option<u32>,
    /// How often a minisocket's timer was started again, so far.
    pub rearmed: u32,
    /// Who caused this change by closing, where a task did. Unless the session
    /// was asked for connections, exit and close look alike, and who killed or
    /// disconnected a socket is not told.
    pub closer: Option<Closer>,
    /// On the line with which a full socket is over, or the first one of the
    /// minisocket that took over, in a session that was asked for connections.
    pub totals: Option<Totals>,
}
