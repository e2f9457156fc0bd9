//! Rates, totals, and which interval something is counted in.

use super::{at, begun, change, line, nobody, process, reading};
use crate::{
    counters::{Absent, Counter, Reading},
    health::Health,
};
use tcpstate_common::state::TcpState;

#[test]
fn a_rate_is_what_was_counted_by_the_time_between_the_readings() {
    let mut health = begun();
    let one = line(&mut health, reading(14, &[(Counter::InSegs, 100)]), false);
    assert_eq!(one.count(Counter::InSegs), Ok(100));
    assert_eq!(one.per_second(Counter::InSegs), Some(25.0));
    let two = line(&mut health, reading(15, &[(Counter::InSegs, 103)]), false);
    assert_eq!(two.per_second(Counter::InSegs), Some(3.0));
    let last = line(&mut health, reading(20, &[(Counter::InSegs, 103)]), true);
    assert_eq!((last.from, last.to), (at(10), at(20)));
    assert_eq!(last.count(Counter::InSegs), Ok(103));
    assert_eq!(last.per_second(Counter::InSegs), Some(10.3));
}

#[test]
fn without_time_there_is_no_rate_and_without_segments_no_share() {
    let mut health = begun();
    let line = line(&mut health, reading(10, &[(Counter::InSegs, 1)]), false);
    assert_eq!(line.per_second(Counter::InSegs), None);
    assert_eq!(line.retransmitted(), None);
}

#[test]
fn a_counter_that_went_back_has_no_rate_until_the_next_reading_and_no_total() {
    let mut health = begun();
    let big = u64::from(u32::MAX);
    line(&mut health, reading(11, &[(Counter::OutSegs, big)]), false);
    let wrapped = line(&mut health, reading(12, &[(Counter::OutSegs, 5)]), false);
    assert_eq!(wrapped.count(Counter::OutSegs), Err(Absent::WentBack));
    assert_eq!(wrapped.per_second(Counter::OutSegs), None);
    assert_eq!(wrapped.retransmitted(), None);
    let next = line(&mut health, reading(13, &[(Counter::OutSegs, 9)]), false);
    assert_eq!(next.per_second(Counter::OutSegs), Some(4.0));
    // More than at the beginning: that alone would look like a count.
    let last = line(&mut health, reading(14, &[(Counter::OutSegs, 20)]), true);
    assert_eq!(last.count(Counter::OutSegs), Err(Absent::WentBack));
    assert_eq!(last.count(Counter::InSegs), Ok(0));
}

#[test]
fn one_reading_that_failed_costs_two_intervals_and_not_the_total() {
    let mut health = begun();
    line(&mut health, reading(11, &[(Counter::InSegs, 1)]), false);
    let failed = Reading::absent(at(12), Absent::Unreadable(5));
    let failed = line(&mut health, failed, false);
    assert_eq!(failed.count(Counter::InSegs), Err(Absent::Unreadable(5)));
    let after = line(&mut health, reading(13, &[(Counter::InSegs, 7)]), false);
    assert_eq!(after.count(Counter::InSegs), Err(Absent::Unreadable(5)));
    let last = line(&mut health, reading(14, &[(Counter::InSegs, 9)]), true);
    assert_eq!(last.count(Counter::InSegs), Ok(9));
}

#[test]
fn an_event_is_counted_by_its_own_time() {
    let mut health = begun();
    let connect = |seconds| change(seconds, TcpState::Close, TcpState::SynSent, None);
    // Before the session's first reading, though told after it.
    health.change(&connect(9));
    health.change(&connect(11));
    health.read(reading(12, &[]));
    // Told between the reading and the line: one before it, one after.
    health.change(&connect(12));
    health.change(&connect(13));
    let one = health.line((at(10), at(12)), nobody(), false);
    assert_eq!(one.events.connects, 2);
    // Told after the line that it belongs to.
    health.change(&connect(11));
    health.accepted(at(13), process(2));
    let two = line(&mut health, reading(14, &[]), false);
    assert_eq!((two.events.connects, two.events.accepted), (2, 1));
    health.read(reading(15, &[]));
    health.change(&connect(16));
    let last = health.line((at(10), at(15)), nobody(), true);
    assert_eq!((last.events.connects, last.events.accepted), (4, 1));
}

#[test]
fn a_report_that_is_put_off_ends_with_its_last_reading() {
    let mut health = begun();
    health.read(reading(12, &[]));
    health.change(&change(13, TcpState::Close, TcpState::SynSent, None));
    let line = line(&mut health, reading(14, &[]), true);
    assert_eq!((line.to, line.events.connects), (at(14), 1));
}

#[test]
fn a_recording_has_events_and_no_counters() {
    let mut health = Health::default();
    health.change(&change(3, TcpState::Close, TcpState::SynSent, None));
    let line = health.line((at(1), at(5)), nobody(), true);
    assert_eq!((line.from, line.to), (at(1), at(5)));
    assert_eq!(line.events.connects, 1);
    for counter in Counter::ALL {
        assert_eq!(line.count(counter), Err(Absent::Replay));
        assert_eq!(line.per_second(counter), None);
    }
    assert_eq!(line.marks, []);
}
