//! Connections that end with FINs, in every order of who closes when.

use std::{net::SocketAddr, thread, time::Duration};

use rustix::net::sockopt;

use crate::{
    clock::{Interval, timed},
    expect::{Step, accepted, assert_lines, connected, listening, step},
    net::{Conn, Listener, Side, bound},
    tables::{wait_gone, wait_state},
    trace::Trace,
};

/// How long states last that should last a while.
pub(crate) const PARKED: Duration = Duration::from_millis(300);

/// What one end should have printed.
pub(crate) type Story = (Side, Vec<Step>);

/// The client shuts down writing, gets an answer, and sees the server close:
/// `FIN_WAIT2` lasts for [`PARKED`]. Gives the client's and the server's story.
pub(crate) fn half_close(listener: &Listener) -> [Story; 2] {
    let (client, server) = listener.pair();
    client.send(b"ask");
    server.receive(3);
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let acked = shut.until(wait_state(&client.side, "FIN_WAIT2"));
    thread::sleep(PARKED);
    server.send(b"answer");
    client.receive(6);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let (near, far) = (client.side, server.side);
    let closed = server.close();
    let ended = closed.until(client.end_of_file());
    client.close();
    let gone = closed.until(wait_gone(&far));
    ours.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", acked),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", ended),
    ]);
    theirs.extend(passive(fin, closed, gone));
    [(near, ours), (far, theirs)]
}

/// `ESTABLISHED` to `CLOSE` of the end that closes second.
fn passive(fin: Interval, closed: Interval, gone: Interval) -> [Step; 3] {
    [
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin),
        step("CLOSE_WAIT", "LAST_ACK", "close", closed),
        step("LAST_ACK", "CLOSE", "fin_acked", gone),
    ]
}

/// The end that closes first has nobody left: a minisocket carries its
/// `FIN_WAIT2` on until the peer closes too.
fn orphaned(closed: Interval, acked: Interval, answered: Interval) -> [Step; 3] {
    [
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", acked),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", answered),
    ]
}

/// `first` closes and `second` after it; appends to both stories.
fn close_in_turn(first: (Conn, &mut Vec<Step>), second: (Conn, &mut Vec<Step>)) {
    let (near, far) = (first.0.side, second.0.side);
    let closed = first.0.close();
    let acked = closed.until(wait_state(&near, "FIN_WAIT2"));
    let fin = closed.until(second.0.end_of_file());
    thread::sleep(PARKED);
    let answered = second.0.close();
    let gone = answered.until(wait_gone(&far));
    first.1.extend(orphaned(closed, acked, answered));
    second.1.extend(passive(fin, answered, gone));
}

/// Plays `half_close` on an address while tracing, and judges both ends.
fn half_close_on(address: &str) {
    let mut trace = Trace::start(&[]);
    let listener = Listener::on(address);
    let stories = half_close(&listener);
    trace.until_enters(&stories[1].0, "CLOSE");
    let opened = (listener.side, listening(&listener));
    let mut listener_story = opened.1;
    listener_story.push(step("LISTEN", "CLOSE", "close", listener.close()));
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &opened.0, &listener_story);
    for (side, steps) in stories {
        assert_lines(&run, &side, &steps);
    }
}

#[test]
fn a_half_closed_client_stays_in_fin_wait2_until_the_server_closes() {
    half_close_on("127.0.0.1:0");
}

#[test]
fn ipv6_is_traced_like_ipv4() {
    half_close_on("[::1]:0");
}

#[test]
fn a_client_that_closes_first_leaves_the_server_in_close_wait() {
    let trace = Trace::start(&[]);
    let (client, server) = Listener::on("127.0.0.1:0").pair();
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    close_in_turn((client, &mut ours), (server, &mut theirs));
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
}

#[test]
fn a_server_that_closes_first_leaves_the_client_in_close_wait() {
    let trace = Trace::start(&[]);
    let (client, server) = Listener::on("127.0.0.1:0").pair();
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    close_in_turn((server, &mut theirs), (client, &mut ours));
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
}

#[test]
fn an_ipv4_client_of_an_ipv6_listener_is_v4_mapped_on_the_servers_side_only() {
    let trace = Trace::start(&[]);
    let listener = Listener::on("[::]:0");
    let port = listener.side.local.port();
    let client = Conn::to(SocketAddr::from(([127, 0, 0, 1], port)));
    let server = listener.accept(&client);
    let (near, far) = (client.side, server.side);
    assert_eq!(far.local.to_string(), format!("[::ffff:127.0.0.1]:{port}"));
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    close_in_turn((client, &mut ours), (server, &mut theirs));
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
    assert!(run.of(&near).iter().all(|line| line.family == "ipv4"));
    assert!(run.of(&far).iter().all(|line| line.family == "ipv6"));
}

