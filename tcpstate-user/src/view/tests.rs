use std::net::Ipv6Addr;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::Filter;
use crate::{
    cli::FilterSpec,
    connection::{Connections, Told},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    track::{Change, ConnId, Dwell, Open, Opened, Process},
};

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

/// A server's connection number `conn`, nobody's yet.
fn change(conn: u64, old: TcpState, new: TcpState) -> Change {
    Change {
        at: KtimeNs(conn * 100),
        conn: ConnId {
            birth: KtimeNs(conn),
            sk: SockAddr64(conn << 6),
        },
        netns: 7,
        family: Family::Inet,
        tuple: Tuple {
            laddr: octets("::ffff:10.0.0.1"),
            raddr: octets("::ffff:192.0.2.9"),
            lport: 80,
            rport: 40_000,
        },
        old,
        new,
        dwell: Dwell::Exact(1_000),
        kind: SocketKind::Full,
        origin: None,
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn established() -> Change {
    change(1, TcpState::SynRecv, TcpState::Established)
}

fn by(change: Change, pid: u32, name: &str) -> Change {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Change {
        origin: Some(Process { pid, comm }),
        ..change
    }
}

fn passed(filter: &mut Filter, change: &Change) -> Vec<Change> {
    let mut lines = Vec::new();
    filter.pass(change, &mut |line: &Change| lines.push(*line));
    lines
}

fn passes(spec: &FilterSpec, change: &Change) -> bool {
    let lines = passed(&mut Filter::new(spec), change);
    assert!(lines.is_empty() || lines == [*change]);
    !lines.is_empty()
}

fn nets(list: &[&str]) -> Vec<ipnet::IpNet> {
    list.iter().map(|net| net.parse().unwrap()).collect()
}

#[test]
fn without_a_filter_everything_passes() {
    assert!(passes(&FilterSpec::default(), &established()));
}

#[test]
fn ports_are_those_of_the_connection() {
    let lports = |lports: &[u16]| FilterSpec {
        lports: lports.to_vec(),
        ..FilterSpec::default()
    };
    assert!(passes(&lports(&[443, 80]), &established()));
    assert!(!passes(&lports(&[443]), &established()));
    let rports = FilterSpec {
        rports: vec![80],
        ..FilterSpec::default()
    };
    assert!(!passes(&rports, &established()));
}

#[test]
fn a_port_that_is_not_known_is_none_of_those_asked_for() {
    let mut listener = change(1, TcpState::Close, TcpState::Listen);
    listener.tuple.rport = 0;
    let spec = FilterSpec {
        rports: vec![443],
        ..FilterSpec::default()
    };
    assert!(!passes(&spec, &listener));
}

#[test]
fn an_ipv4_network_holds_v4_mapped_sockets_and_an_ipv6_network_only_ipv6_ones() {
    let local = |net: &str| FilterSpec {
        lnets: nets(&[net]),
        ..FilterSpec::default()
    };
    let four = established();
    let mapped = Change {
        family: Family::Inet6,
        ..four
    };
    for net in ["10.0.0.0/8", "10.0.0.1/32", "0.0.0.0/0"] {
        assert!(
            passes(&local(net), &four) && passes(&local(net), &mapped),
            "{net}"
        );
    }
    for net in ["::/0", "::ffff:10.0.0.0/104"] {
        assert!(
            !passes(&local(net), &four) && passes(&local(net), &mapped),
            "{net}"
        );
    }
    for net in ["10.0.0.0/32", "192.0.2.0/24", "fd00::/8"] {
        assert!(
            !passes(&local(net), &four) && !passes(&local(net), &mapped),
            "{net}"
        );
    }
}

#[test]
fn an_address_that_is_not_known_is_in_no_network() {
    let spec = FilterSpec {
        rnets: nets(&["0.0.0.0/0", "::/0"]),
        ..FilterSpec::default()
    };
    let mut listener = change(1, TcpState::Close, TcpState::Listen);
    listener.tuple.rport = 0;
    for unspecified in ["::ffff:0.0.0.0", "::"] {
        listener.tuple.raddr = octets(unspecified);
        assert!(!passes(&spec, &listener));
    }
    assert!(passes(&spec, &established()));
}

#[test]
fn family_and_namespace_are_the_sockets() {
    let spec = |family, netns| FilterSpec {
        family,
        netns,
        ..FilterSpec::default()
    };
    assert!(passes(&spec(Some(Family::Inet), Some(7)), &established()));
    assert!(!passes(&spec(Some(Family::Inet6), None), &established()));
    assert!(!passes(&spec(None, Some(8)), &established()));
}

#[test]
fn a_state_is_left_or_entered() {
    let spec = |states: &[TcpState]| FilterSpec {
        states: states.to_vec(),
        ..FilterSpec::default()
    };
    assert!(passes(&spec(&[TcpState::SynRecv]), &established()));
    assert!(passes(
        &spec(&[TcpState::Established, TcpState::Listen]),
        &established()
    ));
    assert!(!passes(&spec(&[TcpState::CloseWait]), &established()));
}

#[test]
fn only_a_known_dwell_can_be_long_enough() {
    let spec = |least| FilterSpec {
        min_dwell_ns: Some(least),
        ..FilterSpec::default()
    };
    let lasting = |dwell| Change {
        dwell,
        ..established()
    };
    for known in [Dwell::Exact(1_000), Dwell::AtLeast(1_000)] {
        assert!(passes(&spec(1_000), &lasting(known)));
        assert!(!passes(&spec(1_001), &lasting(known)));
    }
    assert!(!passes(&spec(0), &lasting(Dwell::Unknown)));
    assert!(passes(&spec(0), &lasting(Dwell::Exact(0))));
}

fn of_process() -> Filter {
    Filter::new(&FilterSpec {
        pids: vec![12, 13],
        comms: vec![b"nginx".to_vec()],
        ..FilterSpec::default()
    })
}

#[test]
fn lines_wait_for_the_process_and_then_come_in_order_with_it() {
    let mut filter = of_process();
    let first = change(1, TcpState::Listen, TcpState::SynRecv);
    let second = established();
    let other = change(2, TcpState::Listen, TcpState::SynRecv);
    for line in [&first, &second, &other] {
        assert_eq!(passed(&mut filter, line), []);
    }
    assert_eq!(filter.held(), 3);
    let third = by(
        change(1, TcpState::Established, TcpState::CloseWait),
        13,
        "nginx",
    );
    let expected = [by(first, 13, "nginx"), by(second, 13, "nginx"), third];
    assert_eq!(passed(&mut filter, &third), expected);
    assert_eq!(filter.held(), 1);
    assert_eq!(passed(&mut filter, &third), [third]);
}

#[test]
fn pid_and_name_must_both_be_right() {
    let mut filter = of_process();
    for (pid, name) in [(11, "nginx"), (12, "nginx2"), (12, "ngin"), (12, "")] {
        assert_eq!(passed(&mut filter, &established()), []);
        assert_eq!(passed(&mut filter, &by(established(), pid, name)), []);
        assert_eq!(filter.held(), 0, "{pid} {name}");
    }
    let line = by(established(), 12, "nginx");
    assert_eq!(passed(&mut filter, &line), [line]);
}

#[test]
fn a_connection_that_ends_without_a_process_is_dropped() {
    for end in [TcpState::Close, TcpState::TimeWait] {
        let mut filter = of_process();
        assert_eq!(passed(&mut filter, &established()), []);
        assert_eq!(
            passed(&mut filter, &change(1, TcpState::Established, end)),
            []
        );
        assert_eq!((filter.held(), filter.overflowed()), (0, 0));
        assert_eq!(
            passed(&mut filter, &by(established(), 12, "nginx")).len(),
            1
        );
    }
}

#[test]
fn held_lines_are_those_the_rest_of_the_filter_passes() {
    let mut filter = Filter::new(&FilterSpec {
        pids: vec![12],
        states: vec![TcpState::Established],
        ..FilterSpec::default()
    });
    assert_eq!(
        passed(&mut filter, &change(1, TcpState::Listen, TcpState::SynRecv)),
        []
    );
    assert_eq!(passed(&mut filter, &established()), []);
    assert_eq!(filter.held(), 1);
    let unasked = by(
        change(1, TcpState::CloseWait, TcpState::LastAck),
        12,
        "nginx",
    );
    assert_eq!(
        passed(&mut filter, &unasked),
        [by(established(), 12, "nginx")]
    );
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut filter = of_process();
    for _ in 0..10 {
        assert_eq!(passed(&mut filter, &established()), []);
    }
    assert_eq!((filter.held(), filter.overflowed()), (8, 2));
    for conn in 2..(1 << 16) + 2 {
        passed(
            &mut filter,
            &change(conn, TcpState::SynRecv, TcpState::Established),
        );
    }
    assert_eq!((filter.held(), filter.overflowed()), (1 << 16, 10));
}

/// It stays where `change` left it.
fn open(change: &Change) -> Open {
    Open {
        conn: change.conn,
        netns: change.netns,
        family: change.family,
        tuple: change.tuple,
        state: change.new,
        so_far: change.dwell,
        kind: change.kind,
        origin: change.origin,
        opened: Opened::Unknown,
        was_reset: false,
    }
}

#[test]
fn a_socket_is_admitted_as_its_lines_are() {
    let ports = |lports: &[u16], pids: &[u32]| FilterSpec {
        lports: lports.to_vec(),
        pids: pids.to_vec(),
        ..FilterSpec::default()
    };
    let (nobody, nginx) = (established(), by(established(), 12, "nginx"));
    for (spec, expected) in [
        (FilterSpec::default(), [true, true]),
        (ports(&[80], &[]), [true, true]),
        (ports(&[443], &[]), [false, false]),
        (ports(&[], &[12]), [false, true]),
        (ports(&[443], &[12]), [false, false]),
        (ports(&[80], &[13]), [false, false]),
    ] {
        let filter = Filter::new(&spec);
        let admitted = [nobody, nginx].map(|change| filter.admits(&open(&change)));
        assert_eq!(admitted, expected, "{spec:?}");
    }
}

#[test]
fn held_lines_pass_once_the_process_is_known_without_a_further_change() {
    let mut filter = of_process();
    assert_eq!(passed(&mut filter, &established()), []);
    let mut learnt = |pid| {
        let mut lines = Vec::new();
        let accepted = open(&by(established(), pid, "nginx"));
        filter.learn(&accepted, &mut |line: &Change| lines.push(*line));
        lines
    };
    assert_eq!(learnt(12), [by(established(), 12, "nginx")]);
    assert_eq!(learnt(12), []);
    assert_eq!(filter.held(), 0);
}

#[test]
fn a_connection_that_is_over_is_asked_for_by_any_state_that_it_was_in() {
    let mut all = Connections::new(Told::Closed, [].into(), 8);
    let wait = |old, new, ns| Change {
        dwell: Dwell::Exact(ns),
        ..by(change(1, old, new), 42, "nginx")
    };
    let lines = [
        wait(TcpState::Established, TcpState::CloseWait, 5_000),
        wait(TcpState::CloseWait, TcpState::LastAck, 3_000),
    ];
    assert_eq!(lines.map(|line| all.change(&line)), [None; 2]);
    let over = all.change(&wait(TcpState::LastAck, TcpState::Close, 1_000));
    let over = over.unwrap();
    let admits = |spec: FilterSpec| Filter::new(&spec).admits_connection(&over);
    let stayed = |states: &[TcpState], least| {
        admits(FilterSpec {
            states: states.to_vec(),
            min_dwell_ns: least,
            ..FilterSpec::default()
        })
    };
    assert!(stayed(&[], None) && stayed(&[TcpState::CloseWait], None));
    assert!(!stayed(&[TcpState::FinWait1, TcpState::TimeWait], None));
    assert!(stayed(&[], Some(5_000)) && !stayed(&[], Some(5_001)));
    assert!(stayed(&[TcpState::CloseWait], Some(3_000)));
    assert!(!stayed(&[TcpState::CloseWait], Some(3_001)));
    let of = |pid| FilterSpec {
        pids: vec![pid],
        ..FilterSpec::default()
    };
    assert!(admits(of(42)) && !admits(of(43)));
}
