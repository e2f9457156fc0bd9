//! Connections that end with a RST, and connects that are refused.

use rustix::io::Errno;

use crate::{
    clock::{Interval, now, wall},
    expect::{First, accepted, assert_lines, check, connected, step, within},
    lines::Transition,
    net::{Conn, Listener, bound, connect_error, socket},
    trace::{Finished, Trace},
};

/// Both ends' stories when `aborts` sends a RST from ESTABLISHED.
fn assert_aborted(
    run: &Finished,
    aborter: &Ended,
    victim: &Ended,
    sent: Interval,
    heard: Interval,
) {
    let story = |end: &Ended, cause, at| {
        let mut steps = end.steps.clone();
        steps.push(step("ESTABLISHED", "CLOSE", cause, at));
        assert_lines(run, &end.side, &steps);
    };
    run.assert_sound();
    story(aborter, "reset_sent", sent);
    story(victim, "reset_received", sent.until(heard));
}

/// What is known of an end before it is aborted.
struct Ended {
    side: crate::net::Side,
    steps: Vec<crate::expect::Step>,
}

fn client(conn: &Conn) -> Ended {
    Ended {
        side: conn.side,
        steps: connected(conn),
    }
}

fn server(conn: &Conn) -> Ended {
    Ended {
        side: conn.side,
        steps: accepted(conn),
    }
}

#[test]
fn a_client_that_closes_with_linger_zero_resets_the_server() {
    let trace = Trace::start(&[]);
    let (near, far) = Listener::on("127.0.0.1:0").pair();
    let (ours, theirs) = (client(&near), server(&far));
    let sent = near.abort();
    let heard = far.reset();
    far.close();
    assert_aborted(&trace.stop(), &ours, &theirs, sent, heard);
}

#[test]
fn a_server_that_closes_with_linger_zero_resets_the_client() {
    let trace = Trace::start(&[]);
    let (near, far) = Listener::on("127.0.0.1:0").pair();
    let (ours, theirs) = (client(&near), server(&far));
    let sent = far.abort();
    let heard = near.reset();
    near.close();
    assert_aborted(&trace.stop(), &theirs, &ours, sent, heard);
}

#[test]
fn closing_with_unread_data_resets_the_peer_and_the_reason_says_so() {
    let trace = Trace::start(&[]);
    let (near, far) = Listener::on("127.0.0.1:0").pair();
    let (ours, theirs) = (client(&near), server(&far));
    near.send(b"never read");
    far.wait_readable();
    let sent = far.close();
    let heard = near.reset();
    let run = trace.stop();
    assert_aborted(&run, &theirs, &ours, sent, heard);
    let last = run.of(&theirs.side).pop().unwrap();
    if kernel_gives_reasons() {
        let reason = format!("{:?}", last.reset_reason).to_lowercase();
        assert!(reason.contains("abort_on_close"), "{last:?}");
    } else {
        assert_eq!(last.reset_reason, None, "{last:?}");
    }
}

/// Since Linux 6.10 the tracepoint has the reason.
fn kernel_gives_reasons() -> bool {
    crate::witness::format_of("tcp", "tcp_send_reset").contains("reason;")
}

#[test]
fn an_abort_in_close_wait_is_a_reset_too() {
    let trace = Trace::start(&[]);
    let (near, far) = Listener::on("127.0.0.1:0").pair();
    let mut theirs = server(&far);
    let shut = near.shutdown();
    let fin = shut.until(far.end_of_file());
    let sent = far.abort();
    let run = trace.stop();
    run.assert_sound();
    theirs.steps.extend([
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin),
        step("CLOSE_WAIT", "CLOSE", "reset_sent", sent),
    ]);
    assert_lines(&run, &theirs.side, &theirs.steps);
}

/// The lines of connections from here to a port, which the kernel has taken
/// the local port from again.
fn towards(run: &Finished, port: u16) -> Vec<&Transition> {
    run.select(|line| line.rport == Some(port) && line.netns == crate::net::netns())
}

#[test]
fn a_refused_connect_is_two_lines_with_the_local_port_on_both() {
    let trace = Trace::start(&[]);
    let (_reserved, nobody) = bound("127.0.0.1:0".parse().unwrap());
    let (error, refused) = connect_error(&socket(nobody), nobody);
    assert_eq!(error, Errno::CONNREFUSED);
    let run = trace.stop();
    run.assert_sound();
    let lines = towards(&run, nobody.port());
    let steps = [
        step("CLOSE", "SYN_SENT", None, refused),
        step("SYN_SENT", "CLOSE", "refused", refused),
    ];
    check(&lines, First::Born, &steps).unwrap();
    assert!(lines[0].lport.is_some_and(|port| port != 0), "{lines:?}");
    assert_eq!(lines[0].lport, lines[1].lport);
}

#[test]
fn a_second_connect_with_the_same_descriptor_is_another_connection() {
    let trace = Trace::start(&[]);
    let (reserved, address) = bound("127.0.0.1:0".parse().unwrap());
    let fd = socket(address);
    let (error, refused) = connect_error(&fd, address);
    assert_eq!(error, Errno::CONNREFUSED);
    let listener = Listener::from_bound(reserved, address);
    let second = Conn::with(fd, address);
    let _server = listener.accept(&second);
    let run = trace.stop();
    run.assert_sound();
    let lines = towards(&run, address.port());
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let first = [
        step("CLOSE", "SYN_SENT", None, refused),
        step("SYN_SENT", "CLOSE", "refused", refused),
    ];
    check(&lines[..2], First::Born, &first).unwrap();
    assert_ne!(lines[1].conn, lines[2].conn);
    assert_eq!(lines[2].lport, Some(second.side.local.port()));
    // The port of the first attempt is still in the socket: it is not this
    // connection's. How long the socket was closed in between is known.
    check(&lines[2..], First::Again(refused), &connected(&second)).unwrap();
}

#[test]
fn the_wall_clock_of_a_line_is_its_monotonic_clock() {
    let trace = Trace::start(&[]);
    let before = now();
    let wall = wall();
    let after = now();
    let (near, _far) = Listener::on("127.0.0.1:0").pair();
    let run = trace.stop();
    let lines = run.of(&near.side);
    assert_eq!(lines.len(), 2);
    for line in lines {
        let ts: jiff::Timestamp = line.ts.parse().unwrap();
        let printed = u64::try_from(ts.as_nanosecond()).unwrap();
        let (from, to) = (wall - after, wall - before);
        within(
            "wall clock",
            printed,
            line.mono_ns + from,
            line.mono_ns + to,
        )
        .unwrap();
        assert!(line.ts.ends_with('Z') && line.ts.len() == 30, "{}", line.ts);
    }
}
