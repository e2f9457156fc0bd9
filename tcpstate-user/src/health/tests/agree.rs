//! What is counted as the kernel's counters count it.

use tcpstate_common::state::TcpState::{
    Close, CloseWait, Established, FinWait1, Listen, SynRecv, SynSent, TimeWait,
};

use super::{at, begun, change, in_state, line, process, reading};
use crate::{
    decode::{SockAddr64, SocketKind},
    health::{Census, Failure, Health, Line, Tally},
    track::{Cause, Change, ConnId, Follows},
};

fn counted(changes: &[Change]) -> Tally {
    let mut health = begun();
    changes.iter().for_each(|change| health.change(change));
    line(&mut health, reading(20, &[]), true).events
}

#[test]
fn a_connect_without_a_port_has_sent_no_syn() {
    let tally = counted(&[
        change(11, Close, SynSent, None),
        change(11, SynSent, Established, None),
        change(12, Close, SynSent, None),
        change(12, SynSent, Close, Some(Cause::NoPort)),
    ]);
    assert_eq!((tally.connects, tally.no_port, tally.active()), (2, 1, 1));
    assert_eq!(tally.failed(), 0);
}

#[test]
fn an_attempt_that_the_application_gives_up_has_not_failed() {
    let tally = counted(&[
        change(11, SynSent, Close, Some(Cause::Close)),
        change(11, SynSent, Close, None),
    ]);
    assert_eq!((tally.given_up, tally.failed()), (2, 0));
}

#[test]
fn every_other_end_of_an_attempt_is_a_failure_by_its_cause() {
    let tally = counted(&[
        change(11, SynSent, Close, Some(Cause::Refused)),
        change(11, SynSent, Close, Some(Cause::Refused)),
        change(11, SynSent, Close, Some(Cause::Timeout)),
        change(11, SynSent, Close, Some(Cause::Unreachable)),
        change(11, SynSent, Close, Some(Cause::Killed)),
    ]);
    let by = Failure::ALL.map(|failure| tally.failures(failure));
    assert_eq!((by, tally.failed()), ([2, 1, 1, 1, 0], 5));
}

#[test]
fn a_child_is_counted_when_it_leaves_syn_recv_and_not_when_connects_meet() {
    let meeting = |old, new| Change {
        conn: ConnId {
            birth: at(1),
            sk: SockAddr64(7),
        },
        ..change(12, old, new, None)
    };
    let tally = counted(&[
        // As old as its request: from before the session.
        change(5, Listen, SynRecv, None),
        change(11, SynRecv, Established, None),
        change(11, SynRecv, CloseWait, None),
        meeting(Close, SynSent),
        meeting(SynSent, SynRecv),
        meeting(SynRecv, Established),
    ]);
    assert_eq!((tally.passive, tally.connects), (2, 1));
}

#[test]
fn a_request_fails_by_a_reset_and_a_child_by_any_end() {
    let request = |cause| Change {
        kind: SocketKind::Request,
        ..change(11, SynRecv, Close, cause)
    };
    let tally = counted(&[
        request(Some(Cause::ResetReceived)),
        request(Some(Cause::Timeout)),
        request(None),
        change(11, SynRecv, Close, None),
    ]);
    assert_eq!((tally.passive, tally.failures(Failure::Handshake)), (1, 2));
}

#[test]
fn whoever_resets_an_established_connection_it_is_reset() {
    let unseen = Some(Cause::Unseen);
    let mini = Change {
        kind: SocketKind::Minisocket,
        ..change(11, TimeWait, Close, Some(Cause::ResetReceived))
    };
    let tally = counted(&[
        change(11, Established, Close, Some(Cause::ResetReceived)),
        change(11, Established, Close, Some(Cause::ResetSent)),
        change(11, CloseWait, Close, Some(Cause::Timeout)),
        change(11, FinWait1, Close, Some(Cause::ResetReceived)),
        change(11, Established, FinWait1, Some(Cause::Close)),
        // Nobody saw it: the kernel may have counted it or not.
        change(11, Established, Close, unseen),
        mini,
    ]);
    assert_eq!(tally.resets, 3);
}

fn busy(processes: u32) -> Line {
    let mut health = begun();
    for pid in 1..=processes {
        // The later, the busier.
        for _ in 0..=pid.min(50) {
            health.change(&Change {
                origin: Some(process(pid)),
                ..change(11, Close, SynSent, None)
            });
        }
    }
    health.change(&Change {
        origin: None,
        ..change(11, Close, SynSent, None)
    });
    line(&mut health, reading(12, &[]), false)
}

#[test]
fn the_busiest_processes_are_named_and_the_others_are_one() {
    let few = busy(3);
    let pids: Vec<u32> = few.processes.iter().map(|(who, _)| who.pid).collect();
    assert_eq!((pids, few.others), (vec![3, 2, 1], None));
    let many = busy(12);
    let others = many.others.unwrap();
    assert_eq!((many.processes.len(), others.processes), (10, 2));
    assert_eq!(others.tally.connects, 2 + 3);
}

#[test]
fn however_many_processes_there_are_nothing_is_forgotten_and_memory_is_bounded() {
    let line = busy(5000);
    let others = line.others.unwrap();
    assert_eq!(others.processes, 1024 - 10);
    let named = line.processes.iter().map(|(_, did)| did.connects);
    let all = named.sum::<u64>() + others.tally.connects;
    // One connect is of nobody known.
    assert_eq!(all + 1, line.events.connects);
}

#[test]
fn sockets_that_cannot_be_counted_are_not_known() {
    let follows = |minisockets| Follows {
        begins: minisockets,
        ends: minisockets,
        requests: true,
        looks: true,
    };
    let mut with = Census::new(follows(true));
    with.add(&in_state(TimeWait));
    with.add(&in_state(Established));
    with.add(&in_state(Established));
    assert_eq!(with.of(TimeWait), Some(1));
    assert_eq!(with.of(Established), Some(2));
    assert_eq!(with.of(Listen), Some(0));
    assert_eq!(with.of(SynRecv), None);
    assert_eq!(Census::new(follows(false)).of(TimeWait), None);
}

#[test]
fn nothing_at_all_is_a_line_too() {
    let line = Health::default().line((at(0), at(0)), Census::default(), true);
    assert_eq!((line.events, line.marks), (Tally::default(), vec![]));
}
