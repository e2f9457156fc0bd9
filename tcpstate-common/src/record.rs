//! The bytes of a record, as they cross the ring buffer and lie in a recording.
//!
//! Every record begins with a [`Header`]; its `kind` and `words` say what
//! follows and how long it is, so a reader can step over a kind it does not
//! know. Layouts have no implicit padding (the `IntoBytes` derive refuses it)
//! and numbers are in the byte order of the machine that traced. Nothing here
//! interprets: an address or a state may be any value until `decode` has
//! looked at it.

pub mod caller;
mod inspection;
pub mod last_look;
pub mod request;
mod stack;
mod thread;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use inspection::Inspection;
pub use last_look::LastLook;
pub use request::Request;
pub use stack::{Stack, slice, why};
pub use thread::Thread;

/// Version of everything in this module; a recording states it.
pub const SCHEMA: u32 = 1;

/// Values of [`Header::kind`].
pub mod kind {
    /// [`super::Transition`]
    pub const TRANSITION: u8 = 1;
    /// [`super::TransitionInTask`]
    pub const TRANSITION_IN_TASK: u8 = 2;
    /// [`super::InTask`]: `accept()` returned this socket to this task.
    pub const ACCEPTED: u8 = 3;
    /// [`super::InTask`]: the last descriptor went and this task runs `__tcp_close`.
    pub const CLOSE_CALLED: u8 = 4;
    /// [`super::ResetSent`]
    pub const RESET_SENT: u8 = 5;
    /// [`super::OnSocket`]: a valid RST arrived for this socket.
    pub const RESET_RECEIVED: u8 = 6;
    /// [`super::OnSocket`]: the full socket is gone; its address may be reused.
    pub const DESTROYED: u8 = 7;
    /// [`super::Snapshot`]
    pub const SNAPSHOT: u8 = 8;
    /// [`super::Sweep`]
    pub const SWEEP: u8 = 9;
    /// [`super::Minisocket`]
    pub const MINISOCKET: u8 = 10;
    /// [`super::Request`]
    pub const REQUEST: u8 = 11;
    /// [`super::Stack`]
    pub const STACK: u8 = 12;
    /// [`super::Inspection`]
    pub const INSPECTION: u8 = 13;
    /// [`super::Thread`]: neither in the ring nor in a recording.
    pub const THREAD: u8 = 14;
    /// [`super::LastLook`]
    pub const LAST_LOOK: u8 = 15;
}

/// Bits of [`Transition::how`] and [`Snapshot::how`]: the socket at that instant.
pub mod how {
    /// `sk_shutdown` has `RCV_SHUTDOWN`.
    pub const RCV_SHUTDOWN: u8 = 1 << 0;
    /// `sk_shutdown` has `SEND_SHUTDOWN`.
    pub const SEND_SHUTDOWN: u8 = 1 << 1;
    /// The last reference to the socket's file is gone: this is `close()` (or
    /// exit), not `shutdown()`.
    pub const FILE_RELEASED: u8 = 1 << 2;
    /// `SOCK_DONE`: the peer's FIN has been received.
    pub const FIN_RECEIVED: u8 = 1 << 3;
    /// `SOCK_DEAD`: no process has the socket any more (orphan).
    pub const ORPHAN: u8 = 1 << 4;
    /// The socket's family is `AF_INET6` (v4-mapped addresses included);
    /// otherwise it is `AF_INET`.
    pub const INET6: u8 = 1 << 5;
    /// `sk_socket` is NULL: an orphan, or still in the accept queue.
    pub const NO_SOCKET: u8 = 1 << 6;
    /// On leaving `CLOSE`: the socket still has the port of an earlier
    /// connection of its own, so it is not a new one.
    pub const REUSED: u8 = 1 << 7;
    /// On leaving any other state, in a session that asks for last looks: the
    /// task that caused it is exiting. `CLOSE` is never left by closing, so the
    /// bit is free there for [`REUSED`].
    pub const EXITING: u8 = 1 << 7;
}

/// Value of [`Header::words`] of a record whose length that field cannot say:
/// a `u32` behind the header has the length of the whole record in bytes, a
/// multiple of eight. So a reader can step over a long record, too.
pub const LONG: u8 = 0;

