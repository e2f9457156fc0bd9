//! The beginning of a socket of any kind: what every event needs of it.

use tcpstate_common::{record::Tuple, settings::ABSENT};
use zerocopy::FromBytes;

use crate::{
    maps::{OFFSETS, setting},
    sock::{AF_INET6, Sock, read},
    window::Window,
};

/// As far as the fields go that are asked for: `skc_flags` is the last one, at 96
/// on Linux 5.10 to 7.3.
const WORDS: usize = 13;

/// A copy of it.
pub(crate) struct Head(Window<WORDS>);

impl Head {
    /// Reads it; zeros if it cannot be read.
    #[inline(always)]
    pub(crate) fn of(sk: Sock) -> Self {
        Self(Window::read(sk.0, 0, u32::MAX))
    }

    #[inline(always)]
    fn field<T: FromBytes>(&self, offset: &'static u32) -> T {
        self.0.field(setting(offset))
    }

    #[inline(always)]
    pub(crate) fn family(&self) -> u16 {
        self.field(&OFFSETS.sock_common_skc_family)
    }

    /// `sk_flags` of a full socket.
    #[inline(always)]
    pub(crate) fn flags(&self) -> u64 {
        self.field(&OFFSETS.sock_common_skc_flags)
    }

    /// `skc_num`, the local port; 0 when it is released or not chosen yet.
    #[inline(always)]
    pub(crate) fn num(&self) -> u16 {
        self.field(&OFFSETS.sock_common_skc_num)
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(&self) -> u32 {
        let net: u64 = self.field(&OFFSETS.sock_common_skc_net);
        read(net, setting(&OFFSETS.net_ns_inum))
    }

    /// Both ends, with this local port. A v4-mapped socket has its addresses in
    /// the IPv6 fields.
    ///
    /// Addresses are moved as numbers, because LLVM copies byte arrays byte by byte.
    #[inline(always)]
    pub(crate) fn tuple(&self, family: u16, lport: u16) -> Tuple {
        let local6 = setting(&OFFSETS.sock_common_skc_v6_rcv_saddr);
        let remote6 = setting(&OFFSETS.sock_common_skc_v6_daddr);
        let (laddr, raddr): ([u64; 2], [u64; 2]) =
            if family == AF_INET6 && local6 != ABSENT && remote6 != ABSENT {
                (self.0.field(local6), self.0.field(remote6))
            } else {
                let local = self.field(&OFFSETS.sock_common_skc_rcv_saddr);
                let remote = self.field(&OFFSETS.sock_common_skc_daddr);
                (v4_mapped(local), v4_mapped(remote))
            };
        let dport: u16 = self.field(&OFFSETS.sock_common_skc_dport);
        Tuple {
            laddr: zerocopy::transmute!(laddr),
            raddr: zerocopy::transmute!(raddr),
            lport,
            rport: u16::from_be(dport),
        }
    }
}

/// `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2), all in network order.
#[inline(always)]
pub(crate) fn v4_mapped(addr: u32) -> [u64; 2] {
    const PREFIX: u64 = 0xffff_0000_0000;
    [0, (PREFIX | u64::from(u32::from_be(addr))).to_be()]
}
