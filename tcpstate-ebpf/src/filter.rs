//! Which sockets the programs speak of.
//!
//! Only what a single event can decide: a port or an address that the socket
//! does not have yet passes, and user space filters connections. Every limit is
//! a read-only global, so a filter that is not set is dead code to the verifier.

use tcpstate_common::settings::{FILTER_NETS, FILTER_PORTS, Net};

use crate::{
    emit,
    maps::{FILTER, setting},
    sock::{Sock, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
};

/// Whether a record about this socket is wanted; counts it when not. No socket
/// (0) is no connection, so no filter lets it pass.
#[inline(always)]
pub(crate) fn keep(sk: Sock) -> bool {
    count(passes_all() || sk.0 != 0 && passes(sk, false))
}

/// As [`keep`], for a socket that leaves `CLOSE` now: a port that it had in an
/// earlier connection is not this one's.
#[inline(always)]
pub(crate) fn keep_opening(sk: Sock) -> bool {
    count(passes_all() || passes(sk, true))
}

/// As [`keep`], for a socket that ends: whether user space may know it. While
/// its port was not known its events passed, so its ports do not decide.
#[inline(always)]
pub(crate) fn keep_ending(sk: Sock) -> bool {
    count(passes_all() || family_passes(sk.family()) && netns_passes(sk))
}

/// As [`keep`], for a socket that is only looked at: no event is refused.
#[inline(always)]
pub(crate) fn shows(sk: Sock) -> bool {
    passes_all() || passes(sk, false)
}

/// As [`keep_opening`], where another program counts what is refused.
#[inline(always)]
pub(crate) fn shows_opening(sk: Sock) -> bool {
    passes_all() || passes(sk, true)
}

#[inline(always)]
fn count(kept: bool) -> bool {
    if !kept {
        emit::count_filtered();
    }
    kept
}

/// Most events are refused, if there is a filter, and mostly by their local port:
/// that is one read.
#[inline(always)]
fn passes(sk: Sock, opening: bool) -> bool {
    lport_passes(sk, opening) && (only_lports() || rest_passes(sk))
}

#[inline(always)]
fn lport_passes(sk: Sock, opening: bool) -> bool {
    let count = setting(&FILTER.lport_count);
    if count == 0 {
        return true;
    }
    let lport = match sk.num() {
        0 if !opening && !is_small(sk.state()) => sk.lport_of_old(),
        num => num,
    };
    port_passes(lport, count, &FILTER.lports)
}

/// Whether it is no full socket: then it ends before `inet_sport`.
#[inline(always)]
fn is_small(state: u8) -> bool {
    matches!(state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV)
}

/// Not inlined: it would be most of every program. It reads only what is asked
/// for, and not the whole head, for which the stacks of all callers of Linux 5.10
/// have no room.
#[inline(never)]
fn rest_passes(sk: Sock) -> bool {
    let family = sk.family();
    let rports = setting(&FILTER.rport_count);
    let (lnets, rnets) = (setting(&FILTER.lnet_count), setting(&FILTER.rnet_count));
    family_passes(family)
        && (rports == 0 || port_passes(sk.rport(), rports, &FILTER.rports))
        && (lnets == 0 || addr_passes(&sk.laddr(family), lnets, &FILTER.lnets))
        && (rnets == 0 || addr_passes(&sk.raddr(family), rnets, &FILTER.rnets))
        && netns_passes(sk)
}

#[inline(always)]
fn passes_all() -> bool {
    setting(&FILTER.lport_count) == 0 && only_lports()
}

#[inline(always)]
fn only_lports() -> bool {
    setting(&FILTER.family) == 0
        && setting(&FILTER.netns) == 0
        && setting(&FILTER.rport_count) == 0
        && setting(&FILTER.lnet_count) == 0
        && setting(&FILTER.rnet_count) == 0
}

#[inline(always)]
fn family_passes(family: u16) -> bool {
    let wanted = setting(&FILTER.family);
    wanted == 0 || wanted == u32::from(family)
}

#[inline(always)]
fn netns_passes(sk: Sock) -> bool {
    let wanted = setting(&FILTER.netns);
    wanted == 0 || wanted == sk.netns()
}

#[inline(always)]
fn port_passes(port: u16, count: u32, wanted: &'static [u16; FILTER_PORTS]) -> bool {
    if count == 0 || port == 0 {
        return true;
    }
    wanted
        .iter()
        .take(count as usize)
        .any(|wanted| setting(wanted) == port)
}

#[inline(always)]
fn addr_passes(addr: &[u8; 16], count: u32, wanted: &'static [Net; FILTER_NETS]) -> bool {
    if count == 0 || is_unspecified(addr) {
        return true;
    }
    wanted
        .iter()
        .take(count as usize)
        .any(|net| contains(net, addr))
}

#[inline(always)]
fn contains(net: &'static Net, addr: &[u8; 16]) -> bool {
    addr.iter()
        .zip(&net.mask)
        .zip(&net.addr)
        .all(|((byte, mask), wanted)| byte & setting(mask) == setting(wanted))
}

/// `::`, or `0.0.0.0` written v4-mapped.
#[inline(always)]
fn is_unspecified(addr: &[u8; 16]) -> bool {
    let bits = u128::from_be_bytes(*addr);
    bits == 0 || bits == 0xffff_0000_0000
}
