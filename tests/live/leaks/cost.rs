//! What reports cost: nothing may be lost because one is being made.

use std::{
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;

use super::{Leaks, groups, lines, visit};
use crate::{
    clock::{in_vm, wait_for},
    facts,
    flood::{address, spacious},
    ns::Netns,
    process::own_files,
    tool::{Tool, tcpstate},
    zoo::Leaking,
};

/// Connections in a second. The tool is not optimized here: with 47,000 three reports
/// once took it longer than the ring lasts. The benchmark knows what the limit is.
const RATE: u32 = 20_000;
/// The exit status of a tool that has lost something.
const LOST: i32 = 4;
/// For so long.
const LOAD: Duration = Duration::from_secs(6);

/// What became of the records of one run.
#[derive(Debug)]
struct Account {
    connections: u32,
    reports: usize,
    seen: u64,
    /// For want of room in the ring: what a reader that is kept waiting causes.
    lost: u64,
    /// By programs that interrupt each other, whatever the reader does.
    recursion: u64,
}

impl Account {
    fn lost_of_a_million(&self) -> u64 {
        self.lost * 1_000_000 / self.seen.max(1)
    }

    fn per_second(&self) -> u64 {
        u64::from(self.connections) / LOAD.as_secs()
    }
}

/// Opens and closes connections, at most [`RATE`] in a second: some wait in the
/// listener's queue, and are taken and closed together, so that no thread has to
/// wait for another.
fn load(inside: &Netns) -> u32 {
    const TOGETHER: u32 = 50;
    own_files();
    let listener = inside.enter(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let began = Instant::now();
    let mut count = 0;
    inside.enter(|| {
        while began.elapsed() < LOAD {
            let due = began.elapsed().as_secs_f64() * f64::from(RATE);
            if f64::from(count) > due {
                thread::sleep(Duration::from_micros(500));
                continue;
            }
            let numbers = count..count + TOGETHER;
            let near: Vec<_> = numbers
                .map(|number| TcpStream::connect(address(number, port)).unwrap())
                .collect();
            let far: Vec<_> = near.iter().map(|_| listener.accept().unwrap()).collect();
            drop((near, far));
            count += TOGETHER;
        }
    });
    count
}

/// A load beside a population of leaked sockets, with a report this often, and
/// at least so many before the last.
fn run(interval: &str, reports: usize) -> Account {
    const LEAKED: usize = 3_000;
    let inside = spacious();
    let netns = inside.inode.to_string();
    let usual = ["leaks", "-o", "json", "--netns", &netns, "-i", interval];
    let more = ["--min-age", "100ms"];
    let tool = Tool::start(&mut tcpstate(&[&usual[..], &more].concat()));
    let leaks = Leaks(tool);
    wait_for("the start line", || {
        let text = leaks.0.stdout.text();
        text.starts_with("{\"type\":\"start\"").then_some(())
    });
    let server = inside.enter(|| {
        let server = Leaking::server("never-closed");
        visit(&server, LEAKED, b"");
        server
    });
    let connections = load(&inside);
    wait_for("reports", || {
        let made = lines(&leaks.0.stdout.text(), "leaks").len();
        (made >= reports).then_some(())
    });
    leaks.0.signal(Signal::INT);
    let done = leaks.0.done();
    assert!(matches!(done.code, Some(0 | LOST)), "{}", done.stderr);
    let last = groups(&done.stdout);
    let last = last.iter().rev().find(|it| it["class"] == "never_closed");
    assert_eq!(last.map(|it| &it["pid"]), Some(&Value::from(server.pid())));
    let end = lines(&done.stdout, "end").pop().unwrap();
    let lost = |why: &str| end["lost"][why].as_u64().unwrap_or(0);
    Account {
        connections,
        reports: lines(&done.stdout, "leaks").len(),
        seen: end["seen"].as_u64().unwrap(),
        lost: lost("ring_full"),
        recursion: lost("recursion"),
    }
}

#[test]
fn reports_every_second_lose_no_more_than_none_at_all() {
    if in_vm() {
        // What an emulated CPU loses says nothing; and calling a function without
        // a pause while other tests hook it has stopped an emulated kernel.
        return facts::tell("not run", "cost of reports", "emulated");
    }
    let without = run("1h", 0);
    let with = run("1s", 2);
    for (key, account) in [("without", &without), ("every second", &with)] {
        let told = format!(
            "{}/s, {} reports, {} of {} lost, {} by recursion",
            account.per_second(),
            account.reports,
            account.lost,
            account.seen,
            account.recursion
        );
        println!("{key}: {told}");
        facts::tell("reports", key, told);
    }
    // One that is due while the one before is being made is left out.
    assert!(with.reports > without.reports, "{with:?} {without:?}");
    let tolerated = without.lost_of_a_million() * 2 + 1_000;
    assert!(
        with.lost == 0 || with.lost_of_a_million() <= tolerated,
        "{with:?} {without:?}"
    );
}