#[test]
fn a_socket_connected_to_itself_closes_simultaneously() {
    let trace = Trace::start(&[]);
    let (fd, own) = bound("127.0.0.1:0".parse().unwrap());
    let both = Conn::with(fd, own);
    let (side, opened) = (both.side, both.opened);
    thread::sleep(PARKED);
    let closed = both.close();
    let waiting = closed.until(wait_state(&side, "TIME_WAIT"));
    let run = trace.stop();
    run.assert_sound();
    let steps = [
        step("CLOSE", "SYN_SENT", None, opened),
        step("SYN_SENT", "SYN_RECV", None, opened),
        step("SYN_RECV", "ESTABLISHED", None, opened),
        step("ESTABLISHED", "FIN_WAIT1", "close", closed),
        step("FIN_WAIT1", "CLOSING", "peer_fin", waiting),
        step("CLOSING", "TIME_WAIT", "fin_acked", waiting),
    ];
    assert_lines(&run, &side, &steps);
}

/// Lets a socket be deaf: a filter that accepts no segment.
pub(crate) fn deafen(conn: &Conn) {
    let mut nothing = [libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: nothing.as_mut_ptr(),
    };
    set(conn, libc::SO_ATTACH_FILTER, &program);
}

/// Ends [`deafen`].
pub(crate) fn listen_again(conn: &Conn) {
    set(conn, libc::SO_DETACH_FILTER, &0_i32);
}

fn set<T>(conn: &Conn, option: i32, value: &T) {
    use std::os::fd::{AsFd, AsRawFd};
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the value lives for the call and the length is its own.
    let done = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(
            conn.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value,
            length,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn fins_that_cross_put_the_end_that_hears_first_into_closing() {
    let trace = Trace::start(&[]);
    let (client, server) = Listener::on("127.0.0.1:0").pair();
    sockopt::set_tcp_nodelay(&client, true).unwrap();
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    for end in [&client, &server] {
        deafen(end);
    }
    // Both FINs are under way and neither has been heard.
    let (shut, answered) = (client.shutdown(), server.shutdown());
    thread::sleep(PARKED);
    // The server hears the client's FIN with its next retransmission, and its
    // acknowledgement is not heard: simultaneous close (RFC 9293 section 3.6).
    let ((), hears) = timed(|| listen_again(&server));
    let closing = hears.until(wait_state(&far, "CLOSING"));
    thread::sleep(PARKED);
    let ((), hears) = timed(|| listen_again(&client));
    let ended = hears.until(client.end_of_file());
    let acked = hears.until(wait_state(&far, "TIME_WAIT"));
    drop((client, server));
    let run = trace.stop();
    run.assert_sound();
    ours.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", ended),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", ended),
    ]);
    theirs.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", answered),
        step("FIN_WAIT1", "CLOSING", "peer_fin", closing),
        step("CLOSING", "TIME_WAIT", "fin_acked", acked),
    ]);
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
}

#[test]
fn closing_a_half_closed_socket_does_not_restart_its_clock() {
    let trace = Trace::start(&[]);
    let (client, server) = Listener::on("127.0.0.1:0").pair();
    let (near, far) = (client.side, server.side);
    let (mut ours, mut theirs) = (connected(&client), accepted(&server));
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let acked = shut.until(wait_state(&near, "FIN_WAIT2"));
    thread::sleep(PARKED);
    // FIN_WAIT2 -> FIN_WAIT2 in the kernel: the orphan is handed over to a
    // minisocket, which is nothing to print, and the clock goes on.
    client.close();
    let answered = server.close();
    let gone = answered.until(wait_gone(&far));
    let run = trace.stop();
    run.assert_sound();
    ours.extend([
        step("ESTABLISHED", "FIN_WAIT1", "shutdown", shut),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", acked),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", answered),
    ]);
    theirs.extend(passive(fin, answered, gone));
    assert_lines(&run, &near, &ours);
    assert_lines(&run, &far, &theirs);
}

#[test]
fn a_server_that_shuts_down_and_keeps_its_descriptor_says_shutdown_and_not_close() {
    let trace = Trace::start(&[]);
    let (client, server) = Listener::on("127.0.0.1:0").pair();
    let mut theirs = accepted(&server);
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let answered = server.shutdown();
    let gone = answered.until(wait_gone(&server.side));
    let run = trace.stop();
    run.assert_sound();
    theirs.extend([
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin),
        step("CLOSE_WAIT", "LAST_ACK", "shutdown", answered),
        step("LAST_ACK", "CLOSE", "fin_acked", gone),
    ]);
    assert_lines(&run, &server.side, &theirs);
}
