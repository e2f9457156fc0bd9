//! `tcpstate explain`: the story of one connection, live and from a recording.

use std::{net::SocketAddr, path::Path, thread::sleep};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    clock::{Interval, wait_for},
    closing::PARKED,
    expect::{Step, accepted, bounds, connected, step, within},
    net::{Conn, Listener, Side},
    ns::Netns,
    process::{own_comm, own_pid},
    tables::wait_state,
    tool::{Done, Tool, run, tcpstate},
};

/// Starts it on a network namespace, and waits until nothing is missed.
fn explain(inside: &Netns, arguments: &[&str]) -> Tool {
    let netns = inside.inode.to_string();
    let usual = ["explain", "-o", "json", "--netns", &netns];
    let mut tool = Tool::start(&mut tcpstate(&[&usual[..], arguments].concat()));
    wait_for("the start line", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let text = tool.stdout.text();
        text.starts_with("{\"type\":\"start\"").then_some(())
    });
    tool
}

/// The stories of a run in which nothing was lost.
fn stories(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let lines = done.stdout.lines();
    let all: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(all.last().unwrap()["type"], "end");
    all.into_iter()
        .filter(|it| it["type"] == "explain")
        .collect()
}

fn of<'a>(stories: &'a [Value], side: &Side) -> &'a Value {
    let is = |it: &&Value| {
        it["lport"] == side.local.port()
            && it["rport"] == side.remote.port()
            && it["netns"] == side.netns
    };
    let all: Vec<_> = stories.iter().filter(is).collect();
    assert_eq!(all.len(), 1, "one story of {side:?}: {stories:#?}");
    all[0]
}

/// The timeline is the steps: what, when, and how long after the begin.
fn assert_timeline(story: &Value, steps: &[Step]) {
    let timeline = story["timeline"].as_array().unwrap();
    let changes: Vec<_> = timeline
        .iter()
        .map(|it| (it["old"].as_str().unwrap(), it["new"].as_str().unwrap()))
        .collect();
    let expected: Vec<_> = steps.iter().map(|it| (it.old, it.new)).collect();
    assert_eq!(changes, expected, "{story:#}");
    for (moment, step) in timeline.iter().zip(steps) {
        let at = moment["mono_ns"].as_u64().unwrap();
        within("time", at, step.at.from, step.at.to).unwrap();
        let since = moment["since_birth_ns"].as_u64().unwrap();
        let (least, most) = bounds(steps[0].at, step.at);
        within("since birth", since, least, most).unwrap();
        assert_eq!(moment["since_birth"], "exact");
        assert_ne!(moment["meaning"], "");
    }
}

/// The server resets the client, and leaves ten bytes unread.
fn reset(listener: &Listener) -> [(Side, Vec<Step>); 2] {
    let (client, server) = listener.pair();
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let (near, far) = (client.side, server.side);
    client.send(b"never read");
    server.wait_readable();
    let sent = server.close();
    let heard = sent.until(client.reset());
    client.close();
    ours.push(step("ESTABLISHED", "CLOSE", None, heard));
    theirs.push(step("ESTABLISHED", "CLOSE", None, sent));
    [(near, ours), (far, theirs)]
}

/// Both ends' stories: who reset it, and why.
fn assert_reset(all: &[Value], [(near, ours), (far, theirs)]: &[(Side, Vec<Step>); 2]) {
    assert_timeline(of(all, near), ours);
    let story = of(all, far);
    assert_timeline(story, theirs);
    let last = &story["timeline"][theirs.len() - 1]["by"];
    assert_eq!(last["pid"], own_pid(), "{story:#}");
    assert_eq!(last["comm"], own_comm());
    assert_eq!(last["call"], "close");
    assert_eq!(story["connection"]["reset_reason"], "unread_data");
    assert_eq!(story["verdict"], story["connection"]["message"]);
    let advice = story["advice"].as_str().unwrap();
    assert!(advice.contains("end-of-file"), "{advice}");
}

