use tcpstate_common::state::TcpState::{
    Close, CloseWait, Established, FinWait2, Listen, SynRecv, TimeWait,
};

use super::{SECOND, World, change, limits, listener, listening, octets, open, process, tuple};
use crate::{
    decode::SocketKind,
    ports::{Asked, Counters, MAX_SPACES, Outlook, Verdict},
    track::{Cause, Dwell, Open, Opened},
};

#[test]
fn reserved_bound_and_listening_ports_are_not_for_connect_and_count_once() {
    let mut world = World::new(limits(100, 119));
    world.limits().reserved = Ok(vec![(50, 60), (118, 130), (103, 103)]);
    world.limits().bound = Ok(vec![listening(104, 0, 10), listening(103, 0, 10)]);
    // Given by bind(), and by connect().
    world.bound_before(1, 105);
    world.open.push(open(tuple(105), Established));
    world.open.push(open(tuple(106), Established));
    let row = world.row(SECOND);
    let room = row.room.unwrap();
    assert_eq!(
        (room.range, room.reserved, room.bound, room.usable),
        (20, 3, 2, 15)
    );
    assert_eq!((row.used, row.left, row.sockets), (1, Ok(14), 2));
}

#[test]
fn a_port_is_bound_until_its_last_socket_is_gone_or_connect_has_chosen_it() {
    let mut world = World::new(limits(100, 109));
    world.bound_before(1, 105);
    world.open.push(open(tuple(105), TimeWait));
    assert_eq!(world.row(SECOND).left, Ok(9));
    world.open.clear();
    world.open.push(open(tuple(101), Established));
    assert_eq!(world.row(2 * SECOND).left, Ok(9), "nobody has 105 any more");
    // Its own change does not take the mark away, that of another does.
    world.bound_before(3 * SECOND, 106);
    world.open.push(open(tuple(106), Established));
    let opened = |at| change(at, tuple(106), Close, super::SynSent);
    world.ports.change(&opened(3 * SECOND));
    assert_eq!(world.row(4 * SECOND).used, 1);
    world.ports.change(&opened(5 * SECOND));
    assert_eq!(world.row(6 * SECOND).used, 2);
}

#[test]
fn nothing_to_choose_from_is_exhausted_and_divides_by_nothing() {
    let mut world = World::new(limits(100, 101));
    world.limits().reserved = Ok(vec![(1, u16::MAX)]);
    world.open.push(open(tuple(101), Established));
    let row = world.row(SECOND);
    assert_eq!((row.left, row.outlook), (Ok(0), Outlook::Now));
    assert_eq!(
        (row.verdict, row.sustainable),
        (Verdict::Exhausted, Some(0.0))
    );
    // The wrong way round there is none either.
    world.limits().range = Ok((101, 100));
    world.limits().reserved = Ok(Vec::new());
    assert_eq!(world.row(SECOND).left, Ok(0));
}

#[test]
fn a_limit_that_is_missing_takes_with_it_what_needs_it_and_says_why() {
    let mut world = World::new(limits(100, 109));
    world.limits().range = Err("there is no range".into());
    world.open.push(open(tuple(101), Established));
    let row = world.row(SECOND);
    assert_eq!(row.left, Err("there is no range".into()));
    assert_eq!((row.used, row.verdict), (1, Verdict::Unknown));
    world.reading.namespaces.clear();
    assert_eq!(world.row(SECOND).left, Err("it was not found".into()));
    let mut survey = world.ports.survey(None);
    world.open.iter().for_each(|it| survey.look(it));
    let mut census = survey.census();
    world.open.iter().for_each(|it| census.add(it));
    let report = census.report(crate::decode::KtimeNs(SECOND));
    assert_eq!(report.rows[0].left, Err("no limits were read".into()));
}

