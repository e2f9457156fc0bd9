//! The messages of the `sock_diag` netlink protocol for TCP: request out,
//! answer to [`Socket`]s, total on any bytes.
//!
//! It does no I/O. Layouts are those of `linux/netlink.h`, `linux/inet_diag.h`:
//! <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>

use std::{fmt, io};

use tcpstate_common::state::TcpState;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::socket::{Make, Socket};

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
pub(super) const INET_DIAG_INFO: u16 = 2;
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
pub(super) struct SockId {
    pub(super) sport: [u8; 2],
    pub(super) dport: [u8; 2],
    pub(super) src: [u8; 16],
    pub(super) dst: [u8; 16],
    pub(super) interface: u32,
    pub(super) cookie: [u32; 2],
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
pub(super) struct Message {
    pub(super) family: u8,
    pub(super) state: u8,
    pub(super) timer: u8,
    pub(super) retrans: u8,
    pub(super) id: SockId,
    pub(super) expires: u32,
    pub(super) rqueue: u32,
    pub(super) wqueue: u32,
    pub(super) uid: u32,
    pub(super) inode: u32,
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
pub(super) const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

pub(super) fn prefix<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), Fault> {
    T::read_from_prefix(bytes).map_err(|_short| Fault::Truncated {
        have: bytes.len(),
        need: size_of::<T>(),
    })
}

/// The `len` bytes that something says it has, without its own header.
pub(super) fn body(bytes: &[u8], len: usize, header: usize) -> Result<&[u8], Fault> {
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

#[cfg(test)]
#[path = "inet_diag_tests.rs"]
mod tests;
