//! Namespaces that go, filters, recordings and the table.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use rustix::process::Signal;

use super::{ended, health, number, stop, told};
use crate::{
    clock::wait_for,
    net::{Conn, Listener, netns},
    ns::Netns,
    tool::{Tool, run, tcpstate},
};

/// The file that `ip netns` has made for it.
fn mounted(inside: &Netns) -> PathBuf {
    let mut files = fs::read_dir("/run/netns").unwrap().map(Result::unwrap);
    let is_it = |file: &fs::DirEntry| file.metadata().is_ok_and(|it| it.ino() == inside.inode);
    files.find(is_it).unwrap().path()
}

fn pairs(listener: &Listener, count: usize) {
    for _ in 0..count {
        let (client, server) = listener.pair();
        client.close();
        server.end_of_file();
        server.close();
    }
}

#[test]
fn a_namespace_that_goes_is_told_and_is_not_kept_by_the_tool() {
    let inside = Netns::new();
    let inode = inside.inode;
    let tool = health(&["--netns", &inode.to_string(), "-i", "100ms"]);
    inside.enter(|| pairs(&Listener::on("127.0.0.1:0"), 3));
    wait_for("a line that has them", || {
        let lines = told(&tool.stdout.text());
        let seen: u64 = lines
            .iter()
            .map(|line| number(line, "/events/passive"))
            .sum();
        (seen == 3).then_some(())
    });
    drop(inside);
    wait_for("the mark", || {
        let lines = told(&tool.stdout.text());
        let line = lines.last()?;
        (line["marks"][0]["mark"] == "namespace_gone").then_some(())
    });
    let lines = stop(tool);
    let last = lines.last().unwrap();
    assert!(last["totals"]["in_segs"].is_null() && last["in_segs_per_s"].is_null());
    assert_eq!(last["absent"]["in_segs"], "the network namespace has gone");
    assert_eq!(number(last, "/events/active"), 3);
    assert_eq!(number(last, "/netns"), inode);
}

#[test]
fn without_netns_it_is_that_of_the_tool() {
    let inside = Netns::new();
    let outside = Listener::on("127.0.0.1:0");
    let tool = inside.enter(|| health(&["-i", "1h"]));
    pairs(&outside, 2);
    inside.enter(|| pairs(&Listener::on("127.0.0.1:0"), 5));
    let lines = stop(tool);
    let last = lines.last().unwrap();
    assert_eq!(number(last, "/netns"), inside.inode);
    assert_ne!(inside.inode, netns());
    assert_eq!(number(last, "/totals/active_opens"), 5);
    assert_eq!(number(last, "/events/active"), 5);
    // Only the first namespace has these files.
    assert!(number(last, "/timewait_max") > 0);
    assert!(last["orphans_max"].is_null(), "{last:#}");
    assert!(number(last, "/orphans") < 1 << 20);
}

#[test]
fn a_name_and_a_path_are_the_same_namespace() {
    let inside = Netns::new();
    let path = mounted(&inside);
    let name = path.file_name().unwrap().to_str().unwrap();
    let by = [name, path.to_str().unwrap()].map(|which| health(&["--netns", which, "-i", "1h"]));
    inside.enter(|| pairs(&Listener::on("127.0.0.1:0"), 2));
    for tool in by {
        let lines = stop(tool);
        assert_eq!(number(lines.last().unwrap(), "/netns"), inside.inode);
        assert_eq!(number(lines.last().unwrap(), "/totals/passive_opens"), 2);
    }
}

#[test]
fn a_filter_applies_to_events_and_sockets_and_not_to_the_kernels_counters() {
    let inside = Netns::new();
    let (wanted, other) = inside.enter(|| {
        let listen = || Listener::on("127.0.0.1:0");
        (listen(), listen())
    });
    let port = wanted.side.local.port().to_string();
    let tool = health(&[
        "--netns",
        &inside.inode.to_string(),
        "-i",
        "1h",
        "-D",
        &port,
    ]);
    let kept = inside.enter(|| {
        pairs(&other, 4);
        pairs(&wanted, 2);
        (wanted.pair(), other.pair())
    });
    let lines = stop(tool);
    let last = lines.last().unwrap();
    assert_eq!(last["events_filtered"], true);
    assert_eq!(number(last, "/totals/active_opens"), 8);
    assert_eq!(number(last, "/events/active"), 3);
    assert_eq!(number(last, "/sockets/ESTABLISHED"), 1);
    assert_eq!(number(last, "/established_now"), 4);
    drop(kept);
}

#[test]
fn a_recording_has_the_events_and_no_counters() {
    let inside = Netns::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("session");
    let name = file.to_str().unwrap();
    let netns = inside.inode.to_string();
    let mut recorder = Tool::start(&mut tcpstate(&["record", "-o", name, "--netns", &netns]));
    let replay = || run(&mut tcpstate(&["health", "--replay", name, "-o", "json"]));
    wait_for("the beginning of the recording", || {
        assert!(!recorder.has_ended(), "{}", recorder.stderr.text());
        let begun = fs::metadata(&file).is_ok_and(|file| file.len() > 0);
        (begun && replay().stdout.starts_with("{\"type\":\"start\"")).then_some(())
    });
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        pairs(&listener, 3);
        let (client, server) = listener.pair();
        client.abort();
        server.reset();
    });
    recorder.signal(Signal::INT);
    assert_eq!(recorder.done().code, Some(0));
    let lines = ended(&replay());
    let [line] = &lines[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(number(line, "/events/active"), 4);
    assert_eq!(number(line, "/events/passive"), 4);
    assert_eq!(number(line, "/events/resets"), 2);
    assert!(line["active_per_s"].is_null() && line["totals"]["active_opens"].is_null());
    assert_eq!(
        line["absent"]["active_opens"],
        "a recording has no counters"
    );
    let table = run(&mut tcpstate(&["health", "--replay", name]));
    assert!(
        table.stdout.contains("it has no counters"),
        "{}",
        table.stdout
    );
}

#[test]
fn the_table_is_aligned_and_has_its_titles_once_where_nobody_watches() {
    let inside = Netns::new();
    let netns = inside.inode.to_string();
    let arguments = ["health", "--netns", &netns, "-i", "100ms"];
    let tool = Tool::start(&mut tcpstate(&arguments));
    wait_for("its first row", || {
        tool.stdout.text().contains("TIME ").then_some(())
    });
    let kept: Vec<Conn> = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        pairs(&listener, 20);
        let (client, server) = listener.pair();
        vec![client, server]
    });
    let rows = |text: &str| text.matches(" 0 ").count() > 100;
    wait_for("thirty rows", || {
        let text = tool.stdout.text();
        (text.lines().count() > 32 && rows(&text)).then_some(())
    });
    tool.signal(Signal::INT);
    let done = tool.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let text = &done.stdout;
    assert!(
        text.starts_with(&format!("Network namespace {netns};")),
        "{text}"
    );
    assert_eq!(text.matches("TIME ").count(), 1, "{text}");
    let title = text.lines().find(|line| line.starts_with("TIME ")).unwrap();
    let rows = text
        .lines()
        .filter(|line| line.as_bytes().get(2) == Some(&b':') || line.starts_with("average"));
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 30, "{text}");
    for row in rows {
        assert_eq!(row.len(), title.len(), "{row}\n{title}");
        assert_eq!(row.split_whitespace().count(), 19, "{row}");
    }
    assert!(text.contains("\nBy events: 21 connects"), "{text}");
    drop(kept);
}
