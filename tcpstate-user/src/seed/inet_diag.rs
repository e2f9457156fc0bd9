//! The messages of the `sock_diag` netlink protocol for TCP: request out,
//! answer to [`Snapshot`]s, total on any bytes.
//!
//! It does no I/O. Layouts are those of `linux/netlink.h`, `linux/inet_diag.h`:
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>

use std::{fmt, io};

use tcpstate_common::{
    record::{Header, Snapshot, Tuple, how, kind, socket_kind, words_of},
    state::TcpState,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// `TCPF_` bits of every [`TcpState`]. Bit 3 brings the requests too, 5 and 6
/// the minisockets; bit 13 (bound, never used sockets) is no TCP state.
const ALL_STATES: u32 = 0xffe;
/// Every full socket carries it, asked or not, and no other kind does:
/// `inet_diag_msg_attrs_fill`.
const INET_DIAG_SHUTDOWN: u16 = 8;
/// `idiag_timer` of a minisocket.
const TIMER_TIME_WAIT: u8 = 3;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct NlHeader {
    len: u32,
    kind: u16,
    flags: u16,
    seq: u32,
    port: u32,
}

#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SockId {
    pub(crate) sport: [u8; 2],
    dport: [u8; 2],
    pub(crate) src: [u8; 16],
    dst: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    header: NlHeader,
    family: u8,
    protocol: u8,
    ext: u8,
    pad: u8,
    states: u32,
    id: SockId,
}

/// What the kernel says of one socket, before its attributes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Message {
    pub(crate) family: u8,
    pub(crate) state: u8,
    timer: u8,
    retrans: u8,
    pub(crate) id: SockId,
    expires: u32,
    pub(crate) rqueue: u32,
    pub(crate) wqueue: u32,
    uid: u32,
    pub(crate) inode: u32,
}

const _: () = {
    assert!(size_of::<NlHeader>() == 16);
    assert!(size_of::<Request>() == 72);
    assert!(size_of::<Message>() == 72);
};

/// Asks for all TCP sockets of one family.
pub(super) fn request(family: u8, seq: u32) -> [u8; size_of::<Request>()] {
    request_for(family, seq, ALL_STATES, 0)
}

/// Asks for those in some states, by `TCPF_` bits, with more attributes.
pub(crate) fn request_for(
    family: u8,
    seq: u32,
    states: u32,
    ext: u8,
) -> [u8; size_of::<Request>()] {
    let request = Request {
        header: NlHeader {
            len: 72,
            kind: SOCK_DIAG_BY_FAMILY,
            flags: NLM_F_REQUEST_DUMP,
            seq,
            port: 0,
        },
        family,
        protocol: IPPROTO_TCP,
        ext,
        pad: 0,
        states,
        id: SockId::default(),
    };
    zerocopy::transmute!(request)
}

/// What every snapshot of one datagram has in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    /// The request's sequence number.
    pub(super) seq: u32,
    /// Inode number of the namespace.
    pub(super) netns: u32,
    /// When it had been received, `CLOCK_MONOTONIC` in ns.
    pub(super) ktime: u64,
}

/// Whether the dump goes on after a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    Done,
}

/// Why an answer cannot be used. Keeps the value that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The table changed under the dump: worth another try.
    Interrupted,
    /// A length that does not fit into what was received.
    Truncated { have: usize, need: usize },
    /// The kernel refused, with this errno.
    Refused(i32),
    /// Neither a socket nor a netlink control message.
    UnknownMessage(u16),
    /// Neither `AF_INET` nor `AF_INET6`.
    UnknownFamily(u8),
    /// An answer to another request.
    Sequence(u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => write!(f, "the socket table changed during the dump"),
            Self::Truncated { have, need } => {
                write!(f, "message cut short: {have} of {need} bytes")
            }
            Self::Refused(errno) => {
                let reason = io::Error::from_raw_os_error(*errno);
                write!(f, "the kernel refused: {reason}")
            }
            Self::UnknownMessage(kind) => write!(f, "unknown message type {kind}"),
            Self::UnknownFamily(family) => write!(f, "unknown address family {family}"),
            Self::Sequence(seq) => write!(f, "answer to another request ({seq})"),
        }
    }
}

impl std::error::Error for Fault {}

/// Appends a [`Snapshot`] for each socket in one datagram of an answer.
pub(super) fn parse(bytes: &[u8], about: Datagram, out: &mut Vec<u8>) -> Result<Progress, Fault> {
    messages(bytes, about.seq, &mut |whole| {
        out.extend_from_slice(snapshot(whole, about)?.as_bytes());
        Ok(())
    })
}

