//! Which sockets of a walk are kept: those whose events the kernel side sends.
//!
//! As the programs decide for an event (`filter.rs` of tcpstate-ebpf), so that no
//! socket is known of which nothing would ever be heard again.

use tcpstate_common::{
    record::{Snapshot, how},
    settings::{FILTER_NETS, FILTER_PORTS, Filter, Net},
};

use super::inet_diag::{AF_INET, AF_INET6};

/// Whether `seen` is one of those that are asked for.
pub(super) fn shows(filter: &Filter, seen: &Snapshot) -> bool {
    let inet6 = seen.how & how::INET6 != 0;
    let family = u32::from(if inet6 { AF_INET6 } else { AF_INET });
    let tuple = &seen.tuple;
    is_or_any(filter.family, family)
        && is_or_any(filter.netns, seen.header.netns)
        && port_passes(tuple.lport, filter.lport_count, &filter.lports)
        && port_passes(tuple.rport, filter.rport_count, &filter.rports)
        && addr_passes(&tuple.laddr, filter.lnet_count, &filter.lnets)
        && addr_passes(&tuple.raddr, filter.rnet_count, &filter.rnets)
}

const fn is_or_any(wanted: u32, value: u32) -> bool {
    wanted == 0 || wanted == value
}

fn port_passes(port: u16, count: u32, wanted: &[u16; FILTER_PORTS]) -> bool {
    count == 0 || port == 0 || wanted.iter().take(count as usize).any(|it| *it == port)
}

fn addr_passes(addr: &[u8; 16], count: u32, wanted: &[Net; FILTER_NETS]) -> bool {
    let bits = u128::from_be_bytes(*addr);
    // `::`, or `0.0.0.0` written v4-mapped.
    let unspecified = bits == 0 || bits == 0xffff_0000_0000;
    let holds = |net: &Net| bits & u128::from_be_bytes(net.mask) == u128::from_be_bytes(net.addr);
    count == 0 || unspecified || wanted.iter().take(count as usize).any(holds)
}

#[cfg(test)]
mod tests {
    use tcpstate_common::record::Tuple;
    use zerocopy::FromZeros as _;

    use super::*;

    fn seen(laddr: [u8; 4], lport: u16, rport: u16) -> Snapshot {
        let mut addr = [0; 16];
        addr[10..12].fill(0xff);
        addr[12..].copy_from_slice(&laddr);
        let mut seen = Snapshot::new_zeroed();
        seen.header.netns = 7;
        seen.tuple = Tuple {
            laddr: addr,
            raddr: [0; 16],
            lport,
            rport,
        };
        seen
    }

    #[test]
    fn what_is_not_asked_for_is_left_out_and_what_is_not_known_is_not() {
        let mut net = Net::default();
        net.mask.fill(0xff);
        net.addr = seen([10, 0, 0, 1], 0, 0).tuple.laddr;
        let ports = |port| {
            let mut ports = [0; FILTER_PORTS];
            ports[0] = port;
            ports
        };
        let all = Filter::default();
        let by_port = Filter {
            lport_count: 1,
            lports: ports(80),
            ..all
        };
        let by_remote = Filter {
            rport_count: 1,
            rports: ports(4000),
            ..all
        };
        let by_net = Filter {
            lnet_count: 1,
            lnets: {
                let mut nets = [Net::default(); FILTER_NETS];
                nets[0] = net;
                nets
            },
            ..all
        };
        let it = seen([10, 0, 0, 1], 80, 4000);
        let other = seen([10, 0, 0, 2], 81, 4001);
        let listener = seen([0; 4], 80, 0);
        for filter in [by_port, by_remote, by_net] {
            assert!(shows(&filter, &it), "{filter:?}");
            assert!(!shows(&filter, &other), "{filter:?}");
            assert!(shows(&filter, &listener), "{filter:?}");
        }
        assert!(shows(&all, &other));
        assert!(!shows(&Filter { netns: 8, ..all }, &it));
        assert!(shows(&Filter { family: 2, ..all }, &it));
        assert!(!shows(&Filter { family: 10, ..all }, &it));
    }
}
