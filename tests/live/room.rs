//! More sockets than may be remembered: every view says so, and what it left out.

use crate::{
    clock::wait_for,
    dwell::stop,
    flood::{flood, spacious},
    lines::End,
    net::Listener,
    tool::{Done, Tool, run, tcpstate},
};

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
