//! A tool at rest: it hardly ever wakes, and tells of the next event at once.

use std::{fs, thread, time::Duration};

use crate::{
    clock::{MS, now},
    net::Listener,
    ns::Netns,
    trace::{Trace, is_of},
};

/// After the last event lines may wait for others for a second, and some looks
/// more are made until nothing is left to be looked for.
const SILENCE: Duration = Duration::from_millis(2_500);

/// How long wake-ups are counted.
const COUNTED: Duration = Duration::from_secs(5);

/// Between two looks of a tool at rest.
const LOOK: Duration = Duration::from_secs(1);

/// Wake-ups in a second of silence. One is the tool's own; a timer that told of
/// single events would take ten.
const WAKE_UPS: u64 = 4;

/// So soon after its event a line is there, in an emulated machine, too. A tool
/// that only looked once a second would keep to it in one event of two.
const SOON: u64 = 500 * MS;

/// Each a tenth of a second longer after its silence than the one before: the looks
/// of such a tool keep step with the event before, and might all come just then
/// (seen: without that, this test held for a tool whose records wake nobody).
const EVENTS: u32 = 10;

/// How often its threads have gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    let sleeps = statuses.map(|status| {
        let status = status.unwrap();
        let mut lines = status.lines();
        let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.unwrap().trim().parse::<u64>().unwrap()
    });
    sleeps.sum()
}

#[test]
fn at_rest_it_wakes_once_a_second_and_the_next_event_has_its_line_at_once() {
    let inside = Netns::new();
    // Other tests' traffic would wake it.
    let only = inside.inode.to_string();
    let mut trace = Trace::start(&["--netns", &only]);
    thread::sleep(SILENCE);
    let (before, began) = (sleeps(trace.tool.pid()), now());
    thread::sleep(COUNTED);
    let woken = sleeps(trace.tool.pid()) - before;
    let seconds = (now() - began).div_ceil(1_000 * MS);
    assert!(woken <= WAKE_UPS * seconds, "{woken} in {seconds} s");
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        for number in 0..EVENTS {
            thread::sleep(SILENCE + number * LOOK / EVENTS);
            let (client, _server) = listener.pair();
            let side = client.side;
            let arrived = trace.until("the first line of a connection", |seen| {
                let mut lines = seen.iter();
                let first = lines.find(|seen| is_of(&seen.line, &side))?;
                Some(first.arrived.saturating_sub(first.line.mono_ns))
            });
            assert!(arrived < SOON, "{} ms after the event", arrived / MS);
        }
    });
    let run = trace.stop();
    run.end.assert_conserved();
    assert_eq!(run.end.lost(), 0, "{:?}", run.end);
}
