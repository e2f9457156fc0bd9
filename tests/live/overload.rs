//! More than the tool can take: what it says stays true, what it lost is counted
//! by reason, its memory stays bounded, and the load does not notice it.
//!
//! An overload lasts ten seconds, or what `TCPSTATE_FLOOD_SECONDS` says.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal},
    thread::{CpuSet, sched_setaffinity},
};
use serde_json::Value;

use crate::{
    clock::{MS, in_vm, now, timed, wait_for},
    closing::{Story, half_close},
    dwell::{dwell, last_report, stop},
    expect::{assert_lines, bounds, within},
    facts::tell,
    flood::{flood, settle, spacious},
    lines::End,
    loss::{assert_nothing_false, recovered},
    net::{Listener, bound, connect_error, socket},
    ns::Netns,
    process::Running,
    segment::Segment,
    timewait::{counters, since},
    timewait_many::memory,
    tool::Tool,
    trace::Trace,
    unseen::Unseen,
};

const SECOND: u64 = 1_000 * MS;
const MIB: u64 = 1 << 20;

/// What the tool may lose, and say so.
const REASONS: [&str; 3] = ["ring_full", "recursion", "in_flight"];

/// How long an overload lasts, in nanoseconds.
fn span() -> u64 {
    let asked = std::env::var("TCPSTATE_FLOOD_SECONDS").ok();
    let usual = if in_vm() { 3 } else { 10 };
    asked.map_or(usual, |seconds| seconds.parse().unwrap()) * SECOND
}

/// Connections between two looks at the clock.
fn round() -> u32 {
    if in_vm() { 20 } else { 200 }
}

/// Every record is accounted for, each loss has its reason, and the exit status
/// says whether there was one.
fn assert_accounted(end: &End, code: Option<i32>) {
    end.assert_conserved();
    assert_eq!((end.undecodable, end.no_room), (0, 0), "{end:?}");
    let lost = end.lost.as_ref().unwrap();
    let told = lost.keys().all(|why| REASONS.contains(&why.as_str()));
    assert!(told, "{end:?}");
    assert_eq!(code, Some(if end.lost() > 0 { 4 } else { 0 }), "{end:?}");
}

/// A load without a pause: each round has a listener of its own, so that no two
/// connections have the same two ends.
#[derive(Default)]
struct Load {
    listeners: Vec<Listener>,
    stories: Vec<Story>,
    made: u64,
}

impl Load {
    /// Opens and closes connections for so long; gives what the rounds took, in
    /// nanoseconds. Of every twentieth is remembered what should be printed.
    fn run(&mut self, span: u64) -> Vec<u64> {
        let deadline = now() + span;
        let mut took = Vec::new();
        while now() < deadline {
            let listener = Listener::on("0.0.0.0:0");
            let (stories, when) = timed(|| flood(&listener, round()));
            if took.len().is_multiple_of(20) {
                self.stories.extend(stories);
            }
            took.push(when.to - when.from);
            self.listeners.push(listener);
            self.made += u64::from(round());
        }
        took.sort_unstable();
        took
    }
}

/// The longest that a load may take beside a reader that is blocked, compared
/// with one that reads. A load that waits for the reader would take all of the
/// ten seconds for one round; what else the machine does is less than this.
const NOTICED: u64 = 4;

#[test]
fn a_pipe_that_nobody_reads_makes_the_load_no_slower_and_no_line_false() {
    let inside = spacious();
    let only = inside.inode.to_string();
    let mut trace = Trace::start(&["--ring-size", "1M", "--netns", &only]);
    let pid = trace.tool.pid();
    let idle = memory(pid);
    let mut load = Load::default();
    let (last, before, blocked) = inside.enter(|| {
        let near = Listener::on("127.0.0.1:0");
        let before = load.run(2 * SECOND);
        // The thread that reads the pipe does not go on without this.
        let received = Arc::clone(&trace.tool.stdout.received);
        let nobody = received.lock().unwrap();
        let blocked = load.run(span());
        drop(nobody);
        load.stories.extend(recovered(&mut trace, &near));
        let last = half_close(&near);
        for (side, steps) in &last {
            trace.until_enters(side, steps.last().unwrap().new);
        }
        (last, before, blocked)
    });
    let grown = memory(pid).saturating_sub(idle);
    let run = trace.stop();
    let told = format!(
        "{} connections; rounds of {} took {} us, {} us when blocked; {} of {:?} lost; {} KiB more",
        load.made,
        round(),
        before[before.len() / 2] / 1_000,
        blocked[blocked.len() / 2] / 1_000,
        run.end.lost(),
        run.end.seen,
        grown >> 10
    );
    tell("overload", "blocked pipe", told);
    assert_accounted(&run.end, run.status.code());
    assert!(run.end.lost_by("ring_full") > 0, "{:?}", run.end);
    assert_nothing_false(
        &run.select(|line| line.netns == inside.inode),
        &load.stories,
    );
    for (side, steps) in &last {
        assert_lines(&run, side, steps);
    }
    let (reading, waiting) = (before[before.len() / 2], blocked[blocked.len() / 2]);
    assert!(waiting <= reading * NOTICED, "{waiting} and {reading} ns");
    // A walk after the loss finds every minisocket that there is.
    assert!(grown < 16 * MIB + load.made * 1_000, "{grown} bytes");
}

