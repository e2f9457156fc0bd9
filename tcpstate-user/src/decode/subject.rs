//! Which socket a record is about, before it is decoded: for whoever has many
//! records and wants to know what will be needed soon.
//!
//! A guess, which only costs time when it is wrong: nothing is checked but the
//! length.

use tcpstate_common::record::{OnSocket, kind};
use zerocopy::FromBytes as _;

use super::SockAddr64;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A full socket.
    Socket(SockAddr64),
    /// A minisocket.
    Minisocket(SockAddr64),
}

/// What `bytes`, one record, is about, if that is something that is known by its
/// address.
#[must_use]
pub fn subject(bytes: &[u8]) -> Option<Subject> {
    // Those named here begin alike.
    let (start, _) = OnSocket::read_from_prefix(bytes).ok()?;
    let address = SockAddr64(start.sk);
    match start.header.kind {
        kind::TRANSITION
        | kind::TRANSITION_IN_TASK
        | kind::ACCEPTED
        | kind::CLOSE_CALLED
        | kind::RESET_SENT
        | kind::RESET_RECEIVED
        | kind::DESTROYED => Some(Subject::Socket(address)),
        kind::MINISOCKET => Some(Subject::Minisocket(address)),
        _ => None,
    }
}