#[test]
fn time_wait_is_left_over_for_connect_as_tcp_tw_reuse_says() {
    let waiting = |world: &mut World, loopback: bool| {
        for (number, so_far) in [(0, Dwell::Exact(1)), (1, Dwell::AtLeast(2 * SECOND))] {
            let mut it = open(tuple(100 + number), TimeWait);
            it.so_far = so_far;
            if loopback {
                it.tuple.raddr = octets("127.0.0.1");
            }
            world.open.push(it);
        }
        // FIN_WAIT2 is never taken over.
        let mut it = open(world.open[0].tuple, FinWait2);
        (it.kind, it.tuple.lport) = (SocketKind::Minisocket, 102);
        it.so_far = Dwell::Exact(9 * SECOND);
        world.open.push(it);
    };
    for (mode, loopback, stamps, left) in [
        (0, true, 1, 7),
        (1, false, 1, 8),
        (2, false, 1, 7),
        (2, true, 1, 8),
        (1, true, 0, 7),
    ] {
        let mut world = World::new(limits(100, 109));
        world.limits().tw_reuse = Ok(mode);
        world.limits().timestamps = Ok(stamps);
        waiting(&mut world, loopback);
        let row = world.row(SECOND);
        assert_eq!(row.left, Ok(left), "{mode} {loopback} {stamps}");
        assert_eq!((row.used, row.fin_wait2), (3, 1));
    }
    let mut world = World::new(limits(100, 109));
    world.limits().tw_reuse = Ok(1);
    world.limits().tw_reuse_delay_ms = Ok(3_000);
    waiting(&mut world, false);
    let row = world.row(SECOND);
    assert_eq!((row.left, row.reuse_after_ns), (Ok(7), Some(3 * SECOND)));
    // Ten ports, each free after three seconds.
    assert!((row.sustainable.unwrap() - 3.33).abs() < 0.01);
}

#[test]
fn a_connection_that_was_accepted_is_its_listener_s_to_the_end() {
    let mut world = World::new(limits(8000, 8099));
    world.limits().bound = Ok(vec![listening(8080, 0, 10)]);
    world.open.push(listener(8080));
    world.ports.change(&change(1, tuple(8080), Listen, SynRecv));
    for state in [Established, TimeWait, TimeWait] {
        let it = open(tuple(8080), state);
        world.open.push(Open {
            opened: Opened::Unknown,
            ..it
        });
    }
    let report = world.report(SECOND);
    assert!(report.rows.is_empty());
    let server = report.servers[0];
    assert_eq!((server.service.port, server.sockets), (8080, 3));
    // When the listener has gone, its connections are still not clients.
    world.limits().bound = Ok(Vec::new());
    world.open.remove(0);
    let report = world.report(2 * SECOND);
    assert!(report.rows.is_empty() && report.servers[0].sockets == 3);
    // When they have, too, the port is for connect() again.
    world.open = vec![open(tuple(8080), TimeWait)];
    world.open[0].tuple.lport = 8081;
    world.report(3 * SECOND);
    world.open[0].tuple.lport = 8080;
    assert_eq!(world.report(4 * SECOND).rows.len(), 1);
}

#[test]
fn connects_without_a_port_are_counted_by_process() {
    let mut world = World::new(limits(100, 100));
    world.wait(SECOND, 100);
    for (count, pid) in [(3, 5), (2, 6)] {
        for _ in 0..count {
            world.fail(2 * SECOND, process(pid, b"shop"));
        }
    }
    world.fail(2 * SECOND, None);
    let row = world.row(3 * SECOND);
    let failed: Vec<_> = row
        .makers
        .iter()
        .map(|it| (it.pid, it.held.failed))
        .collect();
    assert_eq!(
        failed,
        [(Some(5), 3), (Some(6), 2), (Some(1), 0), (None, 1)]
    );
    assert_eq!((row.failed, row.verdict), (6, Verdict::Exhausted));
    // The socket that never had a port is not one that gave it back.
    assert_eq!(row.opened, 1);
    // Long ago is not now, though it stays in the count.
    world.open.clear();
    let row = world.row(60 * SECOND);
    assert_eq!((row.failed, row.failed_lately, row.left), (6, false, Ok(1)));
}

#[test]
fn a_connect_whose_port_is_told_late_is_counted_once_and_in_time() {
    let mut world = World::new(limits(100, 109));
    let sent = super::SynSent;
    world.ports.change(&change(SECOND, tuple(0), Close, sent));
    world
        .ports
        .change(&change(SECOND, tuple(100), sent, Established));
    world
        .ports
        .change(&change(SECOND, tuple(100), Established, CloseWait));
    world.open.push(open(tuple(100), CloseWait));
    assert_eq!(world.row(2 * SECOND).opened, 1);
    // One that fails is none.
    world
        .ports
        .change(&change(3 * SECOND, tuple(0), Close, sent));
    world.fail(3 * SECOND, None);
    let row = world.row(4 * SECOND);
    assert_eq!((row.opened, row.failed), (1, 1));
    assert!(world.ports.unborn.is_empty());
}

#[test]
fn a_space_in_which_nothing_has_happened_is_not_used_up() {
    let mut world = World::new(limits(100, 109));
    world.open.push(open(tuple(100), Established));
    assert_eq!(world.row(SECOND).verdict, Verdict::TooEarly);
    let row = world.row(2 * SECOND);
    assert_eq!(
        (row.outlook, row.verdict),
        (Outlook::NotAtThisRate, Verdict::Fine)
    );
    assert_eq!(row.rates.unwrap().opened.to_bits(), 0);
}