/// What happened in one state, by the test's own clock.
#[derive(Debug, Default)]
struct Stays {
    count: u64,
    shortest: u64,
    longest: u64,
    sum: u64,
}

/// What a view may say of the stays in each state that are over.
fn stays(stories: &[Story]) -> HashMap<String, Stays> {
    let mut all = HashMap::<String, Stays>::new();
    for (_, steps) in stories {
        for pair in steps.windows(2) {
            let (shortest, longest) = bounds(pair[0].at, pair[1].at);
            let stays = all.entry(pair[1].old.to_owned()).or_insert(Stays {
                shortest,
                ..Stays::default()
            });
            stays.count += 1;
            stays.shortest = stays.shortest.min(shortest);
            stays.longest = stays.longest.max(longest);
            stays.sum += longest;
        }
    }
    all
}

/// A group says nothing false: no stay twice, no time that was not.
fn assert_within(group: &Value, stays: &Stays) {
    let number = |field: &str| group[field].as_u64();
    let told = number("count").unwrap();
    let marked = number("at_least").unwrap() + number("unknown").unwrap();
    assert!(told + marked <= stays.count, "{group} {stays:?}");
    for field in ["min_ns", "max_ns"] {
        if let Some(ns) = number(field) {
            within(field, ns, stays.shortest, stays.longest).unwrap();
        }
    }
    let most = stays.sum + told * MS;
    assert!(number("sum_ns").unwrap() <= most, "{group} {stays:?}");
}

/// Gives a process one CPU.
fn pin(pid: u32, cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    sched_setaffinity(pid, &cpus).unwrap();
}

#[test]
fn a_view_on_a_busy_core_or_with_a_small_ring_is_right_within_its_marks() {
    let inside = spacious();
    inside.set("tcp_tw_reuse", "0");
    let only = inside.inode.to_string();
    let common = ["--netns", &only, "-i", "1h"];
    let usual = dwell(&common);
    let small = dwell(&[&common[..], &["--ring-size", "64K"]].concat());
    let busy = Running::busy();
    for pid in [busy.pid(), usual.pid(), small.pid()] {
        pin(pid, 0);
    }
    let mut stories = Vec::new();
    inside.enter(|| {
        let listener = Listener::on("0.0.0.0:0");
        let deadline = now() + span() / 2;
        while now() < deadline {
            stories.extend(flood(&listener, round()));
        }
        // However fast it is, it loses something now.
        small.signal(Signal::STOP);
        stories.extend(flood(&listener, 10 * round()));
        small.signal(Signal::CONT);
        stories.extend(flood(&listener, round()));
        settle(&mut stories, listener.side.local.port());
    });
    drop(busy);
    let expected = stays(&stories);
    for (name, tool) in [("usual", usual), ("64 KiB", small)] {
        let done = stop(tool);
        let (report, end) = last_report(&done);
        assert_accounted(&end, done.code);
        let told = format!("{} of {:?} lost", end.lost(), end.seen);
        println!("{name} ring on a busy core: {told}");
        tell("overload", &format!("{name} ring on a busy core"), told);
        let is_full = end.lost_by("ring_full") > 0;
        assert_eq!(name != "usual", is_full, "{end:?}");
        let whole = end.lost() == 0;
        let of = |state: &str| report.iter().find(|group| group["state"] == state);
        for (state, stays) in &expected {
            let Some(group) = of(state) else {
                assert!(!whole, "{state} is missing");
                continue;
            };
            assert_within(group, stays);
            // A socket whose SYN_RECV began unseen has a lower bound.
            let all = group["count"].as_u64().unwrap() + group["at_least"].as_u64().unwrap();
            assert!(!whole || all == stays.count, "{group} {stays:?}");
        }
    }
}

