//! `tcpstate dwell` against the lines of a trace beside it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    clock::{MS, Noise, wait_for},
    expect::within,
    lines::{End, Line, Transition, parse},
    net::{Conn, Listener},
    ns::Netns,
    tables::wait_state,
    tool::{Done, Tool, run, tcpstate},
    trace::Trace,
};

const SECOND: u64 = 1_000 * MS;

/// The timer wheel rounds 60 s up, by at most one slot of its level: 5.1 s at
/// HZ=100, which is the coarsest.
const SLOT: u64 = 5_200 * MS;

/// What is told of one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    count: u64,
    sum_ns: u64,
    at_least: u64,
    unknown: u64,
    open: u64,
}

type Accounts = BTreeMap<String, Account>;

/// Starts `tcpstate dwell -o json` and waits for its start line.
pub(crate) fn dwell(arguments: &[&str]) -> Tool {
    let all = [&["dwell", "-o", "json"], arguments].concat();
    let mut tool = Tool::start(&mut tcpstate(&all));
    wait_for("the start line", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let text = tool.stdout.text();
        text.starts_with("{\"type\":\"start\"").then_some(())
    });
    tool
}

/// The whole lines of its reports so far.
fn told(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == "dwell")
        .collect()
}

/// The last report of a session that ended well: after it only the end line.
fn last(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    last_report(done).0
}

/// The last report of a session, and the end line, which adds up.
pub(crate) fn last_report(done: &Done) -> (Vec<Value>, End) {
    let Ok(Line::End(end)) = parse(done.stdout.lines().last().unwrap()) else {
        panic!("no end line: {}", done.stdout);
    };
    end.assert_conserved();
    let lines = told(&done.stdout);
    let begun = lines.iter().position(|line| line["final"] == true).unwrap();
    assert!(lines[begun..].iter().all(|line| line["final"] == true));
    (lines[begun..].to_vec(), end)
}

pub(crate) fn stop(tool: Tool) -> Done {
    tool.signal(Signal::INT);
    tool.done()
}

/// By state, whatever else the groups differ by.
fn by_state(report: &[Value]) -> Accounts {
    let mut accounts = Accounts::new();
    for line in report {
        let state = line["state"].as_str().unwrap().to_owned();
        let number = |field: &str| line[field].as_u64().unwrap();
        let account = accounts.entry(state).or_default();
        account.count += number("count");
        account.sum_ns += number("sum_ns");
        account.at_least += number("at_least");
        account.unknown += number("unknown");
        account.open += number("open");
    }
    accounts
}

/// What the lines of a trace add up to.
fn added_up<'a>(lines: impl IntoIterator<Item = &'a Transition>) -> Accounts {
    let mut accounts = Accounts::new();
    let mut now = BTreeMap::new();
    for line in lines {
        now.insert(&line.conn, &line.new);
        let birth = (line.old.as_str(), line.new.as_str()) == ("LISTEN", "SYN_RECV");
        if line.old == "CLOSE" || birth {
            continue;
        }
        let account = accounts.entry(line.old.clone()).or_default();
        match (line.dwell.as_str(), line.dwell_ns) {
            ("exact", Some(ns)) => {
                account.count += 1;
                account.sum_ns += ns;
            }
            ("at_least", Some(_)) => account.at_least += 1,
            _ => account.unknown += 1,
        }
    }
    for state in now.into_values().filter(|state| *state != "CLOSE") {
        accounts.entry(state.clone()).or_default().open += 1;
    }
    accounts
}

fn without_sum(accounts: &Accounts) -> Accounts {
    let accounts = accounts.iter();
    let plain = |(state, account): (&String, &Account)| {
        (
            state.clone(),
            Account {
                sum_ns: 0,
                ..*account
            },
        )
    };
    accounts.map(plain).collect()
}

fn replay(view: &str, file: &Path) -> Done {
    let file = file.to_str().unwrap();
    run(&mut tcpstate(&[view, "--replay", file, "-o", "json"]))
}

fn record(file: &Path, netns: &str) -> Tool {
    let name = file.to_str().unwrap();
    let mut tool = Tool::start(&mut tcpstate(&["record", "-o", name, "--netns", netns]));
    wait_for("the beginning of the recording", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let begun = replay("trace", file).stdout;
        begun.starts_with("{\"type\":\"start\"").then_some(())
    });
    tool
}

/// Connections that end in every way that takes no minute, and some that are
/// still there at the end: the sockets to keep.
fn traffic(listener: &Listener) -> Vec<Conn> {
    let mut kept = Vec::new();
    for number in 0..12 {
        let (client, server) = listener.pair();
        match number % 4 {
            // The client's FIN_WAIT2 runs out, the server stays in CLOSE_WAIT.
            0 => {
                client.close();
                server.end_of_file();
                kept.push(server);
            }
            // TIME_WAIT at the end.
            1 => {
                client.shutdown();
                server.end_of_file();
                server.close();
                client.end_of_file();
                client.close();
            }
            2 => {
                client.abort();
                server.reset();
            }
            _ => kept.extend([client, server]),
        }
    }
    kept
}

