//! The lines of a trace that were asked for, decided for the whole connection.
//!
//! Pure: it knows neither the kernel's part of the filter nor how a line is
//! written. It never looks inside a dwell's history, so what passes is as true
//! as it was.

mod origin;

#[cfg(test)]
mod tests;

use ipnet::IpNet;
use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    cli::{FilterSpec, bits_of},
    connection::Connection,
    decode::Family,
    track::{Change, Dwell, Open},
};
use origin::Origins;

/// Passes or drops [`Change`]s; may hold some until their process is known.
#[derive(Debug)]
pub struct Filter {
    lports: Vec<u16>,
    rports: Vec<u16>,
    lnets: Vec<Network>,
    rnets: Vec<Network>,
    family: Option<Family>,
    netns: Option<u32>,
    /// Bit n is state number n; 0 means every state.
    states: u16,
    min_dwell: Option<u64>,
    origins: Option<Origins>,
}

#[derive(Debug)]
struct Network {
    addr: u128,
    mask: u128,
    /// Spelled as IPv6: matches IPv6 sockets only, even where `::/0` covers
    /// the v4-mapped form in which IPv4 addresses are kept.
    inet6_only: bool,
}

impl Filter {
    /// A filter that passes what `spec` describes.
    #[must_use]
    pub fn new(spec: &FilterSpec) -> Self {
        Self {
            lports: spec.lports.clone(),
            rports: spec.rports.clone(),
            lnets: spec.lnets.iter().map(Network::new).collect(),
            rnets: spec.rnets.iter().map(Network::new).collect(),
            family: spec.family,
            netns: spec.netns,
            states: spec.states.iter().fold(0, |set, &state| set | bit(state)),
            min_dwell: spec.min_dwell_ns,
            origins: Origins::new(&spec.pids, &spec.comms),
        }
    }

    /// Hands to `out` what may be shown now: nothing, `change`, or first the
    /// lines of its connection that were held, oldest first.
    pub fn pass(&mut self, change: &Change, out: &mut impl FnMut(&Change)) {
        let shown = self.shows(change);
        match &mut self.origins {
            Some(origins) => origins.pass(change, shown, out),
            None if shown => out(change),
            None => {}
        }
    }

    /// Hands to `out` the lines that were held of a connection whose process
    /// has become known without a further change.
    pub fn learn(&mut self, open: &Open, out: &mut impl FnMut(&Change)) {
        if let (Some(origins), Some(process)) = (&mut self.origins, open.origin) {
            origins.learn(open.conn, process, out);
        }
    }

    /// Lines that were dropped because too many were held.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.origins.as_ref().map_or(0, Origins::overflowed)
    }

    /// Lines held now: of connections whose process is not known.
    #[must_use]
    pub fn held(&self) -> usize {
        self.origins.as_ref().map_or(0, Origins::held)
    }

    /// Whether a socket is one of the connections: their lines would pass.
    #[must_use]
    pub fn admits(&self, open: &Open) -> bool {
        self.fits(open.family, open.netns, &open.tuple)
            && self
                .origins
                .as_ref()
                .is_none_or(|origins| open.origin.is_some_and(|it| origins.matches(&it)))
    }

    /// Whether a connection that is over was asked for: by its process, unless
    /// nobody knows that, and by a state that it was in for long enough.
    #[must_use]
    pub fn admits_connection(&self, it: &Connection) -> bool {
        let wanted = |state| self.states == 0 || self.states & bit(state) != 0;
        let mut stays = it.states.iter().filter(|(state, _)| wanted(*state));
        self.fits(it.family, it.netns, &it.tuple)
            && match self.min_dwell {
                Some(least) => stays.any(|(_, dwell)| lasted(dwell, least)),
                None => wanted(it.into) || stays.next().is_some(),
            }
            && self
                .origins
                .as_ref()
                .is_none_or(|origins| it.process.is_some_and(|it| origins.matches(&it)))
    }

    /// Everything but the process.
    fn shows(&self, change: &Change) -> bool {
        self.fits(change.family, change.netns, &change.tuple)
            && (self.states == 0 || self.states & (bit(change.old) | bit(change.new)) != 0)
            && self
                .min_dwell
                .is_none_or(|least| lasted(change.dwell, least))
    }

    fn fits(&self, family: Family, netns: u32, tuple: &Tuple) -> bool {
        self.family.is_none_or(|wanted| wanted == family)
            && self.netns.is_none_or(|wanted| wanted == netns)
            && has_port(&self.lports, tuple.lport)
            && has_port(&self.rports, tuple.rport)
            && has_addr(&self.lnets, &tuple.laddr, tuple.lport, family)
            && has_addr(&self.rnets, &tuple.raddr, tuple.rport, family)
    }
}

impl Network {
    fn new(net: &IpNet) -> Self {
        let (addr, mask) = bits_of(net);
        Self {
            addr,
            mask,
            inet6_only: net.addr().is_ipv6(),
        }
    }

    fn holds(&self, addr: u128, family: Family) -> bool {
        addr & self.mask == self.addr && (!self.inet6_only || family == Family::Inet6)
    }
}

const fn bit(state: TcpState) -> u16 {
    1 << state as u8
}

fn lasted(dwell: Dwell, least: u64) -> bool {
    match dwell {
        Dwell::Exact(ns) | Dwell::AtLeast(ns) => ns >= least,
        Dwell::Unknown => false,
    }
}

/// A port that is not known is none of those asked for.
fn has_port(ports: &[u16], port: u16) -> bool {
    ports.is_empty() || ports.contains(&port)
}

fn has_addr(nets: &[Network], addr: &[u8; 16], port: u16, family: Family) -> bool {
    if nets.is_empty() {
        return true;
    }
    let addr = u128::from_be_bytes(*addr);
    let known = port != 0 || !matches!(addr, 0 | 0xffff_0000_0000);
    known && nets.iter().any(|net| net.holds(addr, family))
}