/// First eight bytes of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// One of [`kind`].
    pub kind: u8,
    /// Length of the whole record in units of eight bytes, header included; or
    /// [`LONG`].
    pub words: u8,
    /// Low bits of the number of records lost, on all CPUs, before this one was
    /// reserved. A change from one record to the next means: between these two
    /// there is a gap. The socket lock orders the records of one socket, so a
    /// loss on a socket is always visible on its next record.
    pub lost: u16,
    /// Inode number of the socket's network namespace; 0 where a record does
    /// not carry it.
    pub netns: u32,
}

/// Both ends of a connection, local first.
///
/// Addresses are 16 bytes in network order; IPv4 is written v4-mapped
/// (RFC 4291 section 2.5.5.2). Ports are in host order, 0 = not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tuple {
    /// Local address.
    pub laddr: [u8; 16],
    /// Remote address.
    pub raddr: [u8; 16],
    /// Local port.
    pub lport: u16,
    /// Remote port.
    pub rport: u16,
}

/// The task in whose context something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Task {
    /// Process id (the kernel's tgid), in the initial pid namespace.
    pub pid: u32,
    /// Thread id (the kernel's pid), in the initial pid namespace.
    pub tid: u32,
    /// The thread's name, as `prctl(PR_SET_NAME)` set it: any bytes, NUL-padded.
    pub comm: [u8; 16],
}

/// `sock:inet_sock_set_state` of a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Transition {
    /// [`kind::TRANSITION`], or [`kind::TRANSITION_IN_TASK`] as part of that record.
    pub header: Header,
    /// `bpf_ktime_get_ns`: `CLOCK_MONOTONIC`, ns.
    pub ktime: u64,
    /// Kernel address of the socket.
    pub sk: u64,
    /// As the socket had it at this instant: see kernel traps in `track`.
    pub tuple: Tuple,
    /// State number left.
    pub old: u8,
    /// State number entered.
    pub new: u8,
    /// Bits of [`how`].
    pub how: u8,
    /// `sk_err` (an errno), read on `-> CLOSE`; else 0. Values above 255 are written 255.
    pub err: u8,
}

/// A [`Transition`] in the context of a task that caused it, by connect,
/// listen, shutdown or close: never a task that a packet interrupted. In a session
/// that asks for last looks, never a thread of the kernel that closes either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TransitionInTask {
    /// What happened.
    pub transition: Transition,
    /// Who did it.
    pub task: Task,
}

/// Something a task did with a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InTask {
    /// [`kind::ACCEPTED`] or [`kind::CLOSE_CALLED`].
    pub header: Header,
    /// As [`Transition::ktime`].
    pub ktime: u64,
    /// As [`Transition::sk`].
    pub sk: u64,
    /// Who did it.
    pub task: Task,
}

/// `tcp:tcp_send_reset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ResetSent {
    /// [`kind::RESET_SENT`]
    pub header: Header,
    /// As [`Transition::ktime`].
    pub ktime: u64,
    /// As [`Transition::sk`]; 0 when no socket matched the segment.
    pub sk: u64,
    /// `enum sk_rst_reason`, or [`ResetSent::NO_REASON`] before Linux 6.10.
    pub reason: u32,
    /// 1 when we aborted (no segment provoked it), 0 when it answers a segment.
    pub active: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl ResetSent {
    /// The kernel gives no reason.
    pub const NO_REASON: u32 = u32::MAX;
}

/// Something that happened to a socket, with nothing more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OnSocket {
    /// [`kind::RESET_RECEIVED`] or [`kind::DESTROYED`].
    pub header: Header,
    /// As [`Transition::ktime`].
    pub ktime: u64,
    /// As [`Transition::sk`].
    pub sk: u64,
}

/// Values of [`Snapshot::kind`].
pub mod socket_kind {
    /// `struct sock`
    pub const FULL: u8 = 1;
    /// `struct inet_timewait_sock`
    pub const MINISOCKET: u8 = 2;
    /// `struct request_sock`
    pub const REQUEST: u8 = 3;
}

/// What a socket is at this instant, without any transition: from a walk over
/// the socket tables, or from a look at one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Snapshot {
    /// [`kind::SNAPSHOT`]
    pub header: Header,
    /// When it was looked at, as [`Transition::ktime`].
    pub ktime: u64,
    /// As [`Transition::sk`]; 0 when the source (`sock_diag`) does not tell.
    pub sk: u64,
    /// As the socket has it now.
    pub tuple: Tuple,
    /// State number; a minisocket's is its substate, a request's is `SYN_RECV`.
    pub state: u8,
    /// One of [`socket_kind`].
    pub kind: u8,
    /// Bits of [`how`].
    pub how: u8,
    /// Zero.
    pub reserved: u8,
    /// Inode number of the socket's file, 0 without one. Of a minisocket, which
    /// has no file: milliseconds until its timer runs out.
    pub inode: u64,
    /// Socket cookie, 0 when nobody has asked for one yet.
    pub cookie: u64,
}

