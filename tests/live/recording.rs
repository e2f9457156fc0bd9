//! A recording replayed says what the trace beside it said, and one that was
//! cut short says so.

use std::{fs, path::Path};

use rustix::process::Signal;

use crate::{
    clock::{in_vm, wait_for},
    closing::half_close,
    expect::{assert_lines, within},
    lines::{End, Line, Transition, parse},
    net::{Listener, Side},
    tool::{Done, Tool, run, tcpstate},
    trace::{Trace, is_of},
};

/// Starts `tcpstate record` and waits until the file says what hooks there
/// are: from then on nothing is missed.
fn record(file: &Path) -> Tool {
    let mut tool = Tool::start(&mut tcpstate(&["record", "-o", file.to_str().unwrap()]));
    wait_for("the beginning of the recording", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let begun = replay(file).stdout.starts_with("{\"type\":\"start\"");
        begun.then_some(())
    });
    tool
}

fn replay(file: &Path) -> Done {
    let file = file.to_str().unwrap();
    run(&mut tcpstate(&["trace", "--replay", file, "-o", "json"]))
}

/// The transitions in JSON output, and the end line.
fn transitions(text: &str) -> (Vec<Transition>, Option<End>) {
    let mut lines = Vec::new();
    let mut end = None;
    for text in text.lines() {
        match parse(text).unwrap() {
            Line::Transition(line) => lines.push(*line),
            Line::End(last) => end = Some(last),
            Line::Start(_) => {}
        }
    }
    (lines, end)
}

fn of<'a>(lines: &'a [Transition], side: &Side) -> Vec<&'a Transition> {
    lines.iter().filter(|line| is_of(line, side)).collect()
}

/// Everything of a line but its times and the name made from one: two
/// programs on one tracepoint read the clock one after the other.
fn timeless(line: &Transition) -> Transition {
    Transition {
        ts: String::new(),
        mono_ns: 0,
        conn: String::new(),
        dwell_ns: line.dwell_ns.map(|_| 0),
        ..line.clone()
    }
}

#[test]
fn a_replayed_recording_tells_what_a_trace_beside_it_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let recorder = record(&file);
    let trace = Trace::start(&[]);
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    let traced = trace.stop();
    traced.assert_sound();
    recorder.signal(Signal::INT);
    let recorded = recorder.done();
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let replayed = replay(&file);
    assert_eq!(replayed.code, Some(0), "{}", replayed.stderr);
    let (lines, end) = transitions(&replayed.stdout);
    let end = end.unwrap();
    assert!(end.complete);
    end.assert_conserved();
    for (side, steps) in &stories {
        assert_lines(&traced, side, steps);
        let (live, later) = (traced.of(side), of(&lines, side));
        assert_eq!(live.len(), later.len(), "{later:#?}");
        for (live, later) in live.iter().zip(&later) {
            assert_eq!(timeless(live), timeless(later));
            // An emulated machine may stand still between the two programs.
            if !in_vm() {
                within("time", later.mono_ns, live.mono_ns, live.mono_ns).unwrap();
                let dwell = |line: &Transition| line.dwell_ns.unwrap_or(0);
                within("dwell", dwell(later), dwell(live), dwell(live)).unwrap();
            }
        }
    }
    assert_eq!(replay(&file).stdout, replayed.stdout, "a second replay");
}

#[test]
fn a_recording_that_was_killed_is_read_to_its_last_frame_and_says_that_its_end_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let mut recorder = record(&file);
    let stories = half_close(&Listener::on("127.0.0.1:0"));
    let last = &stories[1];
    // The records are on their way into the file while it is being written.
    wait_for("the last line in the file", || {
        let (lines, _) = transitions(&replay(&file).stdout);
        (of(&lines, &last.0).len() == last.1.len()).then_some(())
    });
    recorder.kill();
    let whole = assert_cut(&replay(&file), "not finished");
    for (side, steps) in &stories {
        let lines = of(&whole, side);
        crate::expect::check(&lines, crate::expect::First::Born, steps).unwrap();
    }
    // Cut in the middle of what came last.
    let bytes = fs::read(&file).unwrap();
    for missing in [1, 3, 7] {
        fs::write(&file, &bytes[..bytes.len() - missing]).unwrap();
        let lines = assert_cut(&replay(&file), "breaks off");
        // Another test's last line may lack the port that the missing record tells.
        for (side, _) in &stories {
            let (lines, whole) = (of(&lines, side), of(&whole, side));
            assert_eq!(lines[..], whole[..lines.len()], "a wrong line");
        }
    }
}

/// The lines of a replay that says that the end is missing, and claims nothing
/// about what only the end would tell.
fn assert_cut(done: &Done, says: &str) -> Vec<Transition> {
    assert_eq!(done.code, Some(4), "{}", done.stderr);
    assert!(done.stderr.contains(says), "{}", done.stderr);
    let (lines, end) = transitions(&done.stdout);
    let end = end.unwrap();
    assert!(!end.complete, "{end:?}");
    assert_eq!((end.seen, end.delivered), (None, None), "{end:?}");
    assert_eq!(end.lost, None, "{end:?}");
    assert!(!done.stderr.contains("nothing lost"), "{}", done.stderr);
    lines
}

#[test]
fn what_is_no_recording_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("not-a-recording");
    for content in [&b""[..], b"hello", &[0xff; 4096]] {
        fs::write(&file, content).unwrap();
        let done = replay(&file);
        assert!(done.code.is_some_and(|code| code != 0), "{done:?}");
        assert_eq!(transitions(&done.stdout).0, []);
        assert!(done.stderr.contains("not-a-recording"), "{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
}