/// The last word of a `dwell` that was flooded: the group of a state with what
/// happened there, as far as nothing was lost; and its memory is as it was.
/// Only what was kept from all programs may be missing without a count.
fn assert_flooded(
    tool: Tool,
    (state, expected): (&str, &Stays),
    (idle, most): (u64, u64),
    unseen: u64,
) {
    let grown = memory(tool.pid()).saturating_sub(idle);
    let done = stop(tool);
    let (report, end) = last_report(&done);
    let group = report.iter().find(|group| group["state"] == state).unwrap();
    let number = |field: &str| group[field].as_u64().unwrap();
    let all = number("count") + number("at_least") + number("unknown");
    let told = format!(
        "{all} of {} in {state}, {} of {:?} records lost, {} KiB more",
        expected.count,
        end.lost(),
        end.seen,
        grown >> 10
    );
    tell("overload", state, told);
    assert_accounted(&end, done.code);
    assert_within(group, expected);
    let untold = (expected.count - all).saturating_sub(end.lost());
    assert!(untold <= unseen, "{untold} of {unseen}: {group} {end:?}");
    assert!(grown < most, "{grown} bytes");
}

#[test]
fn a_flood_of_refused_connects_is_counted_and_costs_no_memory() {
    let inside = Netns::new();
    let tool = dwell(&["--netns", &inside.inode.to_string(), "-i", "1h"]);
    let idle = memory(tool.pid());
    let mut stays = Stays {
        shortest: 0,
        ..Stays::default()
    };
    inside.enter(|| {
        // Bound and not listening: nobody else gets the port.
        let (_bound, nobody) = bound("127.0.0.1:0".parse().unwrap());
        let deadline = now() + span();
        while now() < deadline {
            let client = socket(nobody);
            let (error, when) = connect_error(&client, nobody);
            assert_eq!(error, Errno::CONNREFUSED);
            stays.count += 1;
            stays.longest = stays.longest.max(when.to - when.from);
            stays.sum += when.to - when.from;
        }
    });
    assert_flooded(tool, ("SYN_SENT", &stays), (idle, 16 * MIB), 0);
}

/// A SYN from somebody else: every other one from an address of this host, which
/// answers the SYN-ACK with a RST, the rest from nowhere.
fn spoofed(number: u32, to: SocketAddrV4) -> Segment {
    const SYN: u8 = 2;
    let net = if number.is_multiple_of(2) {
        Ipv4Addr::new(127, 66, 0, 0)
    } else {
        Ipv4Addr::new(10, 66, 0, 0)
    };
    let from = Ipv4Addr::from(u32::from(net) | number >> 8 & 0xffff);
    let port = 1_024 + u16::try_from(number & 0xff).unwrap();
    Segment {
        from: SocketAddrV4::new(from, port),
        to,
        seq: number,
        ack: 0,
        flags: SYN,
    }
}

#[test]
fn a_flood_of_syns_is_counted_and_costs_no_memory_beyond_that_of_the_requests() {
    let inside = Netns::new();
    // Answers to these addresses come back and meet nobody.
    inside.ip("route add 10.66.0.0/16 dev lo");
    // A second, then a request is given up; none becomes a cookie.
    inside.set("tcp_synack_retries", "0");
    inside.set("tcp_syncookies", "0");
    inside.set("tcp_max_syn_backlog", "1000000");
    let mut unseen = Unseen::begin();
    let tool = dwell(&["--netns", &inside.inode.to_string(), "-i", "1h"]);
    let idle = memory(tool.pid());
    let (expected, sent) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let SocketAddr::V4(to) = listener.side.local else {
            panic!("{:?}", listener.side)
        };
        let earlier = counters();
        let from = now();
        let mut sent = 0;
        while now() - from < span() {
            spoofed(sent, to).send();
            sent += 1;
        }
        wait_for("the end of all requests", || {
            let rows = crate::tables::rows();
            (!rows.iter().any(|row| row.state == "SYN_RECV")).then_some(())
        });
        let counted = since(&counters(), &earlier);
        // Each request has died of one of these.
        let (reset, given_up) = (counted["EmbryonicRsts"], counted["TCPTimeouts"]);
        assert!(reset > 0 && given_up > 0, "{counted:?}");
        let count = reset + given_up;
        let expected = Stays {
            count,
            longest: now() - from,
            sum: count * (now() - from),
            ..Stays::default()
        };
        (expected, sent)
    });
    // By any program; none, but where the kernel itself keeps them away.
    let unseen = unseen.so_far();
    tell("overload", "SYNs", sent);
    tell(
        "overload",
        "timers that the kernel showed no program",
        unseen,
    );
    // 65,536 requests that end at the same time are remembered at the most.
    let room = (idle, 48 * MIB);
    assert_flooded(tool, ("SYN_RECV", &expected), room, unseen);
}
