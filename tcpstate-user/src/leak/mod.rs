//! Sockets that nobody closes: which of the open ones are suspects, of which
//! kind, and which belong together.
//!
//! Pure: it is given what is known of each socket at one moment, and gives
//! groups. It knows neither `/proc` nor how a group is written, and names no
//! stack: to it a stack is a number that is the same for the same frames.

mod class;
mod group;
mod said;

#[cfg(test)]
mod tests;

use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    decode::{Family, How},
    holders::Descriptor,
    stack::StackId,
    track::{ConnId, Opened, Process},
};

pub use class::{Class, Verdict, judge};
pub use group::{Ages, Group, Listener, Owner, Report, group};
pub use said::{message, remedy};

/// All that is known of one open socket at the moment of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Which connection.
    pub conn: ConnId,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Of the socket; v4-mapped is `Inet6`.
    pub family: Family,
    /// The connection's.
    pub tuple: Tuple,
    /// Its state now.
    pub state: TcpState,
    /// Time in that state so far, ns.
    pub age_ns: u64,
    /// Whether the begin of that time was seen; else it may be longer.
    pub age_exact: bool,
    /// Who opened it, and how.
    pub opened: Opened,
    /// The process that did; `None` when that was not seen.
    pub origin: Option<Process>,
    /// Where in its code.
    pub origin_stack: Option<StackId>,
    /// Where in its code end-of-file was read last.
    pub eof_stack: Option<StackId>,
    /// Whether a RST from the peer ended it, for a socket in `CLOSE`.
    pub reset: bool,
    /// As the kernel has it now.
    pub how: How,
    /// Inode number of its file, 0 without one.
    pub inode: u64,
    /// Bytes not read; the FIN counts as one until end-of-file has been read.
    pub unread: u32,
    /// Who has it now.
    pub holders: Vec<Descriptor>,
    /// The listener that it came through, where that is still there.
    pub listener: Option<Listener>,
}
