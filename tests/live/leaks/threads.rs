//! What the threads of a process do that does not look at its sockets.

use std::{os::fd::OwnedFd, process::Command};

use serde_json::Value;

use super::{Leaks, assert_in_order, functions, lines, visit};
use crate::{
    clock::wait_for,
    net::Listener,
    ns::Netns,
    tool::{Tool, tcpstate},
    zoo::{Leaking, program},
};

/// Threads of `tests/zoo/leak.c`, mode `stuck`.
const QUEUED: u64 = 18;
const ASKING: u64 = 2;

/// Workers that are stuck, three sockets that none of them looks at, and the
/// backend, which does not answer.
struct Stuck {
    server: Leaking,
    backend: String,
    _unanswered: (Listener, Vec<OwnedFd>),
}

fn stuck(inside: &Netns) -> Stuck {
    inside.enter(|| {
        let backend = Listener::on("127.0.0.1:0");
        let port = backend.side.local.port().to_string();
        let mut command = Command::new(program());
        let server = Leaking::told(command.args(["stuck", &port]), "gcc");
        let asked = (0..ASKING).map(|_| backend.take()).collect();
        visit(&server, 3, b"");
        Stuck {
            server,
            backend: backend.side.local.to_string(),
            _unanswered: (backend, asked),
        }
    })
}

/// The kinds of waiting in the first report in which all threads have got to
/// where they wait.
fn settled(leaks: &mut Leaks, stuck: &Stuck) -> Vec<Value> {
    let (kinds, _) = wait_for("all threads to wait", || {
        let group = leaks.until("eof_not_read", 3);
        assert_eq!(group["pid"], stuck.server.pid(), "{group:#}");
        assert_eq!(group["threads_left_out"], Value::Null, "{group:#}");
        let kinds = group["threads"].as_array().unwrap().clone();
        let queued = kinds.iter().any(|it| it["count"] == QUEUED);
        (queued && asking(&kinds, stuck).is_some()).then_some(kinds)
    });
    kinds
}

fn asking<'a>(kinds: &'a [Value], stuck: &Stuck) -> Option<&'a Value> {
    let mut kinds = kinds.iter();
    kinds.find(|it| it["count"] == ASKING && it["peer"] == stuck.backend)
}

#[test]
fn stuck_workers_are_told_by_what_they_wait_for() {
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let can = !leaks.hooks()["thread_stacks"].is_null();
    let stuck = stuck(&inside);
    let kinds = settled(&mut leaks, &stuck);
    let (_, done) = leaks.stop();
    let all = kinds.iter().map(|it| it["count"].as_u64().unwrap());
    // And one that accepts, and one that computes.
    assert_eq!(all.sum::<u64>(), QUEUED + ASKING + 2, "{kinds:#?}");
    let queued = kinds.iter().find(|it| it["count"] == QUEUED).unwrap();
    let asking = asking(&kinds, &stuck).unwrap();
    if can {
        let waits = functions(&queued["stack"]);
        assert_in_order(&waits, &["wait_for_backend", "queue_for_backend"]);
        let asks = functions(&asking["stack"]);
        assert_in_order(&asks, &["ask_backend", "ask_and_wait"]);
        for kind in [queued, asking] {
            assert_eq!(kind["end"], "root", "{kind:#}");
        }
        // Where it is, nobody can know without stopping it.
        let runs = kinds.iter().find(|it| it["end"] == "running").unwrap();
        assert_eq!((&runs["count"], &runs["stack"]), (&1.into(), &Value::Null));
    } else {
        let start = lines(&done.stdout, "start").remove(0);
        let missing = start["not_measured"].as_array().unwrap().iter();
        let mut reasons = missing.filter(|it| it["signal"] == "thread_stacks");
        let reason = reasons.next().unwrap()["reason"].as_str().unwrap();
        assert!(reason.contains("the kernel has no"), "{reason}");
        assert!(kinds.iter().all(|it| it["stack"].is_null()), "{kinds:#?}");
    }
}

#[test]
fn a_table_names_the_function_in_which_workers_wait() {
    let inside = Netns::new();
    let leaks = Leaks::start(&inside, &[]);
    let can = !leaks.hooks()["thread_stacks"].is_null();
    leaks.stop();
    let netns = inside.inode.to_string();
    let usual = ["leaks", "--netns", &netns, "-i", "200ms", "--min-age"];
    let mut table = Tool::start(tcpstate(&usual).arg("100ms"));
    let stuck = stuck(&inside);
    let (text, _) = wait_for("all threads to wait", || {
        assert!(!table.has_ended(), "{}", table.stderr.text());
        // Without the ends of lines, which may lie anywhere.
        let text = table.stdout.text();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let all = [format!(" {QUEUED} leak "), stuck.backend.clone()];
        all.iter().all(|it| text.contains(it)).then_some(text)
    });
    let at = text.contains("<- wait_for_backend <- queue_for_backend");
    assert_eq!(at, can, "{text}");
}
