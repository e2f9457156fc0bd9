//! Handshakes that take their time, and handshakes that fail: what the listener
//! has meanwhile is a request, of which the kernel reports no change of state.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    thread,
    time::Duration,
};

use rustix::net::{bind, getsockname, sockopt};

use crate::{
    clock::{Interval, in_vm, timed, wait_for},
    expect::{Step, assert_lines, step, within},
    lines::Transition,
    net::{Listener, Side, socket, wait_readable},
    ns::Netns,
    peer::{ACK, HOST, Peer, RST, SYN},
    process::output,
    stage::{Stage, assert_accepted, assert_requests, dies, judge},
    tables::{wait_gone, wait_state},
    trace::Trace,
    unseen::Unseen,
};

/// How long the peer thinks.
const WHILE: Duration = Duration::from_millis(300);

/// `TCP_DEFER_ACCEPT` for some seconds.
fn defer_accept(listener: &Listener) {
    let seconds: libc::c_int = 5;
    // SAFETY: the value lives for the call and the length is its own.
    let done = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap(),
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn syn_recv_lasts_from_the_syn_to_the_last_segment_of_the_handshake() {
    let stage = Stage::new();
    let (attempt, side) = stage.attempt(2_001);
    thread::sleep(WHILE);
    let ((), sent) = timed(|| attempt.send(ACK));
    let established = sent.until(stage.accept());
    let begun = attempt.begun;
    let run = stage.trace.stop();
    run.assert_sound();
    assert_accepted(&run, &side, begun, established);
}

#[test]
fn a_syn_that_comes_twice_does_not_start_syn_recv_again() {
    let stage = Stage::new();
    let (mut attempt, side) = stage.attempt(2_002);
    let begun = attempt.begun;
    thread::sleep(WHILE);
    attempt.send(SYN);
    // Answered at once, and the timer of the request starts again.
    attempt.answered();
    thread::sleep(WHILE);
    let ((), sent) = timed(|| attempt.send(ACK));
    let established = sent.until(stage.accept());
    let run = stage.trace.stop();
    run.assert_sound();
    assert_accepted(&run, &side, begun, established);
}

#[test]
fn a_server_that_defers_accept_has_a_request_until_there_is_data() {
    let stage = Stage::new();
    defer_accept(&stage.listener);
    let (attempt, side) = stage.attempt(2_010);
    attempt.send(ACK);
    // Its timer runs out meanwhile, and starts again without another SYN-ACK.
    thread::sleep(Duration::from_millis(1_300));
    assert_eq!(
        stage.inside.enter(|| crate::tables::state(&side)),
        Some("SYN_RECV")
    );
    let ((), sent) = timed(|| attempt.send_data(b"ab"));
    let established = sent.until(stage.accept());
    let run = stage.trace.stop();
    run.assert_sound();
    assert_accepted(&run, &side, attempt.begun, established);
}

#[test]
fn a_request_that_another_listener_takes_over_has_not_ended() {
    let inside = Netns::new();
    let peer = Peer::beside(&inside);
    if Path::new("/proc/sys/net/ipv4/tcp_migrate_req").exists() {
        inside.set("tcp_migrate_req", "1");
    }
    let trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let first = inside.enter(|| sharing(format!("{HOST}:0").parse().unwrap()));
    let mut attempt = peer.syn(2_011, first.side.local);
    let second = inside.enter(|| sharing(first.side.local));
    let side = Side {
        remote: attempt.remote,
        ..second.side
    };
    let closed = first.close();
    // The timer finds another listener, which sends the SYN-ACK again; before
    // Linux 5.14 it does not, and ends the request.
    let (lives, found) = wait_for("another SYN-ACK or the end", || {
        if attempt.is_answered() {
            return Some(true);
        }
        let gone = inside.enter(|| crate::tables::state(&side).is_none());
        gone.then_some(false)
    });
    if !lives {
        judge(
            trace,
            &side,
            &dies(attempt.begun, "close", closed.until(found)),
        );
        return;
    }
    let ((), sent) = timed(|| attempt.send(ACK));
    let established = sent.until(wait_readable(second.as_fd()));
    let run = trace.stop();
    run.assert_sound();
    assert_accepted(&run, &side, attempt.begun, established);
}

/// A listener that shares its port.
fn sharing(address: SocketAddr) -> Listener {
    let fd = socket(address);
    sockopt::set_socket_reuseport(&fd, true).unwrap();
    bind(&fd, &address).unwrap();
    let local = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    Listener::from_bound(fd, local)
}

#[test]
fn a_connection_out_of_a_syn_cookie_has_no_request_and_a_lower_bound() {
    let inside = Netns::new();
    inside.set("tcp_syncookies", "2");
    let trace = Trace::start(&["--netns", &inside.inode.to_string()]);
    let (_client, server) = inside.enter(|| Listener::on("127.0.0.1:0").pair());
    let run = trace.stop();
    run.assert_sound();
    let lines = run.of(&server.side);
    let left = lines.iter().find(|line| line.old == "SYN_RECV").unwrap();
    assert_eq!(
        (left.dwell.as_str(), left.kind.as_str()),
        ("at_least", "socket")
    );
    assert_eq!(lines.len(), 2, "{lines:#?}");
}

#[test]
fn a_flood_of_handshakes_that_nobody_ends_has_each_of_its_lines() {
    let many = if in_vm() { 200 } else { 2_000 };
    let mut unseen = Unseen::begin();
    let stage = Stage::new();
    stage.inside.set("tcp_syncookies", "0");
    stage.inside.set("tcp_max_syn_backlog", "100000");
    let attempts: Vec<_> = (0..many)
        .map(|number| stage.attempt(10_000 + number))
        .collect();
    stage.inside.enter(|| {
        wait_for("the end of all handshakes", || {
            let rows = crate::tables::rows();
            (!rows.iter().any(|row| row.state == "SYN_RECV")).then_some(())
        })
    });
    let unseen = usize::try_from(unseen.so_far()).unwrap();
    let run = stage.trace.stop();
    run.assert_sound();
    let deaths = run.select(|line| line.kind == "request" && line.new == "CLOSE");
    let missing = usize::from(many) - deaths.len();
    assert!(missing <= unseen, "{missing} of {unseen}");
    let silent = |side: &Side| missing > 0 && run.of(side).is_empty();
    let told = attempts.iter().filter(|(_, side)| !silent(side));
    assert_eq!(told.clone().count(), deaths.len());
    for (attempt, side) in told {
        let lines = run.of(side);
        let [born, died] = lines[..] else {
            panic!("{lines:#?}")
        };
        within("begin", born.mono_ns, attempt.begun.from, attempt.begun.to).unwrap();
        assert_eq!(died.cause.as_deref(), Some("timeout"), "{died:#?}");
        assert_eq!(
            died.dwell_ns,
            Some(died.mono_ns - born.mono_ns),
            "{died:#?}"
        );
    }
}

#[test]
fn a_handshake_that_the_peer_never_ends_ends_by_timeout() {
    let stage = Stage::new();
    let (mut attempt, side) = stage.attempt(2_003);
    // The SYN-ACK is sent once more, which is not the end.
    let again = attempt.answered();
    let died = Interval {
        from: again.to,
        to: stage.gone(&side).to,
    };
    let steps = dies(attempt.begun, "timeout", died);
    let run = judge(stage.trace, &side, &steps);
    assert_requests(&run, &side);
    // One second, and two.
    let dwell = run.of(&side)[1].dwell_ns.unwrap();
    assert!(dwell > 2_980_000_000, "{dwell}");
}

#[test]
fn a_reset_ends_a_handshake() {
    let stage = Stage::new();
    let (attempt, side) = stage.attempt(2_004);
    thread::sleep(WHILE);
    let ((), sent) = timed(|| attempt.send(RST));
    let died = sent.until(stage.gone(&side));
    let steps = dies(attempt.begun, "reset_received", died);
    let run = judge(stage.trace, &side, &steps);
    assert_requests(&run, &side);
}

#[test]
fn a_syn_in_the_middle_of_a_handshake_is_answered_by_a_reset_that_ends_it() {
    let stage = Stage::new();
    let (attempt, side) = stage.attempt(2_005);
    let ((), sent) = timed(|| attempt.send_late_syn());
    let died = sent.until(stage.gone(&side));
    let mut trace = stage.trace;
    trace.until_enters(&side, "CLOSE");
    let run = trace.stop();
    run.assert_sound();
    // Before Linux 6.10 a reset has no reason, and may be another segment's.
    let cause = run.of(&side)[1].cause.clone();
    let known = crate::witness::format_of("tcp", "tcp_send_reset").contains("reason;");
    assert_eq!(cause.as_deref(), known.then_some("reset_sent"));
    let mut steps = dies(attempt.begun, "reset_sent", died);
    if !known {
        steps[1] = step("SYN_RECV", "CLOSE", None, died);
    }
    assert_lines(&run, &side, &steps);
}

#[test]
fn a_request_whose_listener_is_gone_ends_with_its_timer() {
    let stage = Stage::new();
    let (attempt, side) = stage.attempt(2_006);
    let closed = stage.listener.close();
    let died = Interval {
        from: closed.from,
        to: stage.inside.enter(|| wait_gone(&side)).to,
    };
    let steps = dies(attempt.begun, "close", died);
    let run = judge(stage.trace, &side, &steps);
    assert_requests(&run, &side);
}

#[test]
fn a_request_can_be_killed() {
    let stage = Stage::new();
    let (attempt, side) = stage.attempt(2_007);
    stage.inside.enter(|| wait_state(&side, "SYN_RECV"));
    let kill = ["-K", "-tn", "state", "syn-recv", "dport", "=", ":2007"];
    let (_, killed) = timed(|| stage.inside.enter(|| output("ss", "iproute2", &kill)));
    let died = killed.until(stage.gone(&side));
    let steps = dies(attempt.begun, "killed", died);
    let run = judge(stage.trace, &side, &steps);
    assert_requests(&run, &side);
}

/// One handshake that takes its time, and one that fails.
struct Pair {
    accepted: Side,
    begun: Interval,
    established: Interval,
    reset: Side,
    steps: [Step; 2],
}

fn both(stage: &Stage) -> Pair {
    let (early, reset) = stage.attempt(2_008);
    let (attempt, accepted) = stage.attempt(2_009);
    thread::sleep(WHILE);
    let ((), sent) = timed(|| attempt.send(ACK));
    let established = sent.until(stage.accept());
    let ((), sent) = timed(|| early.send(RST));
    let died = sent.until(stage.gone(&reset));
    Pair {
        accepted,
        begun: attempt.begun,
        established,
        reset,
        steps: dies(early.begun, "reset_received", died),
    }
}

fn assert_both(trace: Trace, pair: &Pair) {
    let run = judge(trace, &pair.reset, &pair.steps);
    assert_requests(&run, &pair.reset);
    assert_accepted(&run, &pair.accepted, pair.begun, pair.established);
}

/// The hook that gives the end of requests.
fn hook(trace: &Trace) -> Option<String> {
    trace.start.hooks["request_end"].clone()
}

#[test]
fn tracepoints_alone_tell_the_same() {
    let stage = Stage::traced(&["--hooks", "tracepoint"]);
    let hook = hook(&stage.trace).unwrap();
    assert!(hook.starts_with("raw_tp timer_start"), "{hook}");
    let pair = both(&stage);
    assert_both(stage.trace, &pair);
}

#[test]
fn functions_alone_tell_the_same_or_it_is_said_that_nothing_does() {
    let stage = Stage::traced(&["--hooks", "fentry"]);
    let pair = both(&stage);
    if let Some(hook) = hook(&stage.trace) {
        assert!(hook.starts_with("fentry inet_csk_clone_lock"), "{hook}");
        return assert_both(stage.trace, &pair);
    }
    assert!(!in_vm(), "the kernels of the VM let functions be hooked");
    let not_measured = &stage.trace.start.not_measured;
    let named = not_measured
        .iter()
        .any(|what| what["signal"] == "request_end" && what["reason"] != "");
    assert!(named, "{not_measured:?}");
    let run = stage.trace.stop();
    run.assert_sound();
    assert_eq!(run.of(&pair.reset), Vec::<&Transition>::new());
    let lines = run.of(&pair.accepted);
    assert_eq!(
        (lines[1].old.as_str(), lines[1].dwell.as_str()),
        ("SYN_RECV", "at_least"),
        "{lines:#?}"
    );
}
