//! What can happen to a socket in a state, as the kernel's code has it.

use tcpstate::{
    decode::{Event, ResetSent, SockAddr64},
    track::Cause,
};
use tcpstate_common::{
    record::how,
    state::TcpState::{self, *},
};

/// One transition and what surrounds it.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) before: Option<Event>,
    pub(crate) new: TcpState,
    /// The state as a user would say it; `None` when a minisocket carries on.
    pub(crate) truth: Option<TcpState>,
    pub(crate) how: u8,
    pub(crate) err: u8,
    pub(crate) cause: Option<Cause>,
    pub(crate) after: [Option<Event>; 2],
}

impl Step {
    fn to(new: TcpState) -> Self {
        Self {
            before: None,
            new,
            truth: Some(new),
            how: 0,
            err: 0,
            cause: None,
            after: [None; 2],
        }
    }

    fn by(self, cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..self
        }
    }

    fn with(self, how: u8) -> Self {
        Self { how, ..self }
    }
}

const CLOSE: u8 = how::FILE_RELEASED | how::RCV_SHUTDOWN | how::SEND_SHUTDOWN;
const CLOSED: u8 = how::ORPHAN | how::RCV_SHUTDOWN | how::SEND_SHUTDOWN;

fn reset_sent(sk: SockAddr64, active: bool) -> Event {
    Event::ResetSent(ResetSent {
        sk: Some(sk),
        reason: Some(if active { 14 } else { 8 }),
        active,
    })
}

/// What can follow `state`.
pub(crate) fn next(sk: SockAddr64, state: TcpState, choice: u8) -> Step {
    let reset = |err| Step {
        before: Some(Event::ResetReceived(sk)),
        err,
        ..Step::to(Close).by(Cause::ResetReceived)
    };
    let linger_zero = Step {
        after: [Some(reset_sent(sk, true)), Some(Event::Destroyed(sk))],
        ..Step::to(Close).by(Cause::ResetSent).with(CLOSE)
    };
    match (state, choice % 4) {
        (SynSent, 0) => reset(111).by(Cause::Refused),
        (SynSent | SynRecv, _) => Step::to(Established),
        (Established, 0) => Step::to(FinWait1).by(Cause::Close).with(CLOSE),
        (Established, 1) => Step::to(CloseWait)
            .by(Cause::PeerFin)
            .with(how::FIN_RECEIVED),
        (Established, 2) => linger_zero,
        (Established, _) => reset(104),
        (FinWait1, 0 | 1) => Step::to(FinWait2).by(Cause::FinAcked).with(CLOSED),
        (FinWait1, 2) => Step::to(Closing)
            .by(Cause::PeerFin)
            .with(CLOSED | how::FIN_RECEIVED),
        // Data after close.
        (FinWait1, _) => Step {
            before: Some(Event::ResetReceived(sk)),
            err: 104,
            after: [Some(Event::Destroyed(sk)), Some(reset_sent(sk, false))],
            ..Step::to(Close).by(Cause::ResetSent).with(CLOSED)
        },
        (FinWait2, 0 | 1) => Step {
            truth: Some(TimeWait),
            after: [Some(Event::Destroyed(sk)), None],
            ..Step::to(Close)
                .by(Cause::PeerFin)
                .with(CLOSED | how::FIN_RECEIVED)
        },
        (FinWait2, _) => Step {
            truth: None,
            after: [Some(Event::Destroyed(sk)), None],
            ..Step::to(Close).with(CLOSED)
        },
        (Closing, _) => Step {
            truth: Some(TimeWait),
            after: [Some(Event::Destroyed(sk)), None],
            ..Step::to(Close)
                .by(Cause::FinAcked)
                .with(CLOSED | how::FIN_RECEIVED)
        },
        (CloseWait, 0) => reset(32),
        (CloseWait, _) => Step::to(LastAck)
            .by(Cause::Close)
            .with(CLOSE | how::FIN_RECEIVED),
        (LastAck, _) => Step {
            after: [Some(Event::Destroyed(sk)), None],
            ..Step::to(Close)
                .by(Cause::FinAcked)
                .with(CLOSED | how::FIN_RECEIVED)
        },
        (Close | Listen | TimeWait, _) => unreachable!("left otherwise"),
    }
}