/// Hands each socket's part of one datagram of an answer to `each`.
pub(crate) fn messages(
    mut bytes: &[u8],
    seq: u32,
    each: &mut dyn FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<Progress, Fault> {
    while !bytes.is_empty() {
        let (header, _): (NlHeader, _) = prefix(bytes)?;
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let whole = body(bytes, len, size_of::<NlHeader>())?;
        if header.seq != seq {
            return Err(Fault::Sequence(header.seq));
        }
        if header.flags & NLM_F_DUMP_INTR != 0 {
            return Err(Fault::Interrupted);
        }
        match header.kind {
            SOCK_DIAG_BY_FAMILY => each(whole)?,
            // Since Linux 4.14 an error within a dump arrives as DONE with an
            // errno, for example -ENOENT when there is no tcp_diag module.
            NLMSG_DONE if whole.len() < 4 => return Ok(Progress::Done),
            NLMSG_DONE => return status(whole).map(|()| Progress::Done),
            NLMSG_ERROR => status(whole)?,
            NLMSG_NOOP => {}
            other => return Err(Fault::UnknownMessage(other)),
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// Netlink pads messages and attributes to four bytes.
const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

pub(crate) fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Fault> {
    T::read_from_prefix(bytes).map_err(|_short| Fault::Truncated {
        have: bytes.len(),
        need: size_of::<T>(),
    })
}

/// The `len` bytes that something says it has, without its own header.
fn body(bytes: &[u8], len: usize, header: usize) -> Result<&[u8], Fault> {
    bytes.get(header..len).ok_or(Fault::Truncated {
        have: bytes.len(),
        need: len.max(header),
    })
}

fn status(payload: &[u8]) -> Result<(), Fault> {
    let (code, _): (i32, _) = prefix(payload)?;
    if code < 0 {
        return Err(Fault::Refused(code.saturating_neg()));
    }
    Ok(())
}

fn snapshot(payload: &[u8], about: Datagram) -> Result<Snapshot, Fault> {
    let (message, attributes): (Message, _) = prefix(payload)?;
    let shutdown = shutdown(attributes)?;
    let (family, laddr, raddr) = match message.family {
        AF_INET => (0, mapped(message.id.src), mapped(message.id.dst)),
        AF_INET6 => (how::INET6, message.id.src, message.id.dst),
        other => return Err(Fault::UnknownFamily(other)),
    };
    let kind = socket_kind_of(&message, shutdown);
    Ok(Snapshot {
        header: Header {
            kind: kind::SNAPSHOT,
            words: words_of::<Snapshot>(),
            lost: 0,
            netns: about.netns,
        },
        ktime: about.ktime,
        sk: 0,
        tuple: Tuple {
            laddr,
            raddr,
            lport: u16::from_be_bytes(message.id.sport),
            rport: u16::from_be_bytes(message.id.dport),
        },
        state: message.state,
        kind,
        how: family | how_bits(&message, kind, shutdown),
        reserved: 0,
        inode: message.inode.into(),
        cookie: u64::from(message.id.cookie[1]) << 32 | u64::from(message.id.cookie[0]),
    })
}

/// RFC 4291 section 2.5.5.2; the IPv4 address is in the first four bytes.
pub(crate) fn mapped(address: [u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    out[10..12].fill(0xff);
    out[12..].copy_from_slice(&address[..4]);
    out
}

/// The value of `INET_DIAG_SHUTDOWN`, where the message has it.
fn shutdown(attributes: &[u8]) -> Result<Option<u8>, Fault> {
    let value = attribute(attributes, INET_DIAG_SHUTDOWN)?;
    Ok(value.and_then(|value| value.first().copied()))
}

/// The value of an attribute, where the message has it.
pub(crate) fn attribute(mut attributes: &[u8], wanted: u16) -> Result<Option<&[u8]>, Fault> {
    let mut found = None;
    while !attributes.is_empty() {
        let ([len, kind], _): ([u16; 2], _) = prefix(attributes)?;
        let len = usize::from(len);
        let value = body(attributes, len, 4)?;
        if kind == wanted {
            found = Some(value);
        }
        attributes = attributes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(found)
}

fn socket_kind_of(message: &Message, shutdown: Option<u8>) -> u8 {
    if message.timer == TIMER_TIME_WAIT {
        return socket_kind::MINISOCKET;
    }
    // A full socket can be in SYN_RECV too: fast open.
    let syn_recv = message.state == TcpState::SynRecv as u8;
    if syn_recv && message.inode == 0 && shutdown.is_none() {
        return socket_kind::REQUEST;
    }
    socket_kind::FULL
}

fn how_bits(message: &Message, kind: u8, shutdown: Option<u8>) -> u8 {
    let state = TcpState::try_from(message.state).ok();
    let mut bits = shutdown.unwrap_or(0) & (how::RCV_SHUTDOWN | how::SEND_SHUTDOWN);
    if matches!(
        state,
        Some(TcpState::CloseWait | TcpState::LastAck | TcpState::Closing | TcpState::TimeWait)
    ) {
        bits |= how::FIN_RECEIVED;
    }
    if kind == socket_kind::FULL && message.inode == 0 {
        bits |= how::NO_SOCKET;
        // Only an application can have begun to close, and a socket in the
        // accept queue has none.
        if matches!(
            state,
            Some(TcpState::FinWait1 | TcpState::FinWait2 | TcpState::LastAck | TcpState::Closing)
        ) {
            bits |= how::ORPHAN;
        }
    }
    bits
}

#[cfg(test)]
#[path = "inet_diag_tests.rs"]
mod tests;
