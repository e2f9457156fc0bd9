//! Every way in which a minisocket ends but by its minute, in every family of
//! hooks side by side. All of it happens in one network namespace, so that the
//! kernel's counters of that must add up to the lines.

use std::net::SocketAddr;

use rustix::io::Errno;

use crate::{
    capture::Capture,
    clock::{Interval, now, wait_for},
    expect::{accepted, connected, step},
    facts::tell,
    families::Families,
    net::{Conn, Listener, Side, bound, socket},
    ns::Netns,
    process::output,
    segment::{FIN, RST, Segment},
    tables::{state, wait_gone, wait_state},
    timewait::{
        Case, SECOND, SHORT_SLOT, Story, after, assert_counted, client_in_time_wait, counters,
        judge, minisockets, orphan, small_orphan, time_wait,
    },
};

const FIN_WAIT2: (&str, &str) = ("FIN_WAIT2", "CLOSE");
const TIME_WAIT: (&str, &str) = ("TIME_WAIT", "CLOSE");

/// Of both families: the kernel has two of most functions.
const ADDRESSES: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// A RST from the peer.
fn reset_received(listener: &Listener) -> Case {
    let (story, server) = small_orphan(listener, |_| {});
    let ended = server.abort().until(wait_gone(&story.side));
    story
        .case("reset_received")
        .then(FIN_WAIT2, "reset_received", ended)
}

/// Data from the peer, for nobody.
fn reset_sent(listener: &Listener) -> Case {
    let (story, server) = small_orphan(listener, |_| {});
    let ended = server.send(b"late").until(wait_gone(&story.side));
    story
        .case("reset_sent")
        .then(FIN_WAIT2, "reset_sent", ended)
}

/// A new connection from the same port of the peer, which is a listener's.
fn reused_by_syn(listener: &Listener) -> Case {
    let (client, server) = listener.pair();
    let (steps, port) = (accepted(&server), client.side.local);
    let story = time_wait(server, client, steps);
    let again = Conn::with(bound(port).0, story.side.local);
    listener.accept(&again);
    story
        .case("reused_by_syn")
        .then(TIME_WAIT, "reused_by_syn", again.opened)
}

/// A new connection from a port that the application names.
fn reused_by_bound(listener: &Listener) -> Case {
    let story = client_in_time_wait(listener.pair());
    let again = Conn::with(bound(story.side.local).0, story.side.remote);
    listener.accept(&again);
    story
        .case("reused_by_connect_bound")
        .then(TIME_WAIT, "reused_by_connect", again.opened)
}

/// A new connection from the only port that the kernel may choose, once it may
/// (`tcp_tw_reuse`).
fn reused_by_choice(inside: &Netns, listener: &Listener, reuse: &str) -> Case {
    inside.set("tcp_tw_reuse", reuse);
    let only = format!("2000{reuse}");
    inside.set("ip_local_port_range", &format!("{only}\t{only}"));
    let story = client_in_time_wait(listener.pair());
    let (again, _) = wait_for("a port in TIME_WAIT to be given again", || {
        let remote = story.side.remote;
        match Conn::attempt(socket(remote), remote) {
            Err(Errno::ADDRNOTAVAIL) => None,
            other => Some(other.unwrap()),
        }
    });
    listener.accept(&again);
    inside.set("ip_local_port_range", "32768\t60999");
    story
        .case("reused_by_connect")
        .then(TIME_WAIT, "reused_by_connect", again.opened)
}

/// A RST in `TIME_WAIT` with the very number that is expected next, from a peer
/// that is gone. Says between when it arrived.
fn assassinate(capture: &mut Capture, side: &Side) -> Interval {
    let fin = capture.find("the peer's FIN", |packet| {
        SocketAddr::V4(packet.segment.to) == side.local && packet.segment.flags & FIN != 0
    });
    let reset = Segment {
        seq: fin.segment.seq.wrapping_add(fin.len + 1),
        flags: RST,
        ..fin.segment
    };
    let sent = reset.send();
    capture.find("the RST", |packet| {
        packet.segment.to == reset.to && packet.segment.flags == RST && packet.at >= sent.from
    });
    sent
}

fn assassinated(inside: &Netns, capture: &mut Capture, listener: &Listener) -> Case {
    inside.set("tcp_rfc1337", "0");
    let story = client_in_time_wait(listener.pair());
    let sent = assassinate(capture, &story.side);
    let ended = sent.until(wait_gone(&story.side));
    inside.set("tcp_rfc1337", "1");
    story
        .case("assassinated")
        .then(TIME_WAIT, "reset_received", ended)
}

