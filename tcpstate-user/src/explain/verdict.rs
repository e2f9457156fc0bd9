//! What became of a connection, in a sentence.

use tcpstate_common::state::TcpState;

use super::{Moment, Now, Say};
use crate::{
    connection::{self, Connection},
    decode::SocketKind,
    track::{Dwell, Process},
};

/// What is known of a connection that is not over, as far as it was seen.
pub(super) struct Seen<'a> {
    /// What it is in.
    pub(super) now: Option<Now>,
    /// What happened last.
    pub(super) last: Option<&'a Moment>,
    /// Who connected, listened or accepted.
    pub(super) process: Option<&'a Process>,
    /// A RST from the peer ended it, and its descriptor is still open.
    pub(super) was_reset: bool,
}

/// Of one that is over.
pub(super) fn over(it: &Connection) -> String {
    connection::message(it)
}

/// Of one that is not, as far as it is known.
pub(super) fn open(seen: &Seen<'_>, say: Say) -> String {
    let Some(now) = seen.now else {
        return match seen.last {
            Some(last) => format!(
                "was last seen entering {}; what became of it is not known",
                last.new.name()
            ),
            None => "was seen, and nothing of what happened to it".into(),
        };
    };
    let who = seen
        .process
        .map_or_else(|| "its process (not known)".to_owned(), say.process);
    let lasts = match now.so_far {
        Dwell::Exact(ns) => format!("has been in {} for {}", now.state.name(), (say.time)(ns)),
        Dwell::AtLeast(ns) => format!("is in {} for at least {}", now.state.name(), (say.time)(ns)),
        Dwell::Unknown => format!("was in {}, and may have left it", now.state.name()),
    };
    format!("{lasts}: {}", meaning(seen, now, &who))
}

/// What is waited for, and by whom.
fn meaning(seen: &Seen<'_>, now: Now, who: &str) -> String {
    let orphan = now.kind == SocketKind::Minisocket;
    match now.state {
        TcpState::SynSent => format!("nobody has answered the connect of {who}"),
        TcpState::SynRecv => "the peer has not completed the handshake".into(),
        TcpState::Established => format!("neither {who} nor the peer has closed"),
        TcpState::CloseWait => format!("the peer has closed, {who} has not"),
        TcpState::FinWait1 => "closed here, and the peer has not acknowledged that".into(),
        TcpState::FinWait2 if orphan => {
            "closed here, and the peer, which knows, has not; the kernel will give it up".into()
        }
        TcpState::FinWait2 => {
            format!("{who} has shut down writing, and the peer, which knows, has not closed")
        }
        TcpState::Closing | TcpState::LastAck => {
            "closed from both sides, and the peer has not acknowledged that".into()
        }
        TcpState::TimeWait => "closed from both sides; its ports wait for a minute".into(),
        TcpState::Close if seen.was_reset => {
            format!("the peer has reset it, and {who} still has the descriptor")
        }
        TcpState::Close => format!("it is over, and {who} still has the descriptor"),
        TcpState::Listen => "it listens".into(),
    }
}
