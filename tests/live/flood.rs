//! Connections opened and closed at full speed: every transition is there,
//! counted independently in the kernel, and every line is right.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use crate::{
    clock::{Interval, in_vm, now, wait_for},
    closing::Story,
    expect::{First, Step, accepted, check, connected, step},
    lines::Transition,
    net::{Conn, Listener},
    ns::Netns,
    trace::{Finished, Trace},
    witness::{STATES, Witness},
};

/// How many connections: the emulated machine does a tenth.
fn full() -> u32 {
    if in_vm() { 2_000 } else { 20_000 }
}

/// A namespace in which every `TIME_WAIT` has its minisocket: the limit of a
/// small machine is 4096.
pub(crate) fn spacious() -> Netns {
    let inside = Netns::new();
    inside.enter(|| {
        fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "1000000").unwrap();
    });
    inside
}

/// Opens and closes `count` connections, one after the other, and gives what
/// both ends of each should have printed. Every fourth is aborted.
pub(crate) fn flood(listener: &Listener, count: u32) -> Vec<Story> {
    let mut stories = Vec::new();
    for number in 0..count {
        let client = Conn::to(address(number, listener.side.local.port()));
        let server = listener.accept(&client);
        stories.extend(if number % 4 == 3 {
            aborted(client, server)
        } else {
            closed(client, server)
        });
    }
    stories
}

/// A thousand connections to each address: an address and port have 28,232
/// local ports, and each stays taken in `TIME_WAIT`.
pub(crate) fn address(number: u32, port: u16) -> SocketAddr {
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    SocketAddr::from((Ipv4Addr::from(first + number / 1000), port))
}

fn closed(client: Conn, server: Conn) -> [Story; 2] {
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let answered = server.close();
    let ended = answered.until(client.end_of_file());
    client.close();
    ours.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", shut.until(ended)),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", ended),
    ]);
    theirs.extend([
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin),
        step("CLOSE_WAIT", "LAST_ACK", "close", answered),
        step("LAST_ACK", "CLOSE", "fin_acked", ended),
    ]);
    [(near, ours), (far, theirs)]
}

fn aborted(client: Conn, server: Conn) -> [Story; 2] {
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let sent = client.abort();
    let heard = sent.until(server.reset());
    server.close();
    ours.push(step("ESTABLISHED", "CLOSE", "reset_sent", sent));
    theirs.push(step("ESTABLISHED", "CLOSE", "reset_received", heard));
    [(near, ours), (far, theirs)]
}

/// Nothing shows a test when a `LAST_ACK` ends: until the tables are empty.
pub(crate) fn settle(stories: &mut [Story], port: u16) {
    wait_for("the last acknowledgements", || {
        let rows = crate::tables::rows();
        let waits = |row: &crate::tables::Row| row.local.port() == port && row.state == "LAST_ACK";
        (!rows.iter().any(waits)).then_some(())
    });
    let to = now();
    for (_, steps) in stories {
        let last = steps.last_mut().unwrap();
        if last.old == "LAST_ACK" {
            last.at = Interval { to, ..last.at };
        }
    }
}

fn assert_every_line(run: &Finished, stories: &[Story]) {
    let mut sides = run.by_side();
    let mut wrong = Vec::new();
    for (side, steps) in stories {
        // An aborted connection leaves its ports to a later one.
        let connections = sides.get_mut(side);
        let mut lines = connections
            .and_then(VecDeque::pop_front)
            .unwrap_or_default();
        lines.retain(|line| is_of_the_flood(line));
        if let Err(why) = check(&lines, First::Born, steps) {
            wrong.push(format!("{side:?}: {why}: {lines:#?}"));
        }
    }
    let some = &wrong[..wrong.len().min(3)];
    assert!(
        wrong.is_empty(),
        "{} wrong: {}",
        wrong.len(),
        some.join("\n")
    );
}

