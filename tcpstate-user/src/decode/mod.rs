//! Bytes to [`Record`]: total, without panic and without `unsafe`.
//!
//! It knows the wire layout and nothing of connections. Whatever the kernel
//! wrote is a plain number until it has been checked here; what does not check
//! is an error that keeps the bad value. Nothing is allocated.

mod error;
mod last_look;
mod stack;
mod subject;
#[cfg(test)]
mod tests;
mod thread;
mod value;

use tcpstate_common::{
    record::{self, Header, LONG, kind, minisocket as what, request, socket_kind, sweep, words_of},
    state::{TcpState, UnknownState},
};
use zerocopy::{FromBytes, Immutable, KnownLayout};

pub use error::DecodeError;
pub use last_look::LastLook;
pub use stack::{SliceStatus, StackEvent, Why, slice};
pub use subject::{Subject, subject};
pub use thread::{ThreadStack, thread};
pub use value::{
    Event, Family, How, Inspection, KtimeNs, Minisocket, MinisocketEvent, Record, Request,
    RequestEvent, ResetSent, Snapshot, SockAddr64, SocketKind, SweepPhase, Transition,
};

/// Decodes exactly one record: `bytes` is one item of the ring buffer, or one
/// item of [`records`].
///
/// # Errors
///
/// Whatever does not check, in this order: fewer bytes than the header says,
/// an unknown kind, a length (of the bytes, or in the header) that is not the
/// kind's own, a value that is none. Bytes after the record are refused as
/// [`DecodeError::WrongLength`].
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let (header, _) = header_of(bytes)?;
    match header.kind {
        kind::TRANSITION => transition(read(bytes, header)?, None),
        kind::TRANSITION_IN_TASK => {
            let wire: record::TransitionInTask = read(bytes, header)?;
            transition(wire.transition, Some(wire.task))
        }
        kind::ACCEPTED => Ok(in_task(&read(bytes, header)?, Event::Accepted)),
        kind::CLOSE_CALLED => Ok(in_task(&read(bytes, header)?, Event::CloseCalled)),
        kind::RESET_SENT => reset_sent(&read(bytes, header)?),
        kind::RESET_RECEIVED => Ok(on_socket(&read(bytes, header)?, Event::ResetReceived)),
        kind::DESTROYED => Ok(on_socket(&read(bytes, header)?, Event::Destroyed)),
        kind::SNAPSHOT => snapshot(&read(bytes, header)?),
        kind::SWEEP => sweep(&read(bytes, header)?),
        kind::MINISOCKET => minisocket(&read(bytes, header)?),
        kind::REQUEST => self::request(&read(bytes, header)?),
        kind::INSPECTION => inspection(&read(bytes, header)?),
        kind::STACK => stack::decode(bytes, header),
        kind::LAST_LOOK => Ok(last_look(&read(bytes, header)?)),
        unknown => Err(DecodeError::UnknownKind(unknown)),
    }
}

