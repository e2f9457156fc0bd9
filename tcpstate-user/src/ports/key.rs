//! What sockets compete for a port in, on either side.

use tcpstate_common::record::Tuple;

use crate::decode::Family;

/// First twelve bytes of a v4-mapped address (RFC 4291 section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// A tuple space: everything of a connection's identity but the local port,
/// each of which can be used once in it.
///
/// An IPv6 socket with v4-mapped addresses competes with the IPv4 ones, so the
/// socket's family is no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Local address, as in [`Tuple`].
    pub laddr: [u8; 16],
    /// Remote address.
    pub raddr: [u8; 16],
    /// Remote port.
    pub rport: u16,
}

/// A local port on which connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The port.
    pub port: u16,
}

impl Space {
    pub(super) const fn of(netns: u32, tuple: &Tuple) -> Self {
        Self {
            netns,
            laddr: tuple.laddr,
            raddr: tuple.raddr,
            rport: tuple.rport,
        }
    }

    /// That of the addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        family(&self.laddr)
    }

    /// Whether `tcp_tw_reuse=2` is about it: one of the addresses is a loopback
    /// address, as in `tcp_twsk_unique`
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_ipv4.c#L114-L150>.
    /// Other addresses over the device `lo` are not told apart here.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.laddr) || is_loopback(&self.raddr)
    }
}

/// Of an address as a tuple has it.
pub(super) fn family(addr: &[u8; 16]) -> Family {
    if addr.starts_with(&MAPPED) {
        Family::Inet
    } else {
        Family::Inet6
    }
}

fn is_loopback(addr: &[u8; 16]) -> bool {
    let v6 = u128::from_be_bytes(*addr) == 1;
    v6 || (addr.starts_with(&MAPPED) && addr[12] == 127)
}
