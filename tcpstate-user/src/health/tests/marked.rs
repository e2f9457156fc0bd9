//! What is marked, and from when.

use tcpstate_common::state::TcpState;

use super::{at, begun, change, in_state, line, names, process, reading};
use crate::{
    counters::{Absent, Counter, Gauge, Reading},
    health::{Census, Line, Name},
    track::{Cause, Change, Follows},
};

fn after(counters: &[(Counter, u64)]) -> Line {
    line(&mut begun(), reading(15, counters), false)
}

fn with_gauges(seconds: u64, gauges: &[(Gauge, u64)]) -> Reading {
    let mut reading = reading(seconds, &[]);
    for (gauge, value) in gauges {
        reading.set_gauge(*gauge, Ok(*value));
    }
    reading
}

#[test]
fn nothing_out_of_the_ordinary_is_no_mark() {
    let fine = [
        (Counter::ActiveOpens, 100),
        (Counter::PassiveOpens, 100),
        (Counter::AttemptFails, 2),
        (Counter::EstabResets, 9),
        (Counter::InSegs, 100_000),
        (Counter::InErrs, 99),
        (Counter::OutSegs, 10_000),
        (Counter::RetransSegs, 50),
    ];
    assert_eq!(names(&after(&fine)), []);
}

#[test]
fn retransmissions_are_marked_above_half_a_percent() {
    let line = after(&[(Counter::OutSegs, 10_000), (Counter::RetransSegs, 51)]);
    assert_eq!(names(&line), [Name::Retransmissions]);
    let said = "0.51 % of the segments were sent again (51 of 10000): packets are lost, or late";
    assert_eq!(line.marks[0].message, said);
    assert_eq!(line.marks[0].next, Some("tcpstate trace --connections"));
    // One of ten is ten percent, and chance.
    let few = after(&[(Counter::OutSegs, 10), (Counter::RetransSegs, 1)]);
    assert_eq!(names(&few), []);
}

#[test]
fn failed_attempts_are_marked_with_who_made_them() {
    let mut health = begun();
    for pid in [7, 7, 7, 9, 9, 11, 13, 15] {
        health.change(&Change {
            origin: Some(process(pid)),
            ..change(11, TcpState::SynSent, TcpState::Close, Some(Cause::Refused))
        });
    }
    let counters = [(Counter::ActiveOpens, 160), (Counter::AttemptFails, 8)];
    let line = line(&mut health, reading(15, &counters), false);
    assert_eq!(names(&line), [Name::AttemptsFailed]);
    let said =
        "8 attempts to connect failed (8 refused): curl[7] 3, curl[9] 2, curl[11] 1, others 2";
    assert_eq!(line.marks[0].message, said);
    let more = [(Counter::ActiveOpens, 161), (Counter::AttemptFails, 8)];
    assert_eq!(names(&after(&more)), []);
}

#[test]
fn connects_without_a_port_are_marked_at_once() {
    let mut health = begun();
    health.change(&change(
        11,
        TcpState::SynSent,
        TcpState::Close,
        Some(Cause::NoPort),
    ));
    let line = line(&mut health, reading(15, &[]), false);
    assert_eq!(names(&line), [Name::NoPort]);
    let said = "1 connect found no free port (EADDRNOTAVAIL): curl[1] 1";
    assert_eq!(line.marks[0].message, said);
    assert_eq!(line.marks[0].next, Some("tcpstate ports"));
}

#[test]
fn an_overflow_is_not_a_drop_besides() {
    let overflow = [(Counter::ListenOverflows, 3), (Counter::ListenDrops, 3)];
    assert_eq!(names(&after(&overflow)), [Name::ListenOverflow]);
    let more = [(Counter::ListenOverflows, 3), (Counter::ListenDrops, 4)];
    let line = after(&more);
    assert_eq!(names(&line), [Name::ListenOverflow, Name::ListenDrop]);
    let said = "listeners dropped 1 segment for another reason than a full accept queue";
    assert_eq!(line.marks[1].message, said);
}

#[test]
fn orphans_that_grow_in_three_intervals_one_after_the_other_are_marked() {
    let mut health = begun();
    let mut marked = |seconds, orphans| {
        let reading = with_gauges(seconds, &[(Gauge::Orphans, orphans)]);
        names(&line(&mut health, reading, false)) == [Name::Orphans]
    };
    assert!(!marked(11, 5));
    assert!(!marked(12, 9));
    assert!(!marked(13, 14));
    assert!(marked(14, 15));
    assert!(!marked(15, 15));
    assert!(!marked(16, 100));
}

#[test]
fn a_session_in_which_sockets_grew_says_so_at_its_end() {
    let mut health = begun();
    let follows = Follows::default();
    let mut last = |seconds, waiting, is_final| {
        let mut census = Census::new(follows);
        (0..waiting).for_each(|_| census.add(&in_state(TcpState::CloseWait)));
        health.read(reading(seconds, &[]));
        health.line((at(10), at(seconds)), census, is_final)
    };
    last(11, 2, false);
    last(12, 2, false);
    let line = last(13, 12, true);
    assert_eq!(names(&line), [Name::CloseWait]);
    assert_eq!(line.marks[0].next, Some("tcpstate leaks"));
}

#[test]
fn limits_are_marked_before_they_are_reached() {
    let near = |gauges: &[(Gauge, u64)]| {
        let mut health = begun();
        names(&line(&mut health, with_gauges(15, gauges), false))
    };
    let timewait = |now| near(&[(Gauge::TimeWait, now), (Gauge::MaxTimeWait, 1000)]);
    assert_eq!(timewait(899), []);
    assert_eq!(timewait(900), [Name::TimeWaitLimit]);
    let orphans = |now| near(&[(Gauge::Orphans, now), (Gauge::MaxOrphans, 1000)]);
    assert_eq!(orphans(499), []);
    assert_eq!(orphans(500), [Name::Orphans]);
    let memory = |now| near(&[(Gauge::MemoryPages, now), (Gauge::PressurePages, 1000)]);
    assert_eq!(memory(999), []);
    assert_eq!(memory(1000), [Name::MemoryPressure]);
    // No minisockets at all are allowed: that is somebody's wish.
    assert_eq!(near(&[(Gauge::TimeWait, 0), (Gauge::MaxTimeWait, 0)]), []);
}

#[test]
fn every_other_counter_of_what_should_not_happen_is_marked() {
    let cases = [
        (Counter::TimeWaitOverflow, 1, Name::TimeWaitLimit),
        (Counter::AbortOnMemory, 1, Name::OrphansReset),
        (Counter::MemoryPressures, 1, Name::MemoryPressure),
        (Counter::ReqQFullDrop, 1, Name::ListenDrop),
        (Counter::ReqQFullDoCookies, 1, Name::ListenDrop),
        (Counter::InErrs, 1, Name::BadSegments),
        (Counter::EstabResets, 10, Name::Resets),
    ];
    for (counter, count, name) in cases {
        let line = after(&[(counter, count)]);
        assert_eq!(names(&line), [name], "{counter:?}");
        assert!(line.marks[0].message.contains(&count.to_string()));
    }
}

#[test]
fn a_namespace_that_has_gone_is_marked_and_what_events_told_stays() {
    let mut health = begun();
    health.change(&change(11, TcpState::Close, TcpState::SynSent, None));
    let gone = Reading::absent(at(15), Absent::Gone);
    let line = line(&mut health, gone, true);
    assert_eq!(names(&line), [Name::NamespaceGone]);
    assert_eq!(line.count(Counter::InSegs), Err(Absent::Gone));
    assert_eq!(line.events.connects, 1);
}
