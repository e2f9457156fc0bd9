//! What follows when Linux replaces the socket by a timewait minisocket.

use std::{collections::BTreeMap, fs};

use crate::{
    clock::{Interval, MS},
    expect::within,
    lines::Transition,
    net::{Listener, Side},
    ns::Netns,
    tables::{wait_gone, wait_state},
    trace::{Finished, Trace, is_of},
};

const SECOND: u64 = 1_000 * MS;

/// The timer wheel rounds 60 s up, by at most one slot of its level: 5.1 s at
/// HZ=100, which is the coarsest.
const SLOT: u64 = 5_200 * MS;

/// As [`SLOT`], for a timer of a second: 8 ticks, which are 80 ms at most; the
/// rest is for an emulated machine, whose timers are late.
const SHORT_SLOT: u64 = 650 * MS;

fn trace(inside: &Netns) -> Trace {
    Trace::start(&["--netns", &inside.inode.to_string()])
}

/// The line of `side` that leaves `old`; there is one only.
fn leaving<'a>(run: &'a Finished, side: &Side, old: &str) -> &'a Transition {
    let lines = run.select(|line| is_of(line, side) && line.old == old);
    assert_eq!(lines.len(), 1, "{old}: {lines:#?}");
    lines[0]
}

fn assert_exact(line: &Transition, from: u64, to: u64) {
    assert_eq!(line.dwell, "exact", "{line:#?}");
    within("dwell", line.dwell_ns.unwrap(), from, to).unwrap_or_else(|why| {
        panic!("{why}: {line:#?}");
    });
}

/// `TcpExt` counters of the thread's network namespace.
fn counters() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let names = lines.next().unwrap().split_whitespace().skip(1);
    let values = lines.next().unwrap().split_whitespace().skip(1);
    names
        .zip(values)
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn time_wait_lasts_a_minute_and_is_ended_by_its_timer() {
    const COUNT: usize = 20;
    let inside = Netns::new();
    let mut trace = trace(&inside);
    let sides: Vec<_> = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let pairs = (0..COUNT).map(|_| listener.pair());
        let close = |(client, server): (crate::net::Conn, crate::net::Conn)| {
            client.shutdown();
            server.end_of_file();
            server.close();
            client.end_of_file();
            client.side
        };
        pairs.map(close).collect()
    });
    for side in &sides {
        trace.until("the end of TIME_WAIT", |lines| {
            let ended =
                |seen: &crate::trace::Seen| is_of(&seen.line, side) && seen.line.old == "TIME_WAIT";
            lines.iter().any(ended).then_some(())
        });
    }
    let counted = inside.enter(counters);
    let run = trace.stop();
    run.assert_sound();
    for side in &sides {
        let line = leaving(&run, side, "TIME_WAIT");
        assert_eq!(
            (line.new.as_str(), line.kind.as_str()),
            ("CLOSE", "minisocket")
        );
        assert_eq!(line.cause.as_deref(), Some("expired"));
        assert_exact(line, 60 * SECOND, 60 * SECOND + SLOT);
        let before = leaving(&run, side, "FIN_WAIT2");
        assert_eq!(
            (before.new.as_str(), &before.conn),
            ("TIME_WAIT", &line.conn)
        );
    }
    // Begins and ends, one for one with the kernel's own account.
    let begun = run.select(|line| line.new == "TIME_WAIT").len();
    let ended = run.select(|line| line.old == "TIME_WAIT").len();
    assert_eq!((begun, ended), (COUNT, COUNT));
    assert_eq!(counted["TW"] + counted["TWKilled"], COUNT as u64);
}

#[test]
fn an_orphan_in_fin_wait2_is_ended_by_tcp_fin_timeout() {
    let inside = Netns::new();
    inside.enter(|| fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").unwrap());
    let mut trace = trace(&inside);
    let (side, _server) = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let side = client.side;
        client.close();
        server.end_of_file();
        (side, server)
    });
    trace.until_enters(&side, "CLOSE");
    let run = trace.stop();
    run.assert_sound();
    let line = leaving(&run, &side, "FIN_WAIT2");
    assert_eq!(
        (line.new.as_str(), line.kind.as_str()),
        ("CLOSE", "minisocket")
    );
    assert_eq!(line.cause.as_deref(), Some("fin_wait2_timeout"));
    assert_exact(line, SECOND, SECOND + SHORT_SLOT);
}

#[test]
fn a_reset_ends_fin_wait2_of_an_orphan() {
    let inside = Netns::new();
    let mut trace = trace(&inside);
    let (side, closed, reset) = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let side = client.side;
        let closed = client.close();
        server.end_of_file();
        let acked = closed.until(wait_state(&side, "FIN_WAIT2"));
        let sent = server.abort();
        (
            side,
            acked,
            Interval {
                to: wait_gone(&side).to,
                ..sent
            },
        )
    });
    trace.until_enters(&side, "CLOSE");
    let run = trace.stop();
    run.assert_sound();
    let line = leaving(&run, &side, "FIN_WAIT2");
    assert_eq!(line.new, "CLOSE");
    assert_eq!(line.cause.as_deref(), Some("reset_received"), "{line:#?}");
    let (from, to) = crate::expect::bounds(closed, reset);
    assert_exact(line, from.saturating_sub(MS), to + MS);
}
