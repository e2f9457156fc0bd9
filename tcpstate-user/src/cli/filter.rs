//! The filter options: as they were given, checked, and as plain data.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;
use ipnet::IpNet;
use tcpstate_common::{
    settings::{self, FILTER_NETS, FILTER_PORTS},
    state::TcpState,
};

use super::value;
use crate::decode::Family;

/// What one event can decide: the part of a filter that runs in the kernel.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connections")]
pub struct Connections {
    /// Local ports, comma-separated
    #[arg(short = 'L', long = "lport", value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub lports: Vec<u16>,
    /// Remote ports
    #[arg(short = 'D', long = "rport", value_name = "PORT", value_delimiter = ',', value_parser = value::port)]
    pub rports: Vec<u16>,
    /// Local addresses; IPv4 also matches v4-mapped
    #[arg(long = "laddr", value_name = "CIDR", value_delimiter = ',', value_parser = value::network)]
    pub lnets: Vec<IpNet>,
    /// Remote addresses
    #[arg(long = "raddr", value_name = "CIDR", value_delimiter = ',', value_parser = value::network)]
    pub rnets: Vec<IpNet>,
    /// IPv4 sockets only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 sockets only, v4-mapped ones included
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// Network namespace: inode number, name (`ip netns`), path, or self
    #[arg(long, value_name = "NETNS", value_parser = value::netns)]
    pub netns: Option<Netns>,
}

/// Which connections, as it was given.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// What the kernel can decide.
    #[command(flatten)]
    pub connections: Connections,
    /// Processes that connected, accepted or listened
    #[arg(short, long = "pid", value_name = "PID", value_delimiter = ',', value_parser = value::pid, help_heading = "Connections")]
    pub pids: Vec<u32>,
    /// Name of such a process
    #[arg(long = "comm", value_name = "NAME", value_parser = value::comm, help_heading = "Connections")]
    pub comms: Vec<Comm>,
}

/// Which lines of these connections.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Lines")]
pub struct Lines {
    /// Lines that leave or enter a state (`close-wait`, `TIME_WAIT`); connections
    /// that were in it
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = value::state)]
    pub states: Vec<TcpState>,
    /// Lines with at least this time in the state that was left; connections
    /// that stayed in a state (with `--state`, in one of those) for so long
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    pub min_dwell: Option<Duration>,
}

/// A thread name: any bytes but NUL, at most 15.
pub type Comm = Vec<u8>;

/// A network namespace as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Netns {
    /// The one of this process.
    Own,
    /// Inode number.
    Inode(u32),
    /// As in `ip netns`: a file in `/run/netns`.
    Name(String),
    /// A namespace file, such as `/proc/1/ns/net`.
    Path(PathBuf),
}

/// A whole filter as plain data, with everything looked up. An empty list does
/// not filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterSpec {
    /// Process ids of the origin.
    pub pids: Vec<u32>,
    /// Thread names of the origin.
    pub comms: Vec<Comm>,
    /// Local ports.
    pub lports: Vec<u16>,
    /// Remote ports.
    pub rports: Vec<u16>,
    /// Local networks.
    pub lnets: Vec<IpNet>,
    /// Remote networks.
    pub rnets: Vec<IpNet>,
    /// Family of the socket.
    pub family: Option<Family>,
    /// States left or entered.
    pub states: Vec<TcpState>,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Least time in the state that was left, in nanoseconds.
    pub min_dwell_ns: Option<u64>,
}

impl Connections {
    /// Says of a filter that nothing can pass, or that does not fit into the
    /// kernel side, what to change.
    pub(super) fn check(&self) -> Result<(), String> {
        check_counts(self)?;
        let mut nets = self.lnets.iter().chain(&self.rnets);
        let six = nets.find(|net| self.ipv4 && net.addr().is_ipv6());
        if let Some(net) = six {
            return Err(format!("-4 never matches the IPv6 network {net}: drop one"));
        }
        if only_four(&self.lnets) && only_six(&self.rnets)
            || only_six(&self.lnets) && only_four(&self.rnets)
        {
            return Err(
                "no connection has an IPv4 and an IPv6 end: make --laddr and --raddr agree".into(),
            );
        }
        Ok(())
    }

