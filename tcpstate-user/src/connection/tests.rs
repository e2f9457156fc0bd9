use std::collections::BTreeMap;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Connection, Connections, End, Role, Told};
use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    track::{Call, Cause, Change, Closer, ConnId, Dwell, Process},
};

const CURL: Process = Process {
    pid: 42,
    comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
};

fn loopback(lport: u16, rport: u16) -> Tuple {
    let addr = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
    Tuple {
        laddr: addr,
        raddr: addr,
        lport,
        rport,
    }
}

/// The `number`-th connection leaves `old` for `new` at `at`.
fn change(number: u64, at: u64, old: TcpState, new: TcpState) -> Change {
    Change {
        at: KtimeNs(at),
        conn: ConnId {
            birth: KtimeNs(number),
            sk: SockAddr64(number << 6),
        },
        netns: 1,
        family: Family::Inet,
        tuple: loopback(40_000, 80),
        old,
        new,
        dwell: Dwell::Exact(at),
        kind: SocketKind::Full,
        origin: None,
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn born(number: u64) -> Change {
    change(number, number, TcpState::Close, TcpState::SynSent)
}

fn all(told: Told, max: usize) -> Connections {
    Connections::new(told, BTreeMap::new(), max)
}

fn closed() -> Option<Closer> {
    Some(Closer {
        process: CURL,
        call: Call::Close,
    })
}

#[test]
fn of_those_beyond_the_cap_the_end_alone_is_told_and_they_are_counted() {
    let mut all = all(Told::Closed, 1);
    assert_eq!(all.change(&born(1)), None);
    assert_eq!(all.change(&born(2)), None);
    assert_eq!(all.dropped(), 1);
    let over = all.change(&change(2, 9, TcpState::SynSent, TcpState::Close));
    let over = over.unwrap();
    assert_eq!(over.states.get(TcpState::SynSent), Some(Dwell::Exact(9)));
    let over = all.change(&change(1, 9, TcpState::SynSent, TcpState::Close));
    assert!(over.is_some());
    assert_eq!(all.change(&born(3)), None);
    assert_eq!(all.dropped(), 1);
}

#[test]
fn what_two_checks_in_a_row_miss_has_ended_unseen() {
    let mut all = all(Told::Closed, 8);
    let ended = |all: &mut Connections, now| {
        let mut over = Vec::new();
        all.end_missing(KtimeNs(now), &mut over);
        over
    };
    for number in 1..=3 {
        assert_eq!(all.change(&born(number)), None);
    }
    assert_eq!(ended(&mut all, 10), []);
    all.is_there(born(1).conn);
    assert_eq!(ended(&mut all, 20), []);
    assert!(all.has_missing());
    // A line says as much as a socket.
    let line = change(2, 25, TcpState::SynSent, TcpState::Established);
    assert_eq!(all.change(&line), None);
    all.is_there(born(1).conn);
    let over = ended(&mut all, 30);
    assert!(!all.has_missing());
    let [Connection { conn, end, at, .. }] = over[..] else {
        panic!("{over:?}");
    };
    assert_eq!((conn, end, at), (born(3).conn, End::Unseen, KtimeNs(30)));
}

#[test]
fn listeners_are_no_connections() {
    let mut all = all(Told::Closed, 8);
    let lines = [
        change(1, 1, TcpState::Close, TcpState::Listen),
        change(1, 2, TcpState::Listen, TcpState::Close),
    ];
    assert_eq!(lines.map(|line| all.change(&line)), [None; 2]);
}

#[test]
fn a_time_wait_that_nobody_waits_for_is_told_once() {
    let mut all = all(Told::Closed, 8);
    let over = all.change(&change(1, 5, TcpState::FinWait2, TcpState::TimeWait));
    assert_eq!(over.unwrap().into, TcpState::TimeWait);
    let expired = change(1, 9, TcpState::TimeWait, TcpState::Close);
    assert_eq!(all.change(&expired), None);
}

#[test]
fn a_time_wait_from_before_is_told_as_what_is_known_of_it() {
    let mut all = all(Told::Gone, 8);
    let expired = Change {
        dwell: Dwell::AtLeast(9),
        kind: SocketKind::Minisocket,
        cause: Some(Cause::Expired),
        ..change(1, 9, TcpState::TimeWait, TcpState::Close)
    };
    let over = all.change(&expired).unwrap();
    assert_eq!((over.end, over.role), (End::Fin, Role::None));
    assert_eq!(over.lifetime, Dwell::AtLeast(9));
    assert_eq!(over.gone, Some(Cause::Expired));
}

#[test]
fn a_closer_is_not_that_of_an_older_connection_with_the_same_ports() {
    let mut all = all(Told::Closed, 8);
    let fin = Change {
        closer: closed(),
        ..change(1, 1, TcpState::Established, TcpState::FinWait1)
    };
    assert_eq!(all.change(&fin), None);
    // Whose other end nobody saw; then the ports are taken again.
    let again = Change {
        tuple: loopback(40_000, 80),
        ..born(2)
    };
    assert_eq!(all.change(&again), None);
    let other = |old, new| Change {
        tuple: loopback(80, 40_000),
        ..change(3, 3, old, new)
    };
    let noticed = other(TcpState::Established, TcpState::CloseWait);
    assert_eq!(all.change(&noticed), None);
    let over = all.change(&other(TcpState::LastAck, TcpState::Close));
    assert_eq!(over.unwrap().closed_by, None);
}

#[test]
fn both_ends_of_a_loopback_connection_name_who_closed_first() {
    let mut all = all(Told::Closed, 8);
    let fin = Change {
        closer: closed(),
        ..change(1, 1, TcpState::Established, TcpState::FinWait1)
    };
    let other = |at, old, new| Change {
        tuple: loopback(80, 40_000),
        cause: Some(Cause::FinAcked),
        ..change(2, at, old, new)
    };
    let lines = [
        fin,
        other(2, TcpState::Established, TcpState::CloseWait),
        other(3, TcpState::CloseWait, TcpState::LastAck),
    ];
    assert_eq!(lines.map(|line| all.change(&line)), [None; 3]);
    let passive = all.change(&other(4, TcpState::LastAck, TcpState::Close));
    let passive = passive.unwrap();
    assert_eq!((passive.role, passive.end), (Role::Passive, End::Fin));
    assert_eq!(
        (passive.closed_by, passive.closer_is_peer),
        (closed(), true)
    );
    let active = all.change(&change(1, 5, TcpState::FinWait2, TcpState::TimeWait));
    let active = active.unwrap();
    assert_eq!((active.closed_by, active.closer_is_peer), (closed(), false));
}
