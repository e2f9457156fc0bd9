//! `tcpstate ports` in network namespaces of the tests' own, with ranges of a
//! few ports: what it says is left must be what `connect()` finds.

mod exhaustion;
mod queues;
mod report;
mod wrk;

use std::net::SocketAddr;

use rustix::{io::Errno, process::Signal};
use serde_json::Value;

use self::report::Reports;
use crate::{
    clock::wait_for,
    net::{Conn, Listener, bound, socket},
    ns::Netns,
    tool::{Tool, run, tcpstate},
};

/// Connects until there is no port, at most `most` times.
fn fill(remote: SocketAddr, most: usize) -> Vec<Conn> {
    let mut conns = Vec::new();
    while conns.len() < most {
        match attempt(remote) {
            Ok(conn) => conns.push(conn),
            Err(Errno::ADDRNOTAVAIL) => break,
            Err(error) => panic!("connect to {remote}: {error}"),
        }
    }
    conns
}

fn attempt(remote: SocketAddr) -> Result<Conn, Errno> {
    Conn::attempt(socket(remote), remote)
}

/// A namespace whose clients have the ports from `low` to `high`.
fn narrowed(low: u16, high: u16) -> Netns {
    let inside = Netns::new();
    // A FIN that is repeated because its answer is late gets another one, which
    // meets nobody but the listener: without this, its RST is the end.
    inside.set("tcp_rfc1337", "1");
    inside.set("ip_local_port_range", &format!("{low} {high}"));
    inside.set("tcp_tw_reuse", "0");
    inside
}

/// Connections that the client closes first: its ends wait in `TIME_WAIT`.
fn wait_out(listener: &Listener, count: usize) {
    for _ in 0..count {
        let (client, server) = listener.pair();
        client.shutdown();
        server.end_of_file();
        server.close();
        client.end_of_file();
    }
}

fn number(line: &Value, field: &str) -> u64 {
    let value = line[field].as_u64();
    value.unwrap_or_else(|| panic!("{field}: {line}"))
}

#[test]
fn what_is_left_is_what_connect_finds_whatever_is_reserved_or_bound() {
    let inside = narrowed(20_001, 20_040);
    inside.set("ip_local_reserved_ports", "20003,20010-20012,30000");
    let reports = Reports::start(&inside, &["-i", "200ms"]);
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        let remote = listener.side.local;
        let _other = Listener::on("127.0.0.1:20020");
        // Bound by the application, to a port and to any: not for connect().
        let (fd, local) = bound("127.0.0.1:20021".parse().unwrap());
        let own = Conn::with(fd, remote);
        assert_eq!(own.side.local, local);
        let some: Vec<_> = (0..5).map(|_| Conn::to(remote)).collect();
        wait_out_to(&listener, &some, 4);
        let line = reports.until_space("ten sockets", remote, |line| {
            number(line, "sockets") == 10 && line["time_wait"] == 4
        });
        // 40, less four reserved ones, the listener's and the bound one.
        assert_eq!(number(&line, "usable"), 34, "{line}");
        assert_eq!((number(&line, "used"), number(&line, "left")), (9, 25));
        let space = reports.namespace();
        let counts = ["range_ports", "reserved_ports", "bound_ports"];
        assert_eq!(counts.map(|field| number(&space, field)), [40, 4, 2]);

        let more = fill(remote, 40);
        assert_eq!(more.len(), 25, "what was said to be left");
        let line = reports.until_space("none left", remote, |line| line["left"] == 0);
        assert_eq!(
            (&line["verdict"], &line["no_port"]),
            (&"exhausted".into(), &1.into())
        );
        // Another destination has ports of its own.
        let second = Listener::on("127.0.0.1:8081");
        let elsewhere = fill(second.side.local, 40);
        assert_eq!(elsewhere.len(), 34);
        drop((own, some, more));
    });
    reports.stop();
}

