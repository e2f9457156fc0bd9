//! What one change means, in a few words.

use tcpstate_common::state::TcpState;

use super::Say;
use crate::{
    decode::SocketKind,
    track::{Call, Cause, Change, Closer, Process},
};

/// What happened. `origin` is the connection's, if it is known.
pub(super) fn meaning(change: &Change, origin: Option<&Process>, say: Say) -> String {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
        SynSent, TimeWait,
    };
    match (change.old, change.new) {
        (Close, SynSent) => match origin {
            Some(process) => format!("{} called connect: SYN sent", (say.process)(process)),
            None => "connect: SYN sent".into(),
        },
        (Listen, SynRecv) => "the peer's SYN came, and was answered".into(),
        (SynSent, SynRecv) => "the peer connected at the same time".into(),
        (SynSent, Established) => "the peer answered: connected".into(),
        (SynRecv, Established) => "the handshake is done: it waits to be accepted".into(),
        (_, FinWait1) => and(change, say, "FIN sent"),
        (CloseWait, LastAck) => and(change, say, "FIN sent, and both sides have closed"),
        (_, CloseWait) => "the peer closed: its FIN came".into(),
        (FinWait1, FinWait2) => "the peer acknowledged the FIN: it has not closed yet".into(),
        (FinWait1, Closing) => "the peer closed too, before it heard of our FIN".into(),
        (FinWait2, TimeWait) => "the peer closed too: over, its ports wait for a minute".into(),
        (Closing, TimeWait) => {
            "the peer acknowledged the FIN: over, its ports wait for a minute".into()
        }
        (LastAck, Close) if change.cause == Some(Cause::FinAcked) => {
            "the peer acknowledged the FIN: over".into()
        }
        (_, Close) => ended(change, say),
        (old, new) => format!("{} after {}", new.name(), old.name()),
    }
}

/// Who did it, and what that did.
fn and(change: &Change, say: Say, then: &str) -> String {
    let who = match (&change.closer, change.cause) {
        (Some(closer), _) => did(closer, say),
        (None, Some(Cause::Shutdown)) => "writing was shut down".into(),
        (None, _) => "the application closed it".into(),
    };
    format!("{who}: {then}")
}

/// Who did what.
fn did(closer: &Closer, say: Say) -> String {
    let who = (say.process)(&closer.process);
    match closer.call {
        Call::Close => format!("{who} closed it"),
        Call::Shutdown => format!("{who} shut down writing"),
        Call::Exit => format!("{who} ended with it open"),
        Call::AcceptQueue => format!("{who} closed the listener before it was accepted"),
        Call::Kill => format!("{who} killed it"),
        Call::Connect => format!("{who} disconnected it"),
    }
}

/// The end of a socket.
fn ended(change: &Change, say: Say) -> String {
    let minisocket = change.kind == SocketKind::Minisocket;
    let how = match change.cause {
        Some(Cause::ResetSent) => "RST sent",
        Some(Cause::ResetReceived) => "the peer sent a RST",
        Some(Cause::Refused) => "the peer refused it by a RST",
        Some(Cause::Timeout) => "given up: the peer did not answer",
        Some(Cause::Unreachable) => "given up: ICMP said that the peer cannot be reached",
        Some(Cause::NoPort) => "no local port was free",
        Some(Cause::Expired) => "its minute of TIME_WAIT is over",
        Some(Cause::FinWait2Timeout) => "given up: the peer's FIN did not come in time",
        Some(Cause::ReusedByConnect) => "its ports were taken over by a new connect",
        Some(Cause::ReusedBySyn) => "its ports were taken over by a new SYN of the peer's",
        Some(Cause::NetnsExit) => "its network namespace is gone",
        Some(Cause::EvictedLimit) => "no room for TIME_WAIT: dropped",
        Some(Cause::Unseen) => "gone, and how was not seen",
        Some(Cause::PeerFin) => "the peer closed: over",
        Some(Cause::FinAcked) => "the peer acknowledged the FIN: over",
        Some(Cause::Killed) => "killed by the administrator",
        Some(Cause::Close | Cause::Shutdown) => "closed",
        None if minisocket => "gone",
        None => "over",
    };
    match &change.closer {
        Some(closer) if change.cause == Some(Cause::Killed) => did(closer, say),
        Some(closer) => format!("{}: {how}", did(closer, say)),
        None => how.to_owned(),
    }
}