#[test]
fn many_processes_of_one_name_are_one_row() {
    let mut world = World::new(limits(100, 999));
    for pid in 0..50_u32 {
        let mut it = open(tuple(100 + u16::try_from(pid).unwrap()), TimeWait);
        it.origin = process(pid, b"curl");
        world.open.push(it);
    }
    let row = world.row(SECOND);
    assert_eq!(row.makers.len(), 1);
    assert_eq!((row.makers[0].pid, row.makers[0].processes), (None, 50));
    assert_eq!(row.makers[0].held.time_wait, 50);
}

#[test]
fn of_thousands_of_spaces_the_first_are_told_and_the_rest_is_summed_and_bounded() {
    let mut world = World::new(limits(100, 999));
    let spaces = u32::try_from(MAX_SPACES).unwrap() + 100;
    for number in 0..spaces {
        let mut tuple = tuple(100);
        tuple.raddr[12..].copy_from_slice(&number.to_be_bytes());
        world
            .ports
            .change(&change(SECOND, tuple, Close, super::SynSent));
        world.open.push(open(tuple, CloseWait));
    }
    let report = world.report(2 * SECOND);
    assert_eq!(report.rows.len(), 10);
    assert_eq!(report.rest.count, u64::from(spaces) - 10);
    assert_eq!(report.rest.sockets, u64::from(spaces) - 10);
    assert_eq!(
        (world.ports.accounts.len(), report.unaccounted),
        (MAX_SPACES, 100)
    );
    // What is idle makes room.
    world.report(60 * SECOND);
    assert!(world.ports.accounts.is_empty());
}

#[test]
fn only_spaces_of_the_processes_that_were_asked_for_are_shown_and_all_are_counted() {
    let asked = Asked {
        pids: vec![1],
        top: 10,
        ..Asked::default()
    };
    let mut world = World::asked(limits(100, 109), asked);
    for (port, pid) in [(100, 1), (101, 2)] {
        world.open.push(Open {
            origin: process(pid, b"any"),
            ..open(tuple(port), Established)
        });
    }
    let mut other = open(tuple(100), Established);
    other.tuple.rport = 81;
    other.origin = process(2, b"any");
    world.open.push(other);
    let row = world.row(SECOND);
    assert_eq!((row.space.rport, row.used, row.left), (80, 2, Ok(8)));
}

#[test]
fn queues_of_a_shared_port_are_summed_and_one_full_one_is_enough() {
    let mut world = World::new(limits(100, 109));
    world.limits().bound = Ok(vec![
        listening(80, 11, 10),
        listening(80, 0, 10),
        listening(81, 9, 10),
    ]);
    world.open = vec![listener(81), listener(80), listener(80), listener(82)];
    let report = world.report(SECOND);
    let told: Vec<_> = report
        .listeners
        .iter()
        .map(|it| {
            (
                it.port,
                it.sockets,
                it.is_full,
                it.queue.clone().ok().map(|it| it.waiting),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (80, 2, true, Some(11)),
            (81, 1, false, Some(9)),
            (82, 1, false, None)
        ]
    );
    let queue = report.listeners[0].queue.clone().unwrap();
    assert_eq!((queue.limit, queue.drops), (20, Some(6)));
}

#[test]
fn counters_are_told_since_the_beginning_and_never_backwards() {
    let mut world = World::new(limits(100, 109));
    world.open.push(open(tuple(100), Established));
    let counted = |listen_overflows| {
        Ok(Counters {
            listen_overflows,
            ..Counters::default()
        })
    };
    world.limits().counters = counted(40);
    world.report(SECOND);
    world.limits().counters = counted(42);
    let grown = world.report(2 * SECOND).namespaces[0].grown.clone();
    assert_eq!(grown, counted(2));
    world.limits().counters = counted(1);
    let grown = world.report(3 * SECOND).namespaces[0].grown.clone();
    assert_eq!(grown, Err("the counters went back".into()));
}

#[test]
fn how_minisockets_ended_is_told_and_only_whole_times_are_measured() {
    let mut world = World::new(limits(100, 199));
    for (port, cause, after) in [
        (100, Cause::Expired, 61 * SECOND),
        (101, Cause::Expired, 62 * SECOND),
        (102, Cause::ReusedByConnect, 2 * SECOND),
    ] {
        world.wait(SECOND, port);
        world.end(70 * SECOND, port, cause, after);
    }
    world.wait(70 * SECOND, 110);
    let row = world.row(71 * SECOND);
    assert_eq!(
        (row.time_wait.ns, row.time_wait.measured),
        (61_500_000_000, 2)
    );
    assert_eq!(row.ended, [("expired", 2), ("reused_by_connect", 1)]);
}
