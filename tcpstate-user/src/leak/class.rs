//! The kinds of leak, and the evidence that tells them apart.

use tcpstate_common::{record::how, state::TcpState};

use super::Socket;
use crate::track::Opened;

/// Why a socket is not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// End-of-file was read, the descriptor is kept.
    NeverClosed,
    /// Nobody has looked at it since the peer's FIN.
    EofNotRead,
    /// There is data that nobody has read.
    UnreadData,
    /// It still waits in the accept queue.
    NeverAccepted,
    /// Whoever opened it is not who has it.
    HeldElsewhere,
    /// The peer reset it, the descriptor is kept.
    ResetButOpen,
    /// Its user shut down writing, and waits for the peer without a timer.
    HalfClosed,
    /// A client's idle connection that the server has closed.
    IdlePool,
}

impl Class {
    /// The name in JSON and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverClosed => "never_closed",
            Self::EofNotRead => "eof_not_read",
            Self::UnreadData => "unread_data",
            Self::NeverAccepted => "never_accepted",
            Self::HeldElsewhere => "held_elsewhere",
            Self::ResetButOpen => "reset_but_open",
            Self::HalfClosed => "half_closed",
            Self::IdlePool => "idle_pool",
        }
    }
}

/// What is thought of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It has been like this for longer than a closing takes.
    Suspect,
    /// It looks like a leak and is harmless as long as there are few.
    Notice,
    /// Too young to say.
    TooEarly,
}

impl Verdict {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Suspect => "suspect",
            Self::Notice => "notice",
            Self::TooEarly => "too_early",
        }
    }
}

/// What keeps the socket open, and since when that is suspicious. `None` when
/// nothing is wrong with it.
#[must_use]
pub fn judge(socket: &Socket, min_age_ns: u64) -> Option<(Class, Verdict)> {
    let class = match socket.state {
        TcpState::CloseWait => close_wait(socket)?,
        TcpState::FinWait2 => half_closed(socket)?,
        TcpState::Close => reset_but_open(socket)?,
        _ => return None,
    };
    // At least so old: old enough is certain, too young is not.
    let verdict = match socket.age_ns >= min_age_ns {
        true => Verdict::Suspect,
        false => Verdict::TooEarly,
    };
    Some((class, verdict))
}

fn close_wait(socket: &Socket) -> Option<Class> {
    if socket.inode == 0 {
        // Without a file it waits for accept(), or close() is under way.
        let queued = socket.how.has(how::NO_SOCKET) && !socket.how.has(how::ORPHAN);
        return queued.then_some(Class::NeverAccepted);
    }
    if is_held_elsewhere(socket) {
        return Some(Class::HeldElsewhere);
    }
    Some(match (socket.unread, socket.opened) {
        (0, _) => Class::NeverClosed,
        (1, Opened::Connect) => Class::IdlePool,
        (1, _) => Class::EofNotRead,
        (2.., _) => Class::UnreadData,
    })
}

/// With its file gone, a closed socket is in `FIN_WAIT2` for `tcp_fin_timeout`
/// only: the kernel's timer ends it.
fn half_closed(socket: &Socket) -> Option<Class> {
    let open = socket.inode != 0 && !socket.how.has(how::ORPHAN);
    open.then_some(Class::HalfClosed)
}

/// A socket in `CLOSE` is in none of the kernel's tables, and whether anybody
/// has it only a descriptor says.
fn reset_but_open(socket: &Socket) -> Option<Class> {
    let held = socket.inode != 0 && !socket.holders.is_empty();
    (socket.reset && held).then_some(Class::ResetButOpen)
}

fn is_held_elsewhere(socket: &Socket) -> bool {
    let Some(origin) = socket.origin else {
        return false;
    };
    let mut holders = socket.holders.iter();
    !holders.any(|holder| holder.pid == origin.pid)
}
