//! What the kernel counts, what events tell, and what really happened: all three
//! must agree.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{connect_unspec, listen, sockopt::socket_error},
};
use serde_json::Value;

use super::{Numbers, counters, has, health, number, settled, since, stop, totals};
use crate::{
    clock::wait_for,
    net::{Conn, Listener, begin_connect, bound, connect_error, socket, wait_readable},
    ns::Netns,
    peer::{HOST, Peer, RST},
    process::output,
    tables::{wait_gone, wait_state},
};

/// What a test did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    active: u64,
    passive: u64,
    failed: u64,
    resets: u64,
    no_port: u64,
    given_up: u64,
    accepted: u64,
    /// Of the failed ones, what only the end of a request tells.
    requests: u64,
}

impl Done {
    /// Connections that were opened and accepted, and `resets` ends of them reset.
    const fn pairs(count: u64, resets: u64) -> Self {
        Self {
            active: count,
            passive: count,
            accepted: count,
            resets,
            failed: 0,
            no_port: 0,
            given_up: 0,
            requests: 0,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            passive: self.passive + other.passive,
            failed: self.failed + other.failed,
            resets: self.resets + other.resets,
            no_port: self.no_port + other.no_port,
            given_up: self.given_up + other.given_up,
            accepted: self.accepted + other.accepted,
            requests: self.requests + other.requests,
        }
    }
}

fn orderly(listener: &Listener) -> Done {
    for _ in 0..7 {
        let (client, server) = listener.pair();
        client.close();
        server.end_of_file();
        server.close();
    }
    Done::pairs(7, 0)
}

fn refused() -> Done {
    let (_held, nobody) = bound("127.0.0.1:0".parse().unwrap());
    for _ in 0..5 {
        let (errno, _) = connect_error(&socket(nobody), nobody);
        assert_eq!(errno, Errno::CONNREFUSED);
    }
    Done {
        active: 5,
        failed: 5,
        ..Done::default()
    }
}

/// Both ends of a connection that is aborted are reset, whoever did it; an end
/// that has sent its FIN is not, and one that has got a FIN is.
fn reset(listener: &Listener) -> Done {
    let (client, server) = listener.pair();
    client.abort();
    server.reset();
    let (client, server) = listener.pair();
    client.send(b"unread");
    server.wait_readable();
    server.close();
    client.reset();
    let (client, server) = listener.pair();
    client.shutdown();
    server.end_of_file();
    server.abort();
    wait_gone(&client.side);
    let (client, server) = listener.pair();
    connect_unspec(&client).unwrap();
    server.reset();
    Done::pairs(4, 2 + 2 + 1 + 2)
}

/// The process that reads `CLOSE` from a connection that `ss -K` ended.
fn killed(listener: &Listener) -> Done {
    let (client, server) = listener.pair();
    let port = format!(":{}", client.side.local.port());
    output("ss", "iproute2", &["-K", "-tn4", "sport", "=", &port]);
    wait_gone(&client.side);
    server.reset();
    Done::pairs(1, 2)
}

/// A listener that is closed resets whom it has not accepted.
fn never_accepted() -> Done {
    let listener = Listener::on("127.0.0.1:0");
    let client = Conn::to(listener.side.local);
    wait_readable(listener.as_fd());
    listener.close();
    client.reset();
    Done {
        accepted: 0,
        ..Done::pairs(1, 2)
    }
}

/// A connect that meets itself is not passive.
fn with_itself() -> Done {
    let (fd, own) = bound("127.0.0.1:0".parse().unwrap());
    let alone = Conn::with(fd, own);
    alone.close();
    Done {
        active: 1,
        ..Done::default()
    }
}

/// A listener with room for one connection, which is taken.
fn full() -> (OwnedFd, SocketAddr, Conn) {
    let (fd, local) = bound("127.0.0.1:0".parse().unwrap());
    listen(&fd, 0).unwrap();
    let client = Conn::to(local);
    wait_readable(fd.as_fd());
    (fd, local, client)
}

/// Who is not answered and closes has given up, who waits for too long has failed.
fn not_answered() -> Done {
    let (listener, local, first) = full();
    for _ in 0..3 {
        drop(begin_connect(local));
    }
    let fd = socket(local);
    rustix::io::ioctl_fionbio(&fd, true).unwrap();
    let (errno, _) = connect_error(&fd, local);
    assert_eq!(errno, Errno::INPROGRESS);
    wait_readable(fd.as_fd());
    assert_eq!(socket_error(&fd).unwrap(), Err(Errno::TIMEDOUT));
    drop(fd);
    first.close();
    drop(listener);
    Done {
        active: 1 + 3 + 1,
        passive: 1,
        given_up: 3,
        failed: 1,
        // In the queue, in CLOSE_WAIT; its client has sent a FIN.
        resets: 1,
        ..Done::default()
    }
}

/// No port is free, so that no SYN leaves.
fn without_a_port(inside: &Netns, listener: &Listener) -> Done {
    inside.set("ip_local_port_range", "40000 40001");
    let pairs = [listener.pair(), listener.pair()];
    for _ in 0..2 {
        let remote = listener.side.local;
        let (errno, _) = connect_error(&socket(remote), remote);
        assert_eq!(errno, Errno::ADDRNOTAVAIL);
    }
    for (client, server) in pairs {
        client.close();
        server.end_of_file();
        server.close();
    }
    Done {
        no_port: 2,
        ..Done::pairs(2, 0)
    }
}

/// A request that gets a RST has failed, one that runs out has not.
fn requests(inside: &Netns, peer: &Peer) -> Done {
    let listener = inside.enter(|| Listener::on(&format!("{HOST}:0")));
    let sides = [2_001, 2_002].map(|port| {
        let attempt = peer.syn(port, listener.side.local);
        if port == 2_001 {
            attempt.send(RST);
        }
        crate::net::Side {
            remote: attempt.remote,
            ..listener.side
        }
    });
    inside.enter(|| {
        for side in &sides {
            wait_gone(side);
        }
    });
    Done {
        failed: 1,
        requests: 1,
        ..Done::default()
    }
}

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
