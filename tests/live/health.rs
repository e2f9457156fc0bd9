//! `tcpstate health` against the kernel's own text, the test's own counts, and `sar`.

mod counts;
mod deeds;
mod sar;
mod views;

use std::{collections::BTreeMap, fs, thread, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    clock::wait_for,
    lines::{Line, parse},
    ns::Netns,
    tool::{Done, Tool, tcpstate},
};

/// The counters of `/proc/net/snmp` and `netstat` under the names of JSON.
const NAMES: [(&str, &str, &str); 20] = [
    ("Tcp", "ActiveOpens", "active_opens"),
    ("Tcp", "PassiveOpens", "passive_opens"),
    ("Tcp", "AttemptFails", "attempt_fails"),
    ("Tcp", "EstabResets", "estab_resets"),
    ("Tcp", "InSegs", "in_segs"),
    ("Tcp", "OutSegs", "out_segs"),
    ("Tcp", "RetransSegs", "retrans_segs"),
    ("Tcp", "InErrs", "in_errs"),
    ("Tcp", "OutRsts", "out_rsts"),
    ("Tcp", "InCsumErrors", "in_csum_errors"),
    ("TcpExt", "ListenOverflows", "listen_overflows"),
    ("TcpExt", "ListenDrops", "listen_drops"),
    ("TcpExt", "TCPReqQFullDrop", "request_queue_drops"),
    ("TcpExt", "TCPReqQFullDoCookies", "request_queue_cookies"),
    ("TcpExt", "TCPTimeWaitOverflow", "timewait_overflows"),
    ("TcpExt", "TCPAbortOnMemory", "aborts_on_memory"),
    ("TcpExt", "TCPAbortOnTimeout", "aborts_on_timeout"),
    ("TcpExt", "TCPTimeouts", "timeouts"),
    ("TcpExt", "TCPSynRetrans", "syn_retrans"),
    ("TcpExt", "TCPMemoryPressures", "memory_pressures"),
];

/// Numbers by their names in JSON.
type Numbers = BTreeMap<String, u64>;

/// The kernel's counters of the calling thread's namespace, by the test's own eyes.
fn counters() -> Numbers {
    let mut text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    text += &fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut numbers = Numbers::new();
    let lines: Vec<_> = text.lines().collect();
    for pair in lines.chunks(2) {
        let group = pair[0].split(':').next().unwrap();
        let names = pair[0].split_whitespace().skip(1);
        for (name, number) in names.zip(pair[1].split_whitespace().skip(1)) {
            let known = NAMES.iter().find(|it| (it.0, it.1) == (group, name));
            if let Some((_, _, json)) = known {
                numbers.insert((*json).to_owned(), number.parse().unwrap());
            }
        }
    }
    numbers
}

/// The counters when nothing has come for a while.
fn settled(inside: &Netns) -> Numbers {
    inside.enter(|| {
        let mut before = counters();
        let (now, _) = wait_for("a silence", || {
            thread::sleep(Duration::from_millis(300));
            let now = counters();
            let is_silent = now == before;
            before.clone_from(&now);
            is_silent.then_some(now)
        });
        now
    })
}

fn since(before: &Numbers, after: &Numbers) -> Numbers {
    let difference = |(name, value): (&String, &u64)| (name.clone(), value - before[name]);
    after.iter().map(difference).collect()
}

/// Starts `tcpstate health -o json` and waits for its start line.
fn health(arguments: &[&str]) -> Tool {
    let all = [&["health", "-o", "json"], arguments].concat();
    let mut tool = Tool::start(&mut tcpstate(&all));
    wait_for("the start line", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let text = tool.stdout.text();
        text.starts_with("{\"type\":\"start\"").then_some(())
    });
    tool
}

/// Whether a hook gives a signal.
fn has(tool: &Tool, signal: &str) -> bool {
    let text = tool.stdout.text();
    let Ok(Line::Start(start)) = parse(text.lines().next().unwrap()) else {
        panic!("no start line: {text}");
    };
    start.hooks.get(signal).is_some_and(Option::is_some)
}

/// The whole lines so far.
fn told(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == "health")
        .collect()
}

fn stop(tool: Tool) -> Vec<Value> {
    tool.signal(Signal::INT);
    ended(&tool.done())
}

/// Its lines when it ended well: only the last one is final.
fn ended(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let Ok(Line::End(end)) = parse(done.stdout.lines().last().unwrap()) else {
        panic!("no end line: {}", done.stdout);
    };
    end.assert_conserved();
    let lines = told(&done.stdout);
    let finals = lines.iter().map(|line| line["final"] == true);
    assert_eq!(
        finals.collect::<Vec<_>>().iter().rposition(|last| !last),
        lines.len().checked_sub(2)
    );
    assert_eq!(lines.last().unwrap()["final"], true);
    lines
}

/// The totals of a line that are known.
fn totals(line: &Value) -> Numbers {
    let totals = line["totals"].as_object().unwrap().iter();
    let known = totals.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?)));
    known.collect()
}

fn number(line: &Value, path: &str) -> u64 {
    let value = line.pointer(path);
    let number = value.and_then(Value::as_u64);
    number.unwrap_or_else(|| panic!("{path}: {line:#}"))
}
