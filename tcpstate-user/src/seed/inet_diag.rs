//! The messages of the `sock_diag` netlink protocol for TCP: request out,
//! answer to [`Snapshot`]s or [`Inspected`], total on any bytes.
//!
//! It does no I/O. Layouts are those of `linux/netlink.h`, `linux/inet_diag.h`:
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>

use std::{fmt, io};

use tcpstate_common::{
    record::{Header, Snapshot, Tuple, how, kind, socket_kind, words_of},
    state::TcpState,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Inspected;
use crate::decode::{How, Inspection, SockAddr64};

pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IPPROTO_TCP: u8 = 6;
/// `INET_DIAG_INFO`, which is `struct tcp_info`.
const INET_DIAG_INFO: u16 = 2;
/// Offset of `tcpi_last_ack_recv` there, a stable interface.
const LAST_ACK_RECV: usize = 56;
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
struct SockId {
    sport: [u8; 2],
    dport: [u8; 2],
    src: [u8; 16],
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

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Message {
    family: u8,
    state: u8,
    timer: u8,
    retrans: u8,
    id: SockId,
    expires: u32,
    rqueue: u32,
    wqueue: u32,
    uid: u32,
    inode: u32,
}

const _: () = {
    assert!(size_of::<NlHeader>() == 16);
    assert!(size_of::<Request>() == 72);
    assert!(size_of::<Message>() == 72);
};

/// What a dump is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// `TCPF_` bits.
    states: u32,
    /// Bits of attributes.
    ext: u8,
}

impl Asked {
    /// No socket, only whether it answers.
    pub(super) const NOTHING: Self = Self { states: 0, ext: 0 };
    /// Every [`TcpState`]. Bit 3 brings the requests too, 5 and 6 the
    /// minisockets; bit 13 (bound, never used sockets) is no TCP state.
    pub(super) const ALL: Self = Self {
        states: 0xffe,
        ext: 0,
    };
    /// Full sockets that a report may be about, with all that it needs.
    pub(super) const INSPECTION: Self = Self {
        states: 1 << TcpState::CloseWait as u32
            | 1 << TcpState::FinWait2 as u32
            | 1 << TcpState::Listen as u32,
        ext: 1 << (INET_DIAG_INFO - 1),
    };
}

/// Asks for TCP sockets of one family.
pub(super) fn request(family: u8, seq: u32, asked: Asked) -> [u8; size_of::<Request>()] {
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
        ext: asked.ext,
        pad: 0,
        states: asked.states,
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
pub(super) enum Progress {
    More,
    Done,
}

/// Why an answer cannot be used. Keeps the value that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
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
            Self::Refused(libc::ENOENT) => {
                write!(f, "the kernel refused: no module tcp_diag or inet_diag")
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

/// Appends what `make` makes of each socket in one datagram of an answer.
pub(super) fn parse<T>(
    mut bytes: &[u8],
    about: Datagram,
    make: Make<T>,
    out: &mut Vec<T>,
) -> Result<Progress, Fault> {
    while !bytes.is_empty() {
        let (header, _): (NlHeader, _) = prefix(bytes)?;
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        let whole = body(bytes, len, size_of::<NlHeader>())?;
        if header.seq != about.seq {
            return Err(Fault::Sequence(header.seq));
        }
        if header.flags & NLM_F_DUMP_INTR != 0 {
            return Err(Fault::Interrupted);
        }
        match header.kind {
            SOCK_DIAG_BY_FAMILY => {
                out.extend(make(&Socket::read(whole)?, about));
            }
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

fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Fault> {
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

/// What is made of a socket; `None`: nothing.
pub(super) type Make<T> = fn(&Socket, Datagram) -> Option<T>;

/// A socket as the kernel tells of it.
#[derive(Clone, Copy)]
pub(super) struct Socket {
    message: Message,
    family: u8,
    laddr: [u8; 16],
    raddr: [u8; 16],
    attributes: Attributes,
}

/// The attributes that matter, where the message has them.
#[derive(Clone, Copy, Default)]
struct Attributes {
    shutdown: Option<u8>,
    last_ack_ms: Option<u32>,
}

impl Socket {
    fn read(payload: &[u8]) -> Result<Self, Fault> {
        let (message, attributes): (Message, _) = prefix(payload)?;
        let attributes = Attributes::read(attributes)?;
        let (family, laddr, raddr) = match message.family {
            AF_INET => (0, mapped(message.id.src), mapped(message.id.dst)),
            AF_INET6 => (how::INET6, message.id.src, message.id.dst),
            other => return Err(Fault::UnknownFamily(other)),
        };
        Ok(Self {
            message,
            family,
            laddr,
            raddr,
            attributes,
        })
    }

    fn tuple(&self) -> Tuple {
        Tuple {
            laddr: self.laddr,
            raddr: self.raddr,
            lport: u16::from_be_bytes(self.message.id.sport),
            rport: u16::from_be_bytes(self.message.id.dport),
        }
    }

    fn cookie(&self) -> u64 {
        let [low, high] = self.message.id.cookie;
        u64::from(high) << 32 | u64::from(low)
    }
}

/// What a walk tells of it.
pub(super) fn snapshot(socket: &Socket, about: Datagram) -> Option<Snapshot> {
    let Socket {
        message,
        attributes,
        ..
    } = socket;
    let kind = socket_kind_of(message, attributes.shutdown);
    Some(Snapshot {
        header: Header {
            kind: kind::SNAPSHOT,
            words: words_of::<Snapshot>(),
            lost: 0,
            netns: about.netns,
        },
        ktime: about.ktime,
        sk: 0,
        tuple: socket.tuple(),
        state: message.state,
        kind,
        how: socket.family | how_bits(message, kind, attributes.shutdown),
        reserved: 0,
        // `idiag_inode` of a minisocket is 0, and its `idiag_expires` what is
        // left of its timer.
        inode: match kind {
            socket_kind::MINISOCKET => message.expires.into(),
            _ => message.inode.into(),
        },
        cookie: socket.cookie(),
    })
}

/// What a report needs of it, if it is a full socket.
pub(super) fn inspected(socket: &Socket, about: Datagram) -> Option<Inspected> {
    let message = &socket.message;
    let shutdown = socket.attributes.shutdown;
    let state = TcpState::try_from(message.state).ok()?;
    if socket_kind_of(message, shutdown) != socket_kind::FULL {
        return None;
    }
    let listens = state == TcpState::Listen;
    let if_it = |condition: bool, count: u32| if condition { count } else { 0 };
    Some(Inspected {
        cookie: socket.cookie(),
        inspection: Inspection {
            sk: SockAddr64(0),
            netns: about.netns,
            tuple: socket.tuple(),
            state,
            how: How(socket.family | how_bits(message, socket_kind::FULL, shutdown)),
            inode: message.inode.into(),
            unread: if_it(!listens, message.rqueue),
            quiet_ms: socket.attributes.last_ack_ms.unwrap_or(0),
            queue: if_it(listens, message.rqueue),
            queue_limit: if_it(listens, message.wqueue),
        },
    })
}

/// RFC 4291 section 2.5.5.2; the IPv4 address is in the first four bytes.
fn mapped(address: [u8; 16]) -> [u8; 16] {
    let mut out = [0; 16];
    out[10..12].fill(0xff);
    out[12..].copy_from_slice(&address[..4]);
    out
}

impl Attributes {
    fn read(mut bytes: &[u8]) -> Result<Self, Fault> {
        let mut found = Self::default();
        while !bytes.is_empty() {
            let ([len, kind], _): ([u16; 2], _) = prefix(bytes)?;
            let len = usize::from(len);
            let value = body(bytes, len, 4)?;
            match kind {
                INET_DIAG_SHUTDOWN => found.shutdown = value.first().copied(),
                INET_DIAG_INFO => {
                    let rest = value.get(LAST_ACK_RECV..).unwrap_or_default();
                    let value = u32::read_from_prefix(rest);
                    found.last_ack_ms = value.ok().map(|(ms, _)| ms);
                }
                _ => {}
            }
            bytes = bytes.get(aligned(len)..).unwrap_or_default();
        }
        Ok(found)
    }
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