/// `tcp_rfc1337` protects `TIME_WAIT`, though not `FIN_WAIT2`.
fn protected(capture: &mut Capture, listener: &Listener) -> Case {
    let story = client_in_time_wait(listener.pair());
    assassinate(capture, &story.side);
    assert_eq!(state(&story.side), Some("TIME_WAIT"));
    story.case("rfc1337")
}

/// What `ss -K` does to a minisocket here.
enum Kill {
    Ended(Case),
    /// The kernel has refused.
    Absent(Story),
}

/// `ss -K` of a minisocket, and of a connection beside it, which shows that it
/// works at all.
fn killed(listener: &Listener) -> Kill {
    let (beside, _server) = listener.pair();
    let story = client_in_time_wait(listener.pair());
    let ports = [beside.side, story.side].map(|side| format!(":{}", side.local.port()));
    let family = if story.side.local.is_ipv4() {
        "-4"
    } else {
        "-6"
    };
    let ((), asked) = crate::clock::timed(|| {
        let filter = [
            "(", "sport", "=", &ports[0], "or", "sport", "=", &ports[1], ")",
        ];
        let all = [&["-K", "-tna", family][..], &filter].concat();
        output("ss", "iproute2", &all);
    });
    wait_gone(&beside.side);
    match state(&story.side) {
        Some(_) => Kill::Absent(story),
        None => Kill::Ended(story.case("killed").then(TIME_WAIT, "killed", asked)),
    }
}

/// No room for a minisocket: neither in `TIME_WAIT`, nor in `FIN_WAIT2`.
fn evicted(inside: &Netns, listener: &Listener) -> [Case; 2] {
    inside.set("tcp_max_tw_buckets", "1");
    let mut first = client_in_time_wait(listener.pair()).case("evicted_limit");
    let refused = first.steps.pop().unwrap();
    let (client, server) = listener.pair();
    let (side, mut steps) = (client.side, connected(&client));
    let closed = client.close();
    server.end_of_file();
    let gone = closed.until(wait_gone(&side));
    steps.extend([
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", gone),
    ]);
    inside.set("tcp_max_tw_buckets", "1000");
    let cases = [
        first.then(FIN_WAIT2, "evicted_limit", refused.at),
        Case::of("evicted_limit", side, steps).then(FIN_WAIT2, "evicted_limit", gone),
    ];
    cases.map(|case| Case {
        kind: "socket",
        ..case
    })
}

/// The end of an orphan whose timer was started then.
fn run_out(story: Story, started: Interval, ns: u64) -> Case {
    let ended = after(started, ns, SHORT_SLOT);
    story
        .case("fin_wait2_timeout")
        .then(FIN_WAIT2, "fin_wait2_timeout", ended)
}

/// Orphans in `FIN_WAIT2` whose time runs out, however it was set.
fn timeouts(inside: &Netns, listener: &Listener) -> [Case; 3] {
    // Twice what is above a minute: first as an orphan, then as a minisocket.
    inside.set("tcp_fin_timeout", "62");
    let (story, _long) = orphan(listener, |_| {});
    let started = story.entered;
    let long = run_out(story, started, 4 * SECOND);
    let (story, _own) = small_orphan(listener, |client| client.set_tcp(libc::TCP_LINGER2, 2));
    let started = story.entered;
    let own = run_out(story, started, 2 * SECOND);
    // The first one reads it once more, when it becomes a minisocket.
    wait_gone(&long.side);
    inside.set("tcp_fin_timeout", "1");
    let (story, _short) = small_orphan(listener, |_| {});
    let started = story.entered;
    let short = run_out(story, started, SECOND);
    for case in [&own, &short] {
        wait_gone(&case.side);
    }
    [long, own, short]
}

/// A client that has shut down writing, and waits for the server.
fn half_close(listener: &Listener) -> (Conn, Conn, Story) {
    let (client, server) = listener.pair();
    let (side, mut steps) = (client.side, connected(&client));
    let shut = client.shutdown();
    server.end_of_file();
    let entered = shut.until(wait_state(&side, "FIN_WAIT2"));
    steps.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", entered),
    ]);
    let story = Story {
        side,
        steps,
        entered,
    };
    (client, server, story)
}

/// Half-closed, a socket has no timer: it waits for the peer's FIN, or for its
/// `close()`. The one that gets a FIN lives on.
fn half_closed(inside: &Netns, listener: &Listener) -> (Case, Case) {
    inside.set("tcp_fin_timeout", "1");
    let (kept, peer, mut waited) = half_close(listener);
    let (given_up, _peer, closed) = half_close(listener);
    wait_for("twice the timeout", || {
        (now() > closed.entered.to + 2 * SECOND).then_some(())
    });
    assert_eq!(state(&waited.side), Some("FIN_WAIT2"));
    let fin = peer.close();
    let fin = fin.until(kept.end_of_file());
    waited
        .steps
        .push(step("FIN_WAIT2", "TIME_WAIT", "peer_fin", fin));
    let left = given_up.close();
    let closed = run_out(closed, left, SECOND);
    wait_gone(&closed.side);
    inside.set("tcp_fin_timeout", "60");
    (waited.case("half_closed"), closed)
}