#[test]
fn what_is_followed_live_is_explained_as_soon_as_it_is_over() {
    let inside = Netns::new();
    let listener = inside.enter(|| Listener::on("127.0.0.1:0"));
    let address = listener.side.local.to_string();
    let tool = explain(&inside, &[&address]);
    let both = inside.enter(|| reset(&listener));
    // By itself.
    let done = tool.done();
    assert_reset(&stories(&done), &both);
}

/// Records what `play` does.
fn recorded<T>(file: &Path, play: impl FnOnce() -> T) -> T {
    let path = file.to_str().unwrap();
    let mut tool = Tool::start(&mut tcpstate(&["record", "-o", path]));
    wait_for("the beginning of the recording", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        let so_far = run(&mut tcpstate(&["trace", "--replay", path, "-o", "json"]));
        so_far
            .stdout
            .starts_with("{\"type\":\"start\"")
            .then_some(())
    });
    let value = play();
    tool.signal(Signal::INT);
    let done = tool.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    value
}

fn replay(file: &Path, arguments: &[&str]) -> Done {
    let usual = ["explain", "--replay", file.to_str().unwrap()];
    run(&mut tcpstate(&[&usual[..], arguments].concat()))
}

#[test]
fn a_recording_explains_what_was_in_it_by_address_and_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let inside = Netns::new();
    let both = recorded(&file, || {
        inside.enter(|| reset(&Listener::on("127.0.0.1:0")))
    });
    let netns = inside.inode.to_string();
    let client = both[0].0.local.to_string();
    let all = stories(&replay(&file, &[&client, "--netns", &netns, "-o", "json"]));
    assert_reset(&all, &both);
    // The name picks one of them.
    let name = of(&all, &both[1].0)["conn"].as_str().unwrap();
    let one = stories(&replay(&file, &[name, "-o", "json"]));
    assert_eq!(one.len(), 1, "{one:#?}");
    assert_eq!(one[0]["timeline"], of(&all, &both[1].0)["timeline"]);
    let text = replay(&file, &[name]).stdout;
    assert!(text.contains("10 bytes unread"), "{text}");
    assert!(text.contains("verdict"), "{text}");
}

#[test]
fn a_recording_without_it_says_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let inside = Netns::new();
    recorded(&file, || {
        inside.enter(|| reset(&Listener::on("127.0.0.1:0")))
    });
    let netns = inside.inode.to_string();
    let done = replay(&file, &["192.0.2.1:1", "--netns", &netns]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let text = done.stdout;
    assert!(
        text.starts_with("no connection matches 192.0.2.1:1; seen: "),
        "{text}"
    );
}

/// The peer has closed and this process has not, as far as it was followed.
#[test]
fn a_connection_that_is_not_over_is_explained_as_far_as_it_is_known() {
    let inside = Netns::new();
    let (client, server, at) = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let at: SocketAddr = server.side.local;
        (client, server, at)
    });
    let tool = explain(&inside, &[&at.to_string()]);
    let (far, fin) = inside.enter(|| {
        let near = client.side;
        let closed = client.close();
        wait_state(&near, "FIN_WAIT2");
        (server.side, closed.until(server.end_of_file()))
    });
    sleep(PARKED);
    let asked = crate::clock::now();
    tool.signal(Signal::INT);
    let done = tool.done();
    let ended = Interval {
        from: asked,
        to: crate::clock::now(),
    };
    drop::<Conn>(server);
    let all = stories(&done);
    let story = of(&all, &far);
    assert_eq!(story["state"], "CLOSE_WAIT", "{story:#}");
    let (least, most) = bounds(fin, ended);
    within("so far", story["state_ns"].as_u64().unwrap(), least, most).unwrap();
    assert_eq!(story["connection"], Value::Null);
    let verdict = story["verdict"].as_str().unwrap();
    assert!(verdict.contains("the peer has closed"), "{verdict}");
    let advice = story["advice"].as_str().unwrap();
    assert!(advice.contains("tcpstate leaks"), "{advice}");
}