/// As [`wait_out`], with others in the queue before.
fn wait_out_to(listener: &Listener, waiting: &[Conn], count: usize) {
    let _taken: Vec<_> = (0..=waiting.len()).map(|_| listener.take()).collect();
    wait_out(listener, count);
}

#[test]
fn ports_in_time_wait_are_left_where_tcp_tw_reuse_lets_connect_take_them() {
    let inside = narrowed(21_001, 21_016);
    let reports = Reports::start(&inside, &["-i", "200ms"]);
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        let remote = listener.side.local;
        wait_out(&listener, 16);
        let line = reports.until_space("all in TIME_WAIT", remote, |line| line["time_wait"] == 16);
        assert!(
            line["left"] == 0 && line["reuse_after_ns"].is_null(),
            "{line}"
        );
        assert_eq!(attempt(remote).err(), Some(Errno::ADDRNOTAVAIL));
        let advised = |line: &Value, what: &str| {
            let advice = line["advice"].as_array().unwrap();
            advice.iter().any(|word| word == what)
        };
        assert!(advised(&line, "tcp_tw_reuse") && advised(&line, "not_tcp_fin_timeout"));

        inside.set("tcp_tw_reuse", "1");
        let line = reports.until_space("all to be taken", remote, |line| line["left"] == 16);
        assert_eq!((number(&line, "used"), number(&line, "reusable")), (16, 16));
        assert!(number(&line, "reuse_after_ns") >= 1_000_000_000);
        let taken = fill(remote, 20);
        assert_eq!(taken.len(), 16, "what was said to be left");
        let line = reports.until_space("taken", remote, |line| line["time_wait"] == 0);
        assert_eq!(line["ended"]["reused_by_connect"], 16, "{line}");
        drop(taken);
    });
    reports.stop();
}

#[test]
fn time_wait_on_the_accepting_side_costs_no_ports_and_says_so() {
    // A port that a client gets again takes over from the server's minisocket.
    let inside = narrowed(22_001, 60_000);
    inside.set("tcp_max_tw_buckets", "5000");
    let reports = Reports::start(&inside, &["-i", "200ms"]);
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        for _ in 0..12 {
            let (client, server) = listener.pair();
            server.shutdown();
            client.end_of_file();
            client.close();
            server.end_of_file();
        }
        let line = reports.until("the server's side", |line| {
            line["what"] == "server" && line["time_wait"] == 12
        });
        assert_eq!(
            (number(&line, "lport"), number(&line, "ports_used")),
            (8080, 0)
        );
        assert!(line["message"].as_str().unwrap().contains("costs no ports"));
        let space = reports.until("its buckets", |line| line["tw_buckets"] == 12);
        assert_eq!(number(&space, "max_tw_buckets"), 5000);
    });
    let lines = reports.stop();
    let clients = lines.iter().filter(|line| line["what"] == "space");
    assert_eq!(clients.count(), 0, "no client has a socket: {lines:#?}");
}

#[test]
fn of_many_destinations_the_most_used_are_shown_and_the_rest_is_summed() {
    let inside = narrowed(23_001, 23_100);
    let reports = Reports::start(&inside, &["-i", "200ms", "--top", "5"]);
    let own = std::process::id();
    inside.enter(|| {
        let most = Listener::on("127.0.0.1:9000");
        let mut conns = fill(most.side.local, 3);
        let listeners: Vec<_> = (1..=30)
            .map(|number| Listener::on(&format!("127.0.0.1:{}", 9000 + number)))
            .collect();
        conns.extend(listeners.iter().map(|it| Conn::to(it.side.local)));
        let line = reports.until("all of them", |line| {
            line["what"] == "rest" && line["of"] == "space" && line["sockets"] == 26
        });
        assert_eq!(
            (number(&line, "count"), &line["at_least"]),
            (26, &false.into())
        );
        let newest = reports.newest();
        let rows: Vec<_> = newest
            .iter()
            .filter(|line| line["what"] == "space")
            .collect();
        assert_eq!(rows.len(), 5);
        assert_eq!(
            (number(rows[0], "rport"), number(rows[0], "used")),
            (9000, 3)
        );
        assert_eq!(rows[0]["by"][0]["pid"], own);
        drop(conns);
    });
    reports.stop();
}

