//! No room: for more sockets than may be remembered, where every view says so, and
//! for lines in a pipe.

use std::{os::unix::process::ExitStatusExt, sync::Arc};

use rustix::process::Signal;

use crate::{
    clock::wait_for,
    dwell::stop,
    flood::{flood, spacious},
    lines::End,
    net::Listener,
    tool::{Done, Tool, run, tcpstate},
    trace::Trace,
};

#[test]
fn a_tool_whose_pipe_nobody_reads_can_be_ended() {
    let inside = spacious();
    let mut trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let received = Arc::clone(&trace.tool.stdout.received);
    let nobody = received.lock().unwrap();
    // 64 KiB are 200 lines.
    inside.enter(|| flood(&Listener::on("0.0.0.0:0"), 200));
    wait_for("its end", || {
        trace.tool.signal(Signal::INT);
        trace.tool.has_ended().then_some(())
    });
    drop(nobody);
    let status = trace.tool.wait();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
}

#[test]
fn every_view_says_what_there_was_no_room_for_and_a_recording_has_it() {
    let inside = spacious();
    let only = inside.inode.to_string();
    let few = ["--netns", &only, "--max-sockets", "10"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let file = file.to_str().unwrap();
    let start = |arguments: &[&str]| Tool::start(&mut tcpstate(&[arguments, &few].concat()));
    let mut recorder = start(&["record", "-o", file]);
    let views = ["trace", "dwell", "leaks"].map(|view| start(&[view, "-o", "json"]));
    for tool in &views {
        wait_for("the start line", || {
            let text = tool.stdout.text();
            text.contains("\"max_sockets\":10}").then_some(())
        });
    }
    wait_for("the beginning of the recording", || {
        assert!(!recorder.has_ended(), "{}", recorder.stderr.text());
        let begun = run(&mut tcpstate(&["trace", "--replay", file, "-o", "json"]));
        begun
            .stdout
            .starts_with("{\"type\":\"start\"")
            .then_some(())
    });
    inside.enter(|| {
        flood(&Listener::on("0.0.0.0:0"), 50);
    });
    let end = |done: &Done| -> End {
        let last = done.stdout.lines().last().unwrap();
        serde_json::from_str(last).unwrap()
    };
    let assert_told = |done: &Done| {
        let end = end(done);
        assert!(end.no_room > 0 && end.lost() == 0, "{end:?}");
        let words = format!(
            "no room for {} events of sockets (--max-sockets)",
            end.no_room
        );
        assert!(done.stderr.contains(&words), "{}", done.stderr);
        assert_eq!(done.code, Some(4), "{}", done.stderr);
    };
    for tool in views {
        assert_told(&stop(tool));
    }
    let recorded = stop(recorder);
    assert_eq!(recorded.code, Some(0), "{}", recorded.stderr);
    let replay = ["dwell", "-o", "json", "--replay", file];
    assert_told(&run(&mut tcpstate(&[&replay[..], &few[2..]].concat())));
    let whole = run(&mut tcpstate(&replay));
    assert_eq!((whole.code, end(&whole).no_room), (Some(0), 0));
}