/// The records that lie one behind the other in `bytes`, as a frame of a
/// recording has them. Kinds are not looked at, so an unknown one is stepped
/// over by whoever decodes. After an error nothing follows: without a length
/// the next record cannot be found.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], DecodeError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match header_of(rest) {
            Ok((_, length)) => {
                let (record, behind) = rest.split_at(length);
                rest = behind;
                Some(Ok(record))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

/// The header and the length of its record, once it is certain that the record
/// is there in full.
fn header_of(bytes: &[u8]) -> Result<(Header, usize), DecodeError> {
    let have = bytes.len();
    let (header, _) = Header::read_from_prefix(bytes).map_err(|_size| DecodeError::Truncated {
        have,
        need: size_of::<Header>(),
    })?;
    let need = if header.words == LONG {
        stack::long_len(bytes, header)?
    } else {
        usize::from(header.words) * 8
    };
    if have < need {
        return Err(DecodeError::Truncated { have, need });
    }
    Ok((header, need))
}

fn wrong_length(header: Header) -> DecodeError {
    DecodeError::WrongLength {
        kind: header.kind,
        words: header.words,
    }
}

fn read<T: FromBytes + KnownLayout + Immutable>(
    bytes: &[u8],
    header: Header,
) -> Result<T, DecodeError> {
    if header.words != words_of::<T>() {
        return Err(wrong_length(header));
    }
    T::read_from_bytes(bytes).map_err(|_size| wrong_length(header))
}

fn state(number: u8) -> Result<TcpState, DecodeError> {
    TcpState::try_from(number).map_err(|UnknownState(number)| DecodeError::UnknownState(number))
}

#[inline]
fn record_at(ktime: u64, header: Header, event: Event) -> Record {
    Record {
        at: KtimeNs(ktime),
        lost: header.lost,
        event,
    }
}

#[inline]
fn transition(wire: record::Transition, task: Option<record::Task>) -> Result<Record, DecodeError> {
    let event = Event::Transition(Transition {
        sk: SockAddr64(wire.sk),
        netns: wire.header.netns,
        tuple: wire.tuple,
        old: state(wire.old)?,
        new: state(wire.new)?,
        how: How(wire.how),
        err: wire.err,
        task,
    });
    Ok(record_at(wire.ktime, wire.header, event))
}

fn in_task(wire: &record::InTask, event: fn(SockAddr64, record::Task) -> Event) -> Record {
    record_at(
        wire.ktime,
        wire.header,
        event(SockAddr64(wire.sk), wire.task),
    )
}

fn on_socket(wire: &record::OnSocket, event: fn(SockAddr64) -> Event) -> Record {
    record_at(wire.ktime, wire.header, event(SockAddr64(wire.sk)))
}

fn reset_sent(wire: &record::ResetSent) -> Result<Record, DecodeError> {
    let active = match wire.active {
        0 => false,
        1 => true,
        value => return Err(unknown_value(wire.header, value)),
    };
    let event = Event::ResetSent(ResetSent {
        sk: address(wire.sk),
        reason: (wire.reason != record::ResetSent::NO_REASON).then_some(wire.reason),
        active,
    });
    Ok(record_at(wire.ktime, wire.header, event))
}

fn snapshot(wire: &record::Snapshot) -> Result<Record, DecodeError> {
    let kind = match wire.kind {
        socket_kind::FULL => SocketKind::Full,
        socket_kind::MINISOCKET => SocketKind::Minisocket,
        socket_kind::REQUEST => SocketKind::Request,
        value => return Err(unknown_value(wire.header, value)),
    };
    let event = Event::Snapshot(Snapshot {
        sk: address(wire.sk),
        netns: wire.header.netns,
        tuple: wire.tuple,
        state: state(wire.state)?,
        kind,
        how: How(wire.how),
        inode: wire.inode,
        cookie: wire.cookie,
    });
    Ok(record_at(wire.ktime, wire.header, event))
}

fn inspection(wire: &record::Inspection) -> Result<Record, DecodeError> {
    let event = Event::Inspection(Inspection {
        sk: SockAddr64(wire.sk),
        netns: wire.header.netns,
        tuple: wire.tuple,
        state: state(wire.state)?,
        how: How(wire.how),
        inode: wire.inode,
        unread: wire.unread,
        quiet_ms: wire.quiet_ms,
        queue: wire.queue,
        queue_limit: wire.queue_limit,
    });
    Ok(record_at(wire.ktime, wire.header, event))
}

fn last_look(wire: &record::LastLook) -> Record {
    let event = Event::LastLook(last_look::decode(wire));
    record_at(wire.ktime, wire.header, event)
}

fn sweep(wire: &record::Sweep) -> Result<Record, DecodeError> {
    let phase = match wire.phase {
        sweep::BEGIN => SweepPhase::Begin,
        sweep::END => SweepPhase::End,
        sweep::FAILED => SweepPhase::Failed,
        value => return Err(unknown_value(wire.header, value)),
    };
    Ok(record_at(wire.ktime, wire.header, Event::Sweep(phase)))
}

fn unknown_value(header: Header, value: u8) -> DecodeError {
    DecodeError::UnknownValue {
        kind: header.kind,
        value,
    }
}

fn address(sk: u64) -> Option<SockAddr64> {
    (sk != 0).then_some(SockAddr64(sk))
}

fn minisocket(wire: &record::Minisocket) -> Result<Record, DecodeError> {
    let event = match wire.what {
        what::BEGUN => MinisocketEvent::Begun,
        what::ARMED => MinisocketEvent::Armed,
        what::HANDLED => MinisocketEvent::Handled { flags: wire.by },
        what::STOPPED => MinisocketEvent::Stopped { caller: wire.by },
        what::EXPIRED => MinisocketEvent::Expired,
        what::ENDED => MinisocketEvent::Ended { caller: wire.by },
        what::DESTROYED => MinisocketEvent::Destroyed { caller: wire.by },
        value => {
            return Err(DecodeError::UnknownValue {
                kind: wire.header.kind,
                value,
            });
        }
    };
    let minisocket = Minisocket {
        tw: SockAddr64(wire.tw),
        sk: (wire.sk != 0).then_some(SockAddr64(wire.sk)),
        netns: wire.header.netns,
        tuple: wire.tuple,
        how: How(wire.how),
        substate: state(wire.substate)?,
        pid: wire.pid,
        left_ms: wire.left_ms,
        what: event,
    };
    Ok(record_at(
        wire.ktime,
        wire.header,
        Event::Minisocket(minisocket),
    ))
}

fn request(wire: &record::Request) -> Result<Record, DecodeError> {
    let what = match wire.what {
        request::CLONED => RequestEvent::Cloned,
        request::STOPPED => RequestEvent::Stopped,
        request::EXPIRED => RequestEvent::Expired,
        request::ARMED => RequestEvent::Armed,
        request::ENDED => RequestEvent::Ended,
        value => return Err(unknown_value(wire.header, value)),
    };
    let request = Request {
        req: SockAddr64(wire.req),
        listener: SockAddr64(wire.listener),
        listener_state: state(wire.listener_state)?,
        netns: wire.header.netns,
        tuple: wire.tuple,
        how: How(wire.how),
        begun: KtimeNs(wire.synack_us.saturating_mul(1_000)),
        by: wire.by,
        what,
    };
    Ok(record_at(wire.ktime, wire.header, Event::Request(request)))
}