/// `TCP_LINGER2` below 0: no `FIN_WAIT2` at all, and no minisocket.
fn not_lingering(listener: &Listener) -> Case {
    let (client, server) = listener.pair();
    client.set_tcp(libc::TCP_LINGER2, -1);
    let (side, mut steps) = (client.side, connected(&client));
    let closed = client.close();
    server.wait_readable();
    let gone = closed.until(wait_gone(&side));
    steps.extend([
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", gone),
    ]);
    Case {
        kind: "socket",
        ..Case::of("linger2_below_0", side, steps).then(FIN_WAIT2, "reset_sent", gone)
    }
}

/// A socket that is connected to itself closes simultaneously.
fn closing() -> Story {
    let (fd, own) = bound("127.0.0.1:0".parse().unwrap());
    let both = Conn::with(fd, own);
    let (side, opened) = (both.side, both.opened);
    let closed = both.close();
    let entered = closed.until(wait_state(&side, "TIME_WAIT"));
    let steps = vec![
        step("CLOSE", "SYN_SENT", None, opened),
        step("SYN_SENT", "SYN_RECV", None, opened),
        step("SYN_RECV", "ESTABLISHED", None, opened),
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "CLOSING", "peer_fin", entered),
        step("CLOSING", "TIME_WAIT", "fin_acked", entered),
    ];
    Story {
        side,
        steps,
        entered,
    }
}

/// Everything that can be had in a moment; what is left lives on.
fn play(inside: &Netns) -> (Vec<Case>, Vec<Case>) {
    // A FIN that a busy machine repeats is answered to nobody but the listener,
    // whose RST would be the end of `TIME_WAIT`.
    inside.set("tcp_rfc1337", "1");
    let mut capture = Capture::on_loopback();
    let (mut over, mut left) = (Vec::new(), Vec::new());
    for address in ADDRESSES {
        let listener = Listener::on(address);
        over.push(reset_received(&listener));
        over.push(reset_sent(&listener));
        over.push(reused_by_syn(&listener));
        over.push(reused_by_bound(&listener));
        match killed(&listener) {
            Kill::Ended(case) => over.push(case),
            Kill::Absent(story) => left.push(story.case("killed")),
        }
    }
    let listener = Listener::on("127.0.0.1:0");
    over.push(assassinated(inside, &mut capture, &listener));
    over.push(not_lingering(&listener));
    over.extend(timeouts(inside, &listener));
    let (waited, closed) = half_closed(inside, &listener);
    over.push(closed);
    left.push(waited);
    for reuse in ["1", "2"] {
        over.push(reused_by_choice(inside, &listener, reuse));
    }
    left.push(protected(&mut capture, &listener));
    left.push(closing().case("closing"));
    let (story, server) = small_orphan(&listener, |_| {});
    server.vanish();
    left.push(story.case("netns_exit"));
    left.push(client_in_time_wait(listener.pair()).case("netns_exit"));
    over.extend(evicted(inside, &listener));
    (over, left)
}

/// Whether the kernel counts a minisocket when it begins.
fn counts_at_begin() -> bool {
    let listener = Listener::on("127.0.0.1:0");
    let before = minisockets(&counters());
    client_in_time_wait(listener.pair());
    minisockets(&counters()) > before
}

#[test]
fn every_cause_is_told_by_every_family_of_hooks() {
    let inside = Netns::new();
    let mut families = Families::start(&["--netns", &inside.inode.to_string()]);
    let ((mut cases, left), at_begin, counted) = inside.enter(|| {
        let at_begin = counts_at_begin();
        (play(&inside), at_begin, counters())
    });
    let before = now();
    drop(inside);
    for case in &left {
        families.until_leaves(&case.side, case.state());
    }
    let ended = Interval {
        from: before,
        to: now(),
    };
    let runs = families.stop();
    for case in left {
        if case.cause == "killed" {
            for (family, _) in runs.all() {
                let why = "absent: the kernel refuses to end a minisocket (SOCK_DESTROY)";
                tell("cause", &format!("killed/{family}"), why);
            }
        }
        let cause = if case.cause == "killed" {
            "netns_exit"
        } else {
            case.cause
        };
        let case = Case { cause, ..case };
        let change = (case.state(), "CLOSE");
        cases.push(case.then(change, "netns_exit", ended));
    }
    judge(&runs, &cases);
    assert_counted(&runs, &counted, at_begin);
}
