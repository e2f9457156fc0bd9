use super::{SECOND, World, limits};
use crate::{
    ports::{Outlook, TIME_WAIT_NS, Verdict},
    track::Cause,
};

const MS: u64 = 1_000_000;

/// Connects at a steady rate from `begin` to `end`, one port after the other;
/// those that are a minute old go.
fn load(world: &mut World, begin: u64, end: u64, each: u64) {
    let mut at = begin;
    while at < end {
        let number = at / each;
        let port = |number: u64| u16::try_from(10_000 + number % 2_000).unwrap();
        let old = at.checked_sub(TIME_WAIT_NS).filter(|old| *old >= SECOND);
        if let Some(old) = old {
            world.end(at, port(old / each), Cause::Expired, TIME_WAIT_NS);
        }
        world.wait(at, port(number));
        at += each;
    }
}

fn seconds(outlook: Outlook) -> f64 {
    let Outlook::In(ns) = outlook else {
        panic!("{outlook:?}")
    };
    f64::from(u32::try_from(ns / MS).unwrap()) / 1e3
}

#[test]
fn a_load_that_begins_between_two_reports_is_followed_from_its_first_connect() {
    let mut world = World::new(limits(10_000, 11_999));
    world.report(SECOND);
    // 2000 ports at 100 a second, from 3.5 s on: none left at 23.5 s.
    load(&mut world, 3_500 * MS, 6_000 * MS, 10 * MS);
    let row = world.row(6 * SECOND);
    assert_eq!((row.used, row.left.clone()), (250, Ok(1750)));
    assert!((seconds(row.outlook) - 17.5).abs() < 0.2, "{row:#?}");
    assert_eq!(row.verdict, Verdict::RunningOut);
}

#[test]
fn a_rate_that_the_ports_can_sustain_never_runs_out_of_them() {
    let mut world = World::new(limits(10_000, 11_999));
    // 2000 ports last for 33.3 a second: 25 a second level off at 1500.
    load(&mut world, SECOND, 20 * SECOND, 40 * MS);
    let row = world.row(20 * SECOND);
    assert_eq!(row.outlook, Outlook::NotAtThisRate);
    let sustainable = row.sustainable.unwrap();
    assert!((sustainable - 33.3).abs() < 0.1, "{sustainable}");
    assert_eq!(
        (row.time_wait.ns, row.time_wait.measured),
        (TIME_WAIT_NS, 0)
    );
}

#[test]
fn when_as_many_end_as_begin_the_level_stays() {
    let mut world = World::new(limits(10_000, 11_999));
    for second in 1..100 {
        load(&mut world, second * SECOND, (second + 1) * SECOND, 40 * MS);
        world.report((second + 1) * SECOND);
    }
    let row = world.row(100 * SECOND);
    assert_eq!((row.used, row.outlook), (1500, Outlook::NotAtThisRate));
    let rates = row.rates.unwrap();
    assert!((rates.opened - 25.0).abs() < 0.1 && (rates.freed - 25.0).abs() < 0.1);
    assert_eq!(row.time_wait.measured, 975);
    assert_eq!(row.ended, vec![("expired", 975)]);
}

#[test]
fn what_is_never_closed_runs_out_however_slowly_it_grows() {
    use super::{change, open, tuple};
    use tcpstate_common::state::TcpState::{Close, CloseWait, SynSent};
    let mut world = World::new(limits(10_000, 10_999));
    for number in 0..100_u16 {
        let at = SECOND + u64::from(number) * 200 * MS;
        let tuple = tuple(10_000 + number);
        world.ports.change(&change(at, tuple, Close, SynSent));
        world.open.push(open(tuple, CloseWait));
        if number % 5 == 4 {
            world.report(at + MS);
        }
    }
    // 900 left at five a second: far below the 16.7 that TIME_WAIT would allow.
    let row = world.row(21 * SECOND);
    assert!((seconds(row.outlook) - 180.0).abs() < 4.0, "{row:#?}");
    assert_eq!(row.advice.first().unwrap().name(), "close_sockets");
}

#[test]
fn a_port_that_is_given_back_at_once_is_not_used_up() {
    use super::{change, tuple};
    use tcpstate_common::state::TcpState::{Close, SynSent};
    let mut world = World::new(limits(10_000, 10_099));
    for number in 0..90_u16 {
        let at = SECOND + u64::from(number) * 100 * MS;
        let tuple = tuple(10_000 + number);
        world.ports.change(&change(at, tuple, Close, SynSent));
        world.ports.change(&change(at, tuple, SynSent, Close));
    }
    world
        .open
        .push(super::open(tuple(10_099), super::Established));
    let row = world.row(10 * SECOND);
    assert_eq!(row.outlook, Outlook::NotAtThisRate);
    assert_eq!(row.verdict, Verdict::Fine);
}

#[test]
fn too_little_time_gives_no_rate_and_nothing_left_gives_no_time() {
    let mut world = World::new(limits(10_000, 10_009));
    (0..4).for_each(|number| world.wait(SECOND, 10_000 + number));
    let row = world.row(SECOND + 50 * MS);
    assert_eq!(
        (row.outlook, row.verdict),
        (Outlook::Unknown, Verdict::TooEarly)
    );
    assert_eq!(row.rates, None);
    (4..10).for_each(|number| world.wait(SECOND + 60 * MS, 10_000 + number));
    let row = world.row(SECOND + 150 * MS);
    assert_eq!((row.left.clone(), row.outlook), (Ok(0), Outlook::Now));
}

#[test]
fn the_clock_and_the_counts_may_be_at_their_ends() {
    let mut world = World::new(limits(1, u16::MAX));
    world.wait(u64::MAX - 10, u16::MAX);
    world.wait(u64::MAX, 1);
    let row = world.row(u64::MAX);
    assert_eq!((row.used, row.left), (2, Ok(65_533)));
    // Records of several CPUs: the report may be older than the last of them.
    world.row(0);
}