/// Values of [`Minisocket::what`].
pub mod minisocket {
    /// It takes over from a full socket: `sk` says from which, or is 0 and the
    /// tuple has to say. From a timer's start this and [`ARMED`] look alike.
    pub const BEGUN: u8 = 1;
    /// Its timer was started again; `substate` may have changed before.
    pub const ARMED: u8 = 2;
    /// It handled a segment, whose TCP flags are in `by`; `substate` is the one
    /// after that. It may have ended by it.
    pub const HANDLED: u8 = 3;
    /// Its timer was stopped: it ends, or it expires or is armed again at once.
    /// `by` says on whose behalf, as one of [`super::caller`], while the timer
    /// has time left.
    pub const STOPPED: u8 = 4;
    /// Its timer ran out: it ends.
    pub const EXPIRED: u8 = 5;
    /// It ends for another reason than its timer: `by` says on whose behalf, as
    /// one of [`super::caller`].
    pub const ENDED: u8 = 6;
    /// Its last reference is gone: whatever was missed, it has ended by now.
    /// `by` is as with [`ENDED`], but who drops the last reference need not be
    /// who ended it.
    pub const DESTROYED: u8 = 7;
}

/// Something that happened to a minisocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Minisocket {
    /// [`kind::MINISOCKET`]
    pub header: Header,
    /// As [`Transition::ktime`].
    pub ktime: u64,
    /// Kernel address of the minisocket.
    pub tw: u64,
    /// Kernel address of the full socket it replaces, 0 where the hook does not tell.
    pub sk: u64,
    /// The connection's.
    pub tuple: Tuple,
    /// One of [`minisocket`].
    pub what: u8,
    /// `tw_substate`: 5 `FIN_WAIT2` or 6 `TIME_WAIT`.
    pub substate: u8,
    /// Bits of [`how`]: the family.
    pub how: u8,
    /// Depends on `what`.
    pub by: u8,
    /// Process in whose context it happened (tgid); a process that a packet
    /// interrupted, unless `by` names a caller in process context.
    pub pid: u32,
    /// Milliseconds until its timer runs out, at this instant.
    pub left_ms: u32,
}

/// Values of [`Sweep::phase`].
pub mod sweep {
    /// A walk over all socket tables begins: its snapshots follow.
    pub const BEGIN: u8 = 1;
    /// The walk is complete: a full socket that was not seen is gone, unless a
    /// record about it is younger than the beginning.
    pub const END: u8 = 2;
    /// The walk broke off: nothing follows from a socket not seen.
    pub const FAILED: u8 = 3;
}

/// Brackets the snapshots of one walk over the socket tables. Written by the
/// user side, which alone knows the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sweep {
    /// [`kind::SWEEP`]
    pub header: Header,
    /// As [`Transition::ktime`].
    pub ktime: u64,
    /// One of [`sweep`].
    pub phase: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// Length of a record in [`Header::words`].
///
/// # Panics
///
/// At compile time, when a record is longer than the field can say.
#[must_use]
pub const fn words_of<T>() -> u8 {
    let bytes = size_of::<T>();
    assert!(bytes.is_multiple_of(8) && bytes / 8 <= 255);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "asserted in the line above"
    )]
    let words = (bytes / 8) as u8;
    words
}

const _: () = {
    assert!(words_of::<Transition>() == 8);
    assert!(words_of::<TransitionInTask>() == 11);
    assert!(words_of::<InTask>() == 6);
    assert!(words_of::<ResetSent>() == 4);
    assert!(words_of::<OnSocket>() == 3);
    assert!(words_of::<Snapshot>() == 10);
    assert!(words_of::<Sweep>() == 3);
    assert!(words_of::<Minisocket>() == 10);
    assert!(words_of::<Request>() == 10);
    assert!(words_of::<Inspection>() == 11);
    assert!(words_of::<Stack>() == 12);
    assert!(words_of::<LastLook>() == 12);
};