/// On a busy machine the first minisockets end before the last connection begins.
fn is_of_the_flood(line: &Transition) -> bool {
    line.old != "TIME_WAIT"
}

/// Counts lines by pair of states.
fn tally(lines: &[&Transition]) -> HashMap<(String, String), u64> {
    let mut counts = HashMap::new();
    for line in lines {
        *counts
            .entry((line.old.clone(), line.new.clone()))
            .or_default() += 1;
    }
    counts
}

/// What the tracepoint reports and the tool prints are one to one, with one
/// exception: a minisocket takes over from a socket in `FIN_WAIT2` by
/// `FIN_WAIT2 -> CLOSE`, and the truth is `TIME_WAIT`.
fn assert_counted(lines: &[&Transition], witness: &Witness) {
    let mut printed = tally(lines);
    let handed = printed.remove(&("FIN_WAIT2".into(), "TIME_WAIT".into()));
    printed.insert(("FIN_WAIT2".into(), "CLOSE".into()), handed.unwrap_or(0));
    // What the kernel kept from the witness (and counted, for all ports).
    let missed = witness.missed().unwrap_or(0);
    for old in &STATES[1..] {
        for new in &STATES[1..] {
            let count = printed.remove(&((*old).into(), (*new).into()));
            let witnessed = witness.count(old, new);
            let count = count.unwrap_or(0);
            let right = (witnessed..=witnessed + missed).contains(&count);
            assert!(right, "{old} -> {new}: {count}, {witnessed}, {missed}");
        }
    }
    assert!(printed.is_empty(), "{printed:?}");
    // A pair that is no state would be in cell 0.
    assert_total(lines.len() as u64, witness);
}

/// The kernel does not run the witness while any other program of a classic
/// tracepoint or of a kprobe runs on the CPU, nor while a map is changed there,
/// by other tests say, and from Linux 6.7 on counts what it has kept from it:
/// `trace_call_bpf` of
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c>.
fn assert_total(transitions: u64, witness: &Witness) {
    let (total, missed) = (witness.total(), witness.missed().unwrap_or(0));
    assert!(
        (total..=total + missed).contains(&transitions),
        "{transitions}: {total} witnessed and {missed} kept from the witness"
    );
}

#[test]
fn twenty_thousand_connections_give_every_transition_none_lost_and_no_wrong_line() {
    let inside = spacious();
    let trace = Trace::start(&[]);
    let (run, stories, witness) = inside.enter(|| {
        let (fd, address) = crate::net::bound("0.0.0.0:0".parse().unwrap());
        let witness = Witness::of_port(address.port());
        let listener = Listener::from_bound(fd, address);
        let mut stories = flood(&listener, full());
        settle(&mut stories, address.port());
        listener.close();
        (trace.stop(), stories, witness)
    });
    run.assert_sound();
    let lines = run.select(|line| line.netns == inside.inode && is_of_the_flood(line));
    assert_every_line(&run, &stories);
    assert_counted(&lines, &witness);
    let expected: usize = stories
        .iter()
        .map(|story: &(_, Vec<Step>)| story.1.len())
        .sum();
    assert_eq!(lines.len(), expected + 2, "and the listener's lines");
}

#[test]
fn the_transitions_of_the_end_line_are_those_that_the_kernel_reported() {
    let inside = spacious();
    let trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let witness = inside.enter(|| {
        let (fd, address) = crate::net::bound("0.0.0.0:0".parse().unwrap());
        let witness = Witness::of_port(address.port());
        let listener = Listener::from_bound(fd, address);
        let mut stories = flood(&listener, full() / 10);
        // Orphans, whose hand-over is a transition without a line.
        for number in 0..100 {
            let client = Conn::to(self::address(number, address.port()));
            let server = listener.accept(&client);
            client.close();
            server.end_of_file();
            server.close();
        }
        settle(&mut stories, address.port());
        listener.close();
        witness
    });
    let run = trace.stop();
    run.assert_sound();
    assert_total(run.end.transitions, &witness);
}
