//! What a record says, once checked.

use tcpstate_common::{
    record::{Task, Tuple, how},
    state::TcpState,
};

use super::{LastLook, StackEvent};

/// `CLOCK_MONOTONIC` in nanoseconds, as `bpf_ktime_get_ns` reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KtimeNs(pub u64);

impl KtimeNs {
    /// Nanoseconds from `earlier` to `self`; 0 when the two came from CPUs
    /// whose records overtook each other.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Kernel address of a socket: an identity only together with a birth time,
/// because the kernel reuses it within milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockAddr64(pub u64);

/// Address family of the socket. A v4-mapped connection is `Inet6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`
    Inet,
    /// `AF_INET6`
    Inet6,
}

/// Bits of [`tcpstate_common::record::how`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct How(pub u8);

impl How {
    /// Whether every bit of `bits` is set.
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// The socket's family.
    #[must_use]
    pub const fn family(self) -> Family {
        if self.has(how::INET6) {
            Family::Inet6
        } else {
            Family::Inet
        }
    }
}

/// What a socket table entry is: one connection passes through all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// `struct sock`
    Full,
    /// `struct inet_timewait_sock`
    Minisocket,
    /// `struct request_sock`
    Request,
}

/// One decoded record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, by the kernel's clock.
    pub at: KtimeNs,
    /// Low bits of the loss counter when the record was reserved.
    pub lost: u16,
    /// What.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A socket changed state (or did not: old may equal new).
    Transition(Transition),
    /// `accept()` returned the socket to the task.
    Accepted(SockAddr64, Task),
    /// The last descriptor went and the task runs `__tcp_close`.
    CloseCalled(SockAddr64, Task),
    /// A RST left.
    ResetSent(ResetSent),
    /// A valid RST arrived.
    ResetReceived(SockAddr64),
    /// The full socket is gone.
    Destroyed(SockAddr64),
    /// What a socket is now, without a transition.
    Snapshot(Snapshot),
    /// A walk over the socket tables begins, is complete, or broke off.
    Sweep(SweepPhase),
    /// Something happened to a minisocket.
    Minisocket(Minisocket),
    /// Something happened to a request.
    Request(Request),
    /// All that a report needs to know of one socket now.
    Inspection(Inspection),
    /// A task's stack was captured.
    Stack(StackEvent),
    /// A full socket is over with the transition that follows.
    LastLook(LastLook),
}

/// `inet_sock_set_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whose.
    pub sk: SockAddr64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// As the socket had it; see [`crate::track`] for when it is incomplete.
    pub tuple: Tuple,
    /// Left.
    pub old: TcpState,
    /// Entered.
    pub new: TcpState,
    /// The socket at that instant.
    pub how: How,
    /// `sk_err` on `-> CLOSE`, else 0.
    pub err: u8,
    /// Who caused it, where a task did.
    pub task: Option<Task>,
}

/// `tcp_send_reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetSent {
    /// Whose; `None` when no socket matched.
    pub sk: Option<SockAddr64>,
    /// `enum sk_rst_reason`, where the kernel gives one.
    pub reason: Option<u32>,
    /// We aborted; otherwise it answers a segment.
    pub active: bool,
}

/// A socket seen in a walk, or looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which; `None` when the source does not tell addresses.
    pub sk: Option<SockAddr64>,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// As it is now.
    pub tuple: Tuple,
    /// A minisocket's is its substate, a request's is `SYN_RECV`.
    pub state: TcpState,
    /// Which of the three structures.
    pub kind: SocketKind,
    /// The socket now.
    pub how: How,
    /// Inode number of the socket's file, 0 without one.
    pub inode: u64,
    /// Socket cookie, 0 when it has none yet.
    pub cookie: u64,
}

/// A full socket that was looked at for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Which.
    pub sk: SockAddr64,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// As it is now.
    pub tuple: Tuple,
    /// Its state.
    pub state: TcpState,
    /// The socket now.
    pub how: How,
    /// Inode number of the socket's file, 0 without one.
    pub inode: u64,
    /// Bytes that the application has not read; the FIN counts as one until
    /// end-of-file has been read.
    pub unread: u32,
    /// Milliseconds since the last acknowledgment was received.
    pub quiet_ms: u32,
    /// Of a listener: connections that wait for `accept()`.
    pub queue: u32,
    /// Of a listener: how many may wait.
    pub queue_limit: u32,
}

/// A walk's brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepPhase {
    /// Snapshots follow.
    Begin,
    /// The walk is complete.
    End,
    /// The walk broke off.
    Failed,
}

/// Something that happened to a minisocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minisocket {
    /// Whose.
    pub tw: SockAddr64,
    /// The full socket it replaces, where the hook tells.
    pub sk: Option<SockAddr64>,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The connection's.
    pub tuple: Tuple,
    /// The family.
    pub how: How,
    /// `FIN_WAIT2` or `TIME_WAIT`.
    pub substate: TcpState,
    /// Process in whose context it happened; means something only where a
    /// caller in process context is named.
    pub pid: u32,
    /// Milliseconds until its timer runs out.
    pub left_ms: u32,
    /// What happened.
    pub what: MinisocketEvent,
}

/// Values of [`tcpstate_common::record::minisocket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinisocketEvent {
    /// It takes over, or its timer was started (alike, where `sk` is `None`).
    Begun,
    /// Its timer was started again.
    Armed,
    /// It handled a segment with these TCP flags (RFC 9293 section 3.1: FIN 1,
    /// SYN 2, RST 4, PSH 8, ACK 16).
    Handled {
        /// The segment's.
        flags: u8,
    },
    /// Its timer was stopped, on behalf of this caller unless it runs out.
    Stopped {
        /// One of [`tcpstate_common::record::caller`].
        caller: u8,
    },
    /// Its timer ran out.
    Expired,
    /// It ends on behalf of this caller.
    Ended {
        /// One of [`tcpstate_common::record::caller`].
        caller: u8,
    },
    /// Its last reference is gone.
    Destroyed {
        /// One of [`tcpstate_common::record::caller`]: who dropped it.
        caller: u8,
    },
}

/// Something that happened to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose.
    pub req: SockAddr64,
    /// Its listener.
    pub listener: SockAddr64,
    /// State of the listener.
    pub listener_state: TcpState,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The connection's.
    pub tuple: Tuple,
    /// The family.
    pub how: How,
    /// When the first SYN-ACK was sent, rounded down to a microsecond.
    pub begun: KtimeNs,
    /// On whose behalf, as one of [`tcpstate_common::record::caller`].
    pub by: u8,
    /// What happened.
    pub what: RequestEvent,
}

/// Values of [`tcpstate_common::record::Request::what`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEvent {
    /// A child is made of it.
    Cloned,
    /// Its timer was stopped.
    Stopped,
    /// Its timer ran out.
    Expired,
    /// Its timer was started again.
    Armed,
    /// It is removed.
    Ended,
}
