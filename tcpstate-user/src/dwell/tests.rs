mod quantiles;
mod story;

use std::net::Ipv6Addr;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{By, Dwells, MAX_GROUPS, Report, Row, Unmeasured};
use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    track::{Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

const EVERYTHING: Follows = Follows {
    looks: false,
    begins: true,
    ends: true,
    requests: true,
};

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

fn process(pid: u32) -> Option<Process> {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"name");
    Some(Process { pid, comm })
}

fn change(old: TcpState, dwell: Dwell) -> Change {
    Change {
        at: KtimeNs(1),
        conn: ConnId {
            birth: KtimeNs(0),
            sk: SockAddr64(0),
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
        new: TcpState::Close,
        dwell,
        kind: SocketKind::Full,
        origin: process(1),
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

/// It stays as `change` says.
fn open(change: &Change) -> Open {
    Open {
        conn: change.conn,
        netns: change.netns,
        family: change.family,
        tuple: change.tuple,
        state: change.old,
        so_far: change.dwell,
        kind: change.kind,
        origin: change.origin,
        opened: Opened::Unknown,
        was_reset: false,
    }
}

fn report(by: &[By], changes: &[Change], still: &[Change]) -> Report {
    let mut dwells = Dwells::new(by, &[], EVERYTHING);
    changes.iter().for_each(|change| dwells.change(change));
    let mut census = dwells.census();
    still.iter().for_each(|change| census.add(&open(change)));
    census.report()
}

fn row(report: &Report) -> Row {
    match report.rows.as_slice() {
        [row] => row.clone(),
        rows => panic!("{rows:#?}"),
    }
}

#[test]
fn every_stay_is_counted_in_one_place() {
    let of = |dwell| change(TcpState::Established, dwell);
    let over = [
        of(Dwell::Exact(4)),
        of(Dwell::Exact(1)),
        of(Dwell::AtLeast(1_000)),
        of(Dwell::Unknown),
    ];
    let row = row(&report(&[], &over, &[of(Dwell::Exact(50))]));
    assert_eq!((row.count, row.sum_ns), (2, 5));
    assert_eq!((row.at_least, row.unknown, row.open), (1, 1, 1));
    let exact = row.exact.unwrap();
    assert_eq!((exact.min_ns, exact.max_ns), (1, 4));
    assert_eq!((exact.p50_ns, exact.p90_ns, exact.p99_ns), (1, 4, 4));
    assert_eq!(row.oldest, Some(Dwell::Exact(50)));
    assert_eq!(row.decades.iter().sum::<u64>(), row.count);
}

#[test]
fn nothing_is_said_of_lengths_that_nobody_saw() {
    let of = |dwell| change(TcpState::SynRecv, dwell);
    let row = row(&report(
        &[],
        &[of(Dwell::AtLeast(9)), of(Dwell::Unknown)],
        &[],
    ));
    assert_eq!((row.count, row.sum_ns, row.exact), (0, 0, None));
    assert_eq!((row.oldest, row.open), (None, 0));
}

#[test]
fn a_birth_leaves_no_state() {
    let births = [
        change(TcpState::Close, Dwell::Unknown),
        change(TcpState::Close, Dwell::Exact(5)),
        Change {
            new: TcpState::SynRecv,
            ..change(TcpState::Listen, Dwell::Unknown)
        },
    ];
    let over = change(TcpState::Close, Dwell::Exact(5));
    assert_eq!(report(&[], &births, &[over]).rows, []);
    // A listener that is closed has listened.
    let closed = change(TcpState::Listen, Dwell::Unknown);
    assert_eq!(row(&report(&[], &[closed], &[])).unknown, 1);
}

#[test]
fn the_oldest_is_a_lower_bound_as_soon_as_one_of_them_may_be_older() {
    let of = |dwell| change(TcpState::CloseWait, dwell);
    let oldest = |still: &[Dwell]| {
        let still: Vec<_> = still.iter().map(|dwell| of(*dwell)).collect();
        row(&report(&[], &[], &still)).oldest
    };
    let (exact, bound) = (Dwell::Exact(50), Dwell::AtLeast(3));
    assert_eq!(oldest(&[exact, Dwell::Exact(2)]), Some(exact));
    assert_eq!(oldest(&[exact, bound]), Some(Dwell::AtLeast(50)));
    assert_eq!(oldest(&[exact, Dwell::Unknown]), Some(Dwell::AtLeast(50)));
    assert_eq!(oldest(&[Dwell::Unknown]), Some(Dwell::Unknown));
}

#[test]
fn rows_are_in_the_order_of_life_and_then_of_the_time_spent() {
    let of = |state, lport, dwell| {
        let mut change = change(state, dwell);
        change.tuple.lport = lport;
        change
    };
    let over = [
        of(TcpState::LastAck, 1, Dwell::Exact(9)),
        of(TcpState::TimeWait, 1, Dwell::Exact(60)),
        of(TcpState::Established, 1, Dwell::Exact(1)),
        of(TcpState::Established, 2, Dwell::AtLeast(5)),
        of(TcpState::CloseWait, 1, Dwell::Exact(9)),
    ];
    let still = [of(TcpState::Established, 3, Dwell::Exact(7))];
    let report = report(&[By::Lport, By::State], &over, &still);
    let order: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.key.state, row.key.lport))
        .collect();
    assert_eq!(
        order,
        [
            (TcpState::Established, Some(3)),
            (TcpState::Established, Some(2)),
            (TcpState::Established, Some(1)),
            (TcpState::TimeWait, Some(1)),
            (TcpState::CloseWait, Some(1)),
            (TcpState::LastAck, Some(1)),
        ]
    );
}

#[test]
fn groups_differ_by_what_was_asked_for_and_by_nothing_else() {
    let first = change(TcpState::Established, Dwell::Exact(1));
    let mut second = Change {
        netns: 8,
        origin: process(2),
        ..first
    };
    second.tuple = Tuple {
        lport: 81,
        rport: 40_001,
        raddr: octets("::ffff:192.0.2.10"),
        ..first.tuple
    };
    let groups = |by: &[By]| report(by, &[first, second], &[first, second]).rows.len();
    assert_eq!(groups(&[]), 1);
    assert_eq!(groups(&[By::State]), 1);
    for by in [By::Lport, By::Rport, By::Process, By::Peer, By::Netns] {
        assert_eq!(groups(&[by]), 2, "{by:?}");
        assert_eq!(groups(&[by, By::State, by]), 2, "{by:?}");
    }
    let nobody = Change {
        netns: 0,
        origin: None,
        ..first
    };
    let by = [By::Process, By::Netns, By::Peer];
    let key = row(&report(&by, &[nobody], &[])).key;
    assert_eq!((key.process, key.netns, key.lport), (None, None, None));
    assert!(key.peer.is_some() && !key.is_rest);
}

#[test]
fn only_the_states_that_were_asked_for_are_counted() {
    let mut dwells = Dwells::new(&[], &[TcpState::CloseWait], EVERYTHING);
    for state in TcpState::ALL {
        dwells.change(&change(state, Dwell::Exact(1)));
    }
    let mut census = dwells.census();
    for state in TcpState::ALL {
        census.add(&open(&change(state, Dwell::Exact(1))));
    }
    let row = row(&census.report());
    assert_eq!(
        (row.key.state, row.count, row.open),
        (TcpState::CloseWait, 1, 1)
    );
}

/// The cap, from both sides: by what is over, and by what is open.
#[test]
fn beyond_the_cap_everything_is_counted_in_the_rest_of_its_state() {
    let of = |number: usize, state| {
        let mut change = change(state, Dwell::Exact(1));
        change.tuple.lport = u16::try_from(number).unwrap();
        change
    };
    let states = [TcpState::Established, TcpState::TimeWait];
    let some = |count: usize| -> Vec<_> {
        let numbers = 1..=count;
        numbers
            .flat_map(|number| states.map(|state| of(number, state)))
            .collect()
    };
    for (over, still) in [(700, 100), (100, 700), (600, 600), (2_000, 2_000)] {
        let report = report(&[By::Lport], &some(over), &some(still));
        let named = report.rows.iter().filter(|row| !row.key.is_rest).count();
        assert_eq!(named, MAX_GROUPS, "{over} {still}");
        for state in states {
            let rows = || report.rows.iter().filter(|row| row.key.state == state);
            let sum = |number: fn(&Row) -> u64| rows().map(number).sum::<u64>();
            assert_eq!(sum(|row| row.count), over as u64);
            assert_eq!(sum(|row| row.open), still as u64);
            // The last of its state, if there is one.
            assert!(rows().rev().skip(1).all(|row| !row.key.is_rest));
        }
    }
}

#[test]
fn a_session_that_does_not_follow_minisockets_says_what_is_missing() {
    let missing = |follows, states: &[TcpState]| {
        let report = Dwells::new(&[], states, follows).census().report();
        report.unmeasured
    };
    let both = [
        (TcpState::FinWait2, Unmeasured::AfterClose),
        (TcpState::TimeWait, Unmeasured::All),
    ];
    let begins = Follows {
        looks: true,
        begins: true,
        ends: false,
        requests: true,
    };
    assert_eq!(missing(EVERYTHING, &[]), []);
    assert_eq!(missing(Follows::default(), &[]), both);
    assert_eq!(missing(begins, &[]), both);
    assert_eq!(missing(begins, &[TcpState::TimeWait]), both[1..]);
    assert_eq!(missing(begins, &[TcpState::SynSent]), []);
}
