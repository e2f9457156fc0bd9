//! A ring that is too small and a reader that stands still: what is lost is
//! counted, what is printed is true, and afterwards all is well again.

use std::{collections::HashMap, thread, time::Duration};

use rustix::process::Signal;

use crate::{
    clock::{Interval, MS, in_vm, now},
    closing::{Story, half_close},
    expect::{Step, assert_lines, bounds, within},
    flood::{flood, spacious},
    lines::Transition,
    net::{Listener, Side},
    trace::{Trace, is_of},
};

/// How long the reader stands still.
const STILL: Duration = Duration::from_secs(5);

#[test]
fn what_a_small_ring_loses_is_counted_and_nothing_false_is_said_before_or_after() {
    let inside = spacious();
    // Other tests' traffic would fill so small a ring again and again.
    let only = inside.inode.to_string();
    let mut trace = Trace::start(&["--ring-size", "64K", "--netns", &only]);
    let (run, stories, last, parked) = inside.enter(|| {
        let listener = Listener::on("0.0.0.0:0");
        let near = Listener::on("127.0.0.1:0");
        let (client, server) = near.pair();
        trace.until_enters(&server.side, "ESTABLISHED");
        trace.tool.signal(Signal::STOP);
        let stopped = now();
        let mut stories = flood(&listener, if in_vm() { 300 } else { 3_000 });
        // Nobody sees this socket enter CLOSE_WAIT.
        client.shutdown();
        server.end_of_file();
        let still = Duration::from_nanos(now() - stopped);
        thread::sleep(STILL.saturating_sub(still));
        trace.tool.signal(Signal::CONT);
        stories.extend(recovered(&mut trace, &near));
        let last = half_close(&near);
        let parked = server.side;
        server.close();
        trace.until_enters(&parked, "LAST_ACK");
        (trace.stop(), stories, last, parked)
    });
    let end = &run.end;
    assert!(end.lost() > 0, "{end:?}");
    end.assert_conserved();
    assert_eq!(end.undecodable, 0);
    assert_eq!(run.status.code(), Some(4), "{}", run.stderr);
    let lines = run.select(|line| line.netns == inside.inode);
    assert_nothing_false(&lines, &stories);
    for (side, steps) in &last {
        assert_lines(&run, side, steps);
    }
    let closed = run.of(&parked);
    let closed = closed.iter().find(|line| line.new == "LAST_ACK").unwrap();
    assert_eq!(closed.old, "CLOSE_WAIT");
    assert_ne!(closed.dwell, "exact", "nobody saw it enter: {closed:?}");
}

/// Makes connections until one has all of its lines: the ring is empty again
/// and the table repaired.
pub(crate) fn recovered(trace: &mut Trace, listener: &Listener) -> Vec<Story> {
    let mut stories = Vec::new();
    crate::clock::wait_for("a connection with all of its lines", || {
        let story = half_close(listener);
        let (side, steps) = &story[1];
        let deadline = now() + 1_000 * MS;
        let whole = trace.until("its lines or a second", |seen| {
            let lines = seen.iter().filter(|seen| is_of(&seen.line, side));
            let whole = lines.count() == steps.len();
            (whole || now() > deadline).then_some(whole)
        });
        stories.extend(story);
        whole.then_some(())
    });
    stories
}

/// A line of a flooded connection is one of its steps, with a dwell that is
/// right or says that it is not exact; or it says that it was not seen.
pub(crate) fn assert_nothing_false(lines: &[&Transition], stories: &[Story]) {
    let expected: HashMap<&Side, &Vec<Step>> =
        stories.iter().map(|(side, steps)| (side, steps)).collect();
    let mut judged = 0;
    for line in lines {
        let (Some(laddr), Some(lport), Some(raddr), Some(rport)) =
            (line.laddr, line.lport, line.raddr, line.rport)
        else {
            continue;
        };
        let side = Side {
            netns: line.netns,
            local: (laddr, lport).into(),
            remote: (raddr, rport).into(),
        };
        if let Some(steps) = expected.get(&side) {
            judge(line, steps).unwrap_or_else(|wrong| panic!("{wrong}: {line:?}"));
            judged += 1;
        }
    }
    assert!(judged > 0);
}

fn judge(line: &Transition, steps: &[Step]) -> Result<(), String> {
    if line.cause.as_deref() == Some("unseen") {
        return (line.dwell != "exact")
            .then_some(())
            .ok_or_else(|| "exact, and not seen".to_owned());
    }
    let at = steps
        .iter()
        .position(|step| step.old == line.old && step.new == line.new)
        .ok_or("no such step")?;
    let left = open(&steps[at]);
    within("time", line.mono_ns, left.from, left.to)?;
    let Some(entered) = at.checked_sub(1).map(|before| open(&steps[before])) else {
        return Ok(());
    };
    let (shortest, longest) = bounds(entered, left);
    match (line.dwell.as_str(), line.dwell_ns) {
        ("exact", Some(dwell)) => within("dwell", dwell, shortest, longest),
        ("at_least", Some(dwell)) => within("lower bound", dwell, 0, longest),
        ("unknown", None) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// The flood does not see when a `LAST_ACK` ends.
fn open(step: &Step) -> Interval {
    let to = if step.old == "LAST_ACK" {
        step.at.to + 1_000 * MS
    } else {
        step.at.to
    };
    Interval { to, ..step.at }
}