#[test]
fn a_namespace_that_cannot_be_found_any_more_has_no_limits_and_says_so() {
    let inside = narrowed(24_001, 24_100);
    let reports = Reports::start(&inside, &["-i", "200ms"]);
    let (listener, conn) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        let conn = Conn::to(listener.side.local);
        (listener, conn)
    });
    let remote = listener.side.local;
    reports.until_space("its limits", remote, |line| line["left"] == 99);
    // The sockets keep it, but nothing leads there.
    drop(inside);
    let line = reports.until_space("no limits", remote, |line| line["left"].is_null());
    let why = line["left_reason"].as_str().unwrap();
    assert!(why.contains("namespace"), "{why}");
    assert_eq!(
        (number(&line, "used"), &line["exhaustion"]),
        (1, &"unknown".into())
    );
    reports.stop();
    drop((listener, conn));
}

#[test]
fn time_wait_is_measured_and_gives_its_ports_back() {
    let inside = narrowed(27_001, 27_040);
    let reports = Reports::start(&inside, &["-i", "500ms"]);
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        let remote = listener.side.local;
        // Stays, so that the space has a line when the others are over.
        let kept = listener.pair();
        wait_out(&listener, 10);
        let line = reports.until_space("ten in TIME_WAIT", remote, |line| line["time_wait"] == 10);
        assert_eq!(number(&line, "time_wait_measured"), 0);
        assert_eq!(number(&line, "time_wait_ns"), 60_000_000_000);
        assert_eq!(number(&line, "left"), 29);
        let line = reports.until_space("none any more", remote, |line| line["time_wait"] == 0);
        assert_eq!(
            (number(&line, "left"), number(&line, "time_wait_measured")),
            (39, 10)
        );
        assert_eq!(line["ended"]["expired"], 10);
        // The timer's wheel rounds up, by at most 5.1 s (HZ=100).
        let measured = number(&line, "time_wait_ns");
        assert!((60_000_000_000..65_200_000_000).contains(&measured));
        let sustainable = line["sustainable_per_s"].as_f64().unwrap();
        let expected = 40e9 / f64::from(u32::try_from(measured / 1_000).unwrap()) / 1e3;
        assert!((sustainable - expected).abs() < 0.01, "{line}");
        drop(kept);
    });
    reports.stop();
}

#[test]
fn a_recording_tells_what_is_used_and_not_of_how_much() {
    let inside = narrowed(28_001, 28_040);
    let netns = inside.inode.to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let file = file.to_str().unwrap();
    let mut recorder = Tool::start(&mut tcpstate(&["record", "-o", file, "--netns", &netns]));
    let replay = || run(&mut tcpstate(&["ports", "-o", "json", "--replay", file]));
    wait_for("the beginning of the recording", || {
        assert!(!recorder.has_ended(), "{}", recorder.stderr.text());
        replay()
            .stdout
            .starts_with("{\"type\":\"start\"")
            .then_some(())
    });
    let remote = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:8080");
        wait_out(&listener, 7);
        listener.side.local
    });
    recorder.signal(Signal::INT);
    assert_eq!(recorder.done().code, Some(0));
    let done = replay();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines = report::told(&done.stdout);
    let space = lines.iter().find(|line| report::is_towards(line, remote));
    let space = space.unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!((number(space, "used"), &space["left"]), (7, &Value::Null));
    assert_eq!(
        (&space["verdict"], &space["exhaustion"]),
        (&"unknown".into(), &"unknown".into())
    );
    assert_eq!(lines.last().unwrap()["limits"], "not_in_recording");
}