    /// The family that the flags ask for.
    pub(super) fn family(&self) -> Option<Family> {
        match (self.ipv4, self.ipv6) {
            (true, _) => Some(Family::Inet),
            (_, true) => Some(Family::Inet6),
            _ => None,
        }
    }
}

impl Filter {
    pub(super) fn check(&self) -> Result<(), String> {
        self.connections.check()
    }
}

fn check_counts(asked: &Connections) -> Result<(), String> {
    let lists = [
        ("--lport", asked.lports.len(), FILTER_PORTS),
        ("--rport", asked.rports.len(), FILTER_PORTS),
        ("--laddr", asked.lnets.len(), FILTER_NETS),
        ("--raddr", asked.rnets.len(), FILTER_NETS),
    ];
    match lists.iter().find(|(_, have, most)| have > most) {
        Some((option, have, most)) => Err(format!(
            "{option} takes at most {most} values, not {have}: filter the output instead"
        )),
        None => Ok(()),
    }
}

fn only_four(nets: &[IpNet]) -> bool {
    !nets.is_empty() && nets.iter().all(|net| net.addr().is_ipv4())
}

/// Whether no v4-mapped address is in any of the networks.
fn only_six(nets: &[IpNet]) -> bool {
    const MAPPED: u128 = 0xffff << 32;
    let holds_mapped = |net: &IpNet| {
        let (addr, mask) = bits_of(net);
        let shared = mask & (u128::MAX << 32);
        MAPPED & shared == addr & shared
    };
    !nets.is_empty() && !nets.iter().any(holds_mapped)
}

impl FilterSpec {
    /// The part that runs in the kernel: what a single event can decide without
    /// falsifying the dwell of another one. Lists longer than the kernel side
    /// holds are left to user space.
    #[must_use]
    pub fn kernel_filter(&self) -> settings::Filter {
        let mut filter = settings::Filter {
            family: match self.family {
                None => 0,
                Some(Family::Inet) => 2,
                Some(Family::Inet6) => 10,
            },
            netns: self.netns.unwrap_or(0),
            ..settings::Filter::default()
        };
        filter.lport_count = fill(&mut filter.lports, self.lports.iter().copied());
        filter.rport_count = fill(&mut filter.rports, self.rports.iter().copied());
        filter.lnet_count = fill(&mut filter.lnets, self.lnets.iter().map(kernel_net));
        filter.rnet_count = fill(&mut filter.rnets, self.rnets.iter().map(kernel_net));
        filter
    }
}

/// How many were filled in; 0 when they do not all fit.
fn fill<T>(slots: &mut [T], values: impl ExactSizeIterator<Item = T>) -> u32 {
    let count = values.len();
    if count > slots.len() {
        return 0;
    }
    slots
        .iter_mut()
        .zip(values)
        .for_each(|(slot, value)| *slot = value);
    u32::try_from(count).unwrap_or(0)
}

fn kernel_net(net: &IpNet) -> settings::Net {
    let (addr, mask) = bits_of(net);
    settings::Net {
        addr: addr.to_be_bytes(),
        mask: mask.to_be_bytes(),
    }
}

/// Address and mask as 128-bit numbers, IPv4 written v4-mapped.
pub(crate) fn bits_of(net: &IpNet) -> (u128, u128) {
    let (addr, prefix) = match net.addr() {
        IpAddr::V4(addr) => (addr.to_ipv6_mapped(), u32::from(net.prefix_len()) + 96),
        IpAddr::V6(addr) => (addr, u32::from(net.prefix_len())),
    };
    let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
    (addr.to_bits() & mask, mask)
}
