//! A socket as `sock_diag` tells of it, and what is made of that: a [`Snapshot`], or
//! what a report needs.
//!
//! It knows one message's payload, not the protocol around it.

use tcpstate_common::{
    record::{Header, Snapshot, Tuple, how, kind, socket_kind, words_of},
    state::TcpState,
};
use zerocopy::FromBytes as _;

use super::{
    Inspected,
    inet_diag::{
        AF_INET, AF_INET6, Datagram, Fault, INET_DIAG_INFO, Message, aligned, body, prefix,
    },
};
use crate::decode::{How, Inspection, SockAddr64};

/// Offset of `tcpi_last_ack_recv` there, a stable interface.
const LAST_ACK_RECV: usize = 56;
/// Every full socket carries it, asked or not, and no other kind does:
/// `inet_diag_msg_attrs_fill`.
const INET_DIAG_SHUTDOWN: u16 = 8;
/// `idiag_timer` of a minisocket.
const TIMER_TIME_WAIT: u8 = 3;

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
    pub(super) fn read(payload: &[u8]) -> Result<Self, Fault> {
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