#[test]
fn dwell_tells_what_the_lines_of_a_trace_beside_it_add_up_to() {
    let inside = Netns::new();
    inside.enter(|| fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "1").unwrap());
    let netns = inside.inode.to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let recorder = record(&file, &netns);
    let mut trace = Trace::start(&["--netns", &netns]);
    let plain = dwell(&["--netns", &netns, "-i", "100ms"]);
    let own = std::process::id().to_string();
    let ours = dwell(&["--netns", &netns, "-p", &own, "--by", "process,rport"]);
    let noise = Noise::start();
    let (listener, kept) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let kept = traffic(&listener);
        (listener, kept)
    });
    trace.until("the ends of three FIN_WAIT2", |seen| {
        let ended = seen
            .iter()
            .filter(|seen| seen.line.kind == "minisocket" && seen.line.new == "CLOSE");
        (ended.count() == 3).then_some(())
    });
    let (refreshed, _) = wait_for("a report that has them, before the last", || {
        let lines = told(&plain.stdout.text());
        let newest = lines.last()?["ts"].clone();
        let newest: Vec<_> = lines
            .into_iter()
            .filter(|line| line["ts"] == newest)
            .collect();
        (by_state(&newest).get("FIN_WAIT2")?.count == 6).then_some(newest)
    });
    let late = noise.stop();
    let traced = trace.stop();
    traced.assert_sound();
    let (plain, ours) = (last(&stop(plain)), last(&stop(ours)));
    stop(recorder);
    drop((listener, kept));

    let expected = added_up(traced.select(|_| true));
    let accounts = by_state(&plain);
    assert_eq!(without_sum(&accounts), without_sum(&expected));
    assert!(accounts["CLOSE_WAIT"].open == 3 && accounts["TIME_WAIT"].open == 3);
    assert_eq!(
        (accounts["LISTEN"].open, accounts["ESTABLISHED"].open),
        (1, 6)
    );
    for (state, account) in &accounts {
        // Two programs at one tracepoint read the clock one after the other, and a
        // task may be interrupted in between.
        let (near, far) = (account.sum_ns, account.count * (MS + late));
        let sum = expected[state].sum_ns;
        assert!(near.abs_diff(sum) <= far, "{state}: {near} and {sum}");
    }
    assert!(refreshed.iter().all(|line| line["final"] == false));
    // Every socket is of this process, which connected, accepted and listened.
    assert_eq!(without_sum(&by_state(&ours)), without_sum(&expected));
    assert!(
        ours.iter().all(|line| line["pid"] == std::process::id()),
        "{ours:#?}"
    );
    assert!(ours.len() > plain.len());

    // The same records give the same numbers, to the nanosecond.
    let lines: Vec<_> = replay("trace", &file)
        .stdout
        .lines()
        .map(|line| parse(line).unwrap())
        .collect();
    let lines = lines.iter().filter_map(|line| match line {
        Line::Transition(line) => Some(&**line),
        _ => None,
    });
    assert_eq!(by_state(&last(&replay("dwell", &file))), added_up(lines));
}

#[test]
fn half_of_all_time_waits_take_a_minute_and_at_most_a_slot_of_the_timer_wheel() {
    const COUNT: u64 = 20;
    let inside = Netns::new();
    let netns = inside.inode.to_string();
    let tool = dwell(&["--netns", &netns, "-i", "250ms", "--state", "time-wait"]);
    let sides = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let close = |_| {
            let (client, server) = listener.pair();
            client.shutdown();
            server.end_of_file();
            server.close();
            client.end_of_file();
            client.side
        };
        (0..COUNT).map(close).collect::<Vec<_>>()
    });
    let told_of = |what: &str, is: &dyn Fn(&Value) -> bool| {
        wait_for(what, || {
            told(&tool.stdout.text())
                .last()
                .is_some_and(is)
                .then_some(())
        });
    };
    told_of("all of them open", &|line| {
        line["open"] == COUNT && line["count"] == 0
    });
    told_of("all of them ended", &|line| {
        line["open"] == 0 && line["count"] == COUNT
    });
    let report = last(&stop(tool));
    let [line] = &report[..] else {
        panic!("{report:#?}")
    };
    assert_eq!(line["state"], "TIME_WAIT");
    for field in ["min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns"] {
        let ns = line[field].as_u64().unwrap();
        within(field, ns, 60 * SECOND, 60 * SECOND + SLOT).unwrap();
    }
    assert_eq!(sides.len() as u64, COUNT);
}

#[test]
fn a_time_limit_ends_with_the_last_report() {
    let inside = Netns::new();
    let netns = inside.inode.to_string();
    let tool = dwell(&["--netns", &netns, "--for", "2s", "-i", "1h"]);
    let (listener, kept) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let pair = listener.pair();
        wait_state(&pair.0.side, "ESTABLISHED");
        (listener, pair)
    });
    let report = last(&tool.done());
    let accounts = by_state(&report);
    assert_eq!(
        (accounts["LISTEN"].open, accounts["ESTABLISHED"].open),
        (1, 2)
    );
    for line in report.iter().filter(|line| line["open"] != 0) {
        let oldest = Duration::from_nanos(line["oldest_ns"].as_u64().unwrap());
        assert!(
            oldest < crate::clock::patience() && line["oldest"] == "exact",
            "{line}"
        );
    }
    drop((listener, kept));
}
