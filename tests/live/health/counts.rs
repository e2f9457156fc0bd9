//! What the kernel counts, what events tell, and what really happened: all three
//! must agree.

use serde_json::Value;

use super::{
    Numbers, counters,
    deeds::{
        Done, connect_with_data, full, killed, never_accepted, not_answered, orderly, refused,
        requests, reset, with_itself, without_a_port,
    },
    has, health, number, settled, since, stop, totals,
};
use crate::{
    clock::wait_for,
    net::{Listener, begin_connect, socket},
    ns::Netns,
    peer::Peer,
    tables::wait_state,
};

fn assert_done(line: &Value, counted: &Numbers, done: Done, sees_requests: bool) {
    let names = [
        "active_opens",
        "passive_opens",
        "attempt_fails",
        "estab_resets",
    ];
    let kernel = names.map(|name| counted[name]);
    assert_eq!(
        kernel,
        [done.active, done.passive, done.failed, done.resets],
        "the kernel, and what was done: {line:#}"
    );
    let unseen = if sees_requests { 0 } else { done.requests };
    let event = |name: &str| number(line, &format!("/events/{name}"));
    let events = ["active", "passive", "failed", "resets"].map(event);
    assert_eq!(
        events,
        [done.active, done.passive, done.failed - unseen, done.resets],
        "events, and what was done: {line:#}"
    );
    assert_eq!(
        ["no_port", "given_up", "accepted", "connects"].map(event),
        [
            done.no_port,
            done.given_up,
            done.accepted,
            done.active + done.no_port
        ],
        "{line:#}"
    );
}

#[test]
fn the_kernel_events_and_the_test_count_the_same_opens_failures_and_resets() {
    let inside = Netns::new();
    let peer = Peer::beside(&inside);
    inside.set("tcp_syn_retries", "1");
    inside.set("tcp_synack_retries", "1");
    let tool = health(&["--netns", &inside.inode.to_string(), "-i", "200ms"]);
    let sees_requests = has(&tool, "request_end");
    let before = inside.enter(counters);
    let listener = inside.enter(|| Listener::on("127.0.0.1:0"));
    let done = inside.enter(|| {
        let parts = [
            orderly(&listener),
            orderly(&Listener::on("[::1]:0")),
            refused(),
            reset(&listener),
            killed(&listener),
            never_accepted(),
            with_itself(),
            not_answered(),
        ];
        parts.into_iter().fold(Done::default(), Done::and)
    });
    let done = done.and(requests(&inside, &peer));
    let done = inside.enter(|| done.and(without_a_port(&inside, &listener)));
    let counted = since(&before, &settled(&inside));
    wait_for("a line that has all", || {
        let lines = super::told(&tool.stdout.text());
        let sum = |name: &str| -> u64 {
            let each = lines
                .iter()
                .filter_map(|line| totals(line).get(name).copied());
            each.sum()
        };
        (sum("in_segs") >= counted["in_segs"]).then_some(())
    });
    let lines = stop(tool);
    let (last, earlier) = lines.split_last().unwrap();
    assert_done(last, &counted, done, sees_requests);
    assert_eq!(totals(last), counted, "{last:#}");

    // The lines add up to the last one.
    for name in counted.keys() {
        let sum: u64 = earlier.iter().map(|line| totals(line)[name]).sum();
        assert_eq!(sum, counted[name], "{name}");
    }
    for name in ["active", "passive", "failed", "resets", "accepted"] {
        let path = format!("/events/{name}");
        let sum: u64 = earlier.iter().map(|line| number(line, &path)).sum();
        assert_eq!(sum, number(last, &path), "{name}");
    }
    let by = &last["events"]["failed_by"];
    assert_eq!((&by["refused"], &by["timeout"]), (&5.into(), &1.into()));
    let process = &last["processes"][0];
    assert_eq!(process["pid"], std::process::id());
    assert_eq!(number(process, "/no_port"), 2);
    drop(listener);
}

#[test]
fn a_fast_open_connect_that_never_writes_is_a_connect_for_events_only() {
    let inside = Netns::new();
    // Clients need no cookie.
    inside.set("tcp_fastopen", "7");
    let tool = health(&["--netns", &inside.inode.to_string(), "-i", "1h"]);
    inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        orderly(&listener);
        let fd = socket(listener.side.local);
        connect_with_data(&fd);
        rustix::net::connect(&fd, &listener.side.local).unwrap();
    });
    let lines = stop(tool);
    let line = lines.last().unwrap();
    assert_eq!(number(line, "/totals/active_opens"), 7);
    assert_eq!(number(line, "/events/active"), 8);
    assert_eq!(number(line, "/events/given_up"), 1);
}

#[test]
fn a_full_accept_queue_is_counted_and_marked_with_where_to_look() {
    let inside = Netns::new();
    let tool = health(&["--netns", &inside.inode.to_string(), "-i", "1h"]);
    let before = inside.enter(counters);
    let (listener, first) = inside.enter(|| {
        let (listener, local, first) = full();
        for _ in 0..4 {
            drop(begin_connect(local));
        }
        (listener, first)
    });
    let counted = since(&before, &settled(&inside));
    let lines = stop(tool);
    let [line] = &lines[..] else {
        panic!("{lines:#?}")
    };
    // Each SYN is one; a machine that was too slow has sent one again.
    assert!(counted["listen_overflows"] >= 4, "{counted:?}");
    assert_eq!(totals(line), counted);
    let mark = &line["marks"][0];
    assert_eq!(
        (&mark["mark"], &mark["next"]),
        (&"listen_overflow".into(), &"tcpstate ports".into())
    );
    drop((listener, first));
}

#[test]
fn sockets_per_state_are_those_that_the_kernel_counts() {
    let inside = Netns::new();
    let tool = health(&["--netns", &inside.inode.to_string(), "-i", "1h"]);
    let minisockets = has(&tool, "minisocket_begin") && has(&tool, "minisocket_end");
    let kept = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let established = [listener.pair(), listener.pair()];
        let (client, waiting) = listener.pair();
        client.close();
        waiting.end_of_file();
        let over = (0..3).map(|_| {
            let (client, server) = listener.pair();
            client.shutdown();
            server.end_of_file();
            server.close();
            client.end_of_file();
            wait_state(&client.side, "TIME_WAIT");
            client
        });
        let over: Vec<_> = over.collect();
        (listener, established, waiting, over)
    });
    let lines = stop(tool);
    let line = lines.last().unwrap();
    let state = |name: &str| line["sockets"][name].as_u64();
    assert_eq!(
        (state("ESTABLISHED"), state("CLOSE_WAIT")),
        (Some(4), Some(1))
    );
    assert_eq!(state("LISTEN"), Some(1));
    assert_eq!(number(line, "/established_now"), 5);
    // One of them in FIN_WAIT2.
    assert_eq!(number(line, "/timewait"), 4);
    let expected = minisockets.then_some((3, 1));
    assert_eq!(
        state("TIME_WAIT").zip(state("FIN_WAIT2")),
        expected,
        "{line:#}"
    );
    assert_eq!(state("SYN_RECV"), None);
    assert!(line["absent"]["SYN_RECV"].is_string());
    assert!(number(line, "/timewait_max") > 0 && number(line, "/orphans_max") > 0);
    drop(kept);
}
