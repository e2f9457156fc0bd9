//! The life of a session: how it ends, beside another, and killed.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    time::Duration,
};

use aya::programs::loaded_programs;
use rustix::process::Signal;

use crate::{
    clock::{MS, now, patience, wait_for},
    closing::half_close,
    expect::assert_lines,
    net::Listener,
    ns::Netns,
    process::own_files,
    tool::tcpstate,
    trace::Trace,
};

#[test]
fn a_time_limit_ends_the_session_as_a_normal_end() {
    let trace = Trace::start(&["--for", "1s"]);
    let began = trace.started;
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    let run = trace.finish();
    let took = now() - began;
    run.assert_sound();
    assert!(took > 900 * MS, "{took}");
    assert!(u128::from(took) < patience().as_nanos());
    assert_lines(&run, &stories[0].0, &stories[0].1);
}

#[test]
fn sigterm_is_a_normal_end_that_drains_what_has_happened() {
    let trace = Trace::start(&[]);
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    trace.tool.signal(Signal::TERM);
    let run = trace.finish();
    run.assert_sound();
    for (side, steps) in &stories {
        assert_lines(&run, side, steps);
    }
}

#[test]
fn a_reader_that_goes_away_is_a_quiet_end() {
    own_files();
    let mut command = tcpstate(&["trace", "-o", "json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("{\"type\":\"start\""), "{line}");
    // The reader is gone; the next line finds that out.
    let (status, _) = wait_for("the end of a tool without a reader", || {
        drop(Listener::on("127.0.0.1:0").pair());
        child.try_wait().unwrap()
    });
    let mut said = String::new();
    child.stderr.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn two_instances_tell_the_same_story() {
    let traces = [Trace::start(&[]), Trace::start(&[])];
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    for trace in traces {
        let run = trace.stop();
        run.assert_sound();
        for (side, steps) in &stories {
            assert_lines(&run, side, steps);
        }
    }
}

/// Numbers after `key` in what the kernel tells about a process's descriptors.
fn numbers(pid: u32, key: &str) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let number = |line: &str| line.strip_prefix(key)?.trim().parse().ok();
    texts
        .flat_map(|text| text.lines().filter_map(number).collect::<Vec<_>>())
        .collect()
}

fn loaded() -> BTreeSet<u32> {
    // A program may go between its number and its description.
    let programs = loaded_programs().filter_map(Result::ok);
    programs.map(|program| program.id()).collect()
}

#[test]
fn nothing_stays_in_the_kernel_when_the_tool_is_killed() {
    let mut trace = Trace::start(&[]);
    let programs = numbers(trace.tool.pid(), "prog_id:");
    assert!(!programs.is_empty());
    assert!(programs.is_subset(&loaded()), "{programs:?}");
    trace.tool.kill();
    wait_for("its programs to be gone", || {
        programs.is_disjoint(&loaded()).then_some(())
    });
}

#[test]
fn a_stopped_tool_that_goes_on_has_lost_nothing_that_the_ring_could_hold() {
    let trace = Trace::start(&[]);
    trace.tool.signal(Signal::STOP);
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    std::thread::sleep(Duration::from_millis(500));
    trace.tool.signal(Signal::CONT);
    let run = trace.stop();
    run.assert_sound();
    for (side, steps) in &stories {
        assert_lines(&run, side, steps);
    }
}

#[test]
fn a_line_appears_within_a_tenth_of_a_second_although_nothing_follows_it() {
    // What other tests do meanwhile would be written before these lines.
    let inside = Netns::new();
    let mut trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let noise = crate::clock::Noise::start();
    let (client, _server) = inside.enter(|| Listener::on("127.0.0.1:0").pair());
    trace.until_enters(&client.side, "ESTABLISHED");
    let late = noise.stop();
    let ours = |seen: &&crate::trace::Seen| crate::trace::is_of(&seen.line, &client.side);
    for seen in trace.seen.iter().filter(ours) {
        let took = seen.arrived.saturating_sub(seen.line.mono_ns);
        // Tool, reader and pipe each wait for a CPU once.
        assert!(took <= 100 * MS + 3 * late, "{took} ns, late by {late} ns");
    }
    trace.stop().assert_sound();
}
