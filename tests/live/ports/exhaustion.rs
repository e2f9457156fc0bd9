//! Loads that use ports up: when the tool says that none will be left, and when
//! none is.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rustix::io::Errno;
use serde_json::Value;

use super::{Reports, attempt, narrowed, number, report::is_towards};
use crate::{
    clock::{Noise, in_vm, now, wait_for},
    net::Listener,
    ns::Netns,
    process::{own_pid, rename},
};

const SECOND: u64 = 1_000_000_000;

/// The first report of the space by which a third of its ports was in use.
pub(super) fn early(reports: &Reports, remote: SocketAddr) -> Value {
    let third = |line: &Value| {
        let used = line["used"].as_u64().unwrap_or(0);
        is_towards(line, remote) && used * 3 >= number(line, "usable")
    };
    let (line, _) = wait_for("a third of the ports in use", || {
        reports.lines().into_iter().find(third)
    });
    assert_eq!(line["exhaustion"], "at_this_rate", "{line}");
    line
}

/// The prediction of `line` against when it happened, to a tenth, and to the time
/// for which the machine kept the load from running.
pub(super) fn check(line: &Value, happened: u64, late: u64) {
    let left = happened.checked_sub(number(line, "mono_ns"));
    let left = left.unwrap_or_else(|| panic!("exhausted before it was predicted: {line}"));
    let predicted = number(line, "exhaustion_ns");
    assert!(
        predicted.abs_diff(left) <= left / 10 + late,
        "predicted in {predicted} ns, came in {left} ns: {line}"
    );
}

/// Accepts, and closes whatever has been closed, until told to stop.
fn serve(inside: &Netns, listener: &Listener, stop: &AtomicBool) {
    inside.enter(|| {
        while !stop.load(Ordering::Relaxed) {
            let fd = listener.take();
            let mut one = [0_u8; 1];
            let _end = rustix::io::read(&fd, &mut one[..]);
        }
    });
}

/// Connects and closes at a steady rate until no port is left; says when that
/// was, by the clock of `mono_ns`.
fn use_up(remote: SocketAddr, each: u64) -> u64 {
    let begin = now();
    for turn in 0.. {
        let due = begin + turn * each;
        thread::sleep(Duration::from_nanos(due.saturating_sub(now())));
        match attempt(remote) {
            Ok(conn) => drop(conn),
            Err(Errno::ADDRNOTAVAIL) => return now(),
            Err(error) => panic!("connect to {remote}: {error}"),
        }
    }
    unreachable!("the loop ends with the ports");
}

#[test]
fn the_time_at_which_a_steady_load_finds_no_port_is_predicted_within_a_tenth() {
    // As fast as leaves an emulated machine time for anything else.
    let (high, each) = match in_vm() {
        true => (25_300, SECOND / 25),
        false => (25_800, SECOND / 80),
    };
    let inside = narrowed(25_001, high);
    let reports = Reports::start(&inside, &["-i", "500ms"]);
    let listener = inside.enter(|| Listener::on("127.0.0.1:8080"));
    let remote = listener.side.local;
    let stop = AtomicBool::new(false);
    let noise = Noise::start();
    let (happened, late) = thread::scope(|scope| {
        scope.spawn(|| serve(&inside, &listener, &stop));
        let load = scope.spawn(|| {
            rename(b"load");
            inside.enter(|| use_up(remote, each))
        });
        let happened = load.join().unwrap();
        let late = noise.stop();
        let all = u64::from(high - 25_000);
        reports.until_space("all in TIME_WAIT", remote, |line| {
            number(line, "time_wait") == all
        });
        // One more connection lets the server see that it is to stop.
        stop.store(true, Ordering::Relaxed);
        inside.set("ip_local_port_range", "30001 30002");
        let _last = inside.enter(|| attempt(remote).unwrap());
        (happened, late)
    });
    inside.set("ip_local_port_range", &format!("25001 {high}"));
    check(&early(&reports, remote), happened, late);

    let failing = |line: &Value| {
        let by = line["by"].as_array().unwrap();
        by.iter()
            .any(|it| it["comm"] == "load" && it["no_port"] == 4)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            rename(b"load");
            inside.enter(|| {
                for _ in 0..3 {
                    assert_eq!(attempt(remote).err(), Some(Errno::ADDRNOTAVAIL));
                }
            });
        });
    });
    let line = reports.until_space("four that failed", remote, failing);
    assert_eq!(
        (number(&line, "no_port"), number(&line, "left")),
        (4, 0),
        "{line}"
    );
    assert_eq!(line["verdict"], "exhausted");
    let by = line["by"].as_array().unwrap();
    let load = by.iter().find(|it| it["comm"] == "load").unwrap();
    assert_eq!(load["pid"], own_pid());
    assert_eq!(number(load, "time_wait"), u64::from(high - 25_000));
    reports.stop();
}
