//! Connections whose peer cannot be reached any more: the cable is cut.
//!
//! The other end never learns of it and has no line here.

use std::{os::fd::AsFd, sync::PoisonError};

use rustix::{
    io::Errno,
    net::sockopt::{set_socket_keepalive, socket_error},
};

use super::{
    Connections,
    expected::{Expected, own},
    orphans::ORPHANS,
};
use crate::{
    clock::{Interval, now, timed},
    expect::step,
    net::{Conn, Listener, wait_readable},
    ns::{Cable, Netns},
    tables::{wait_gone, wait_state},
};

/// A connection over the cable, from the left to the right.
fn over(cable: &Cable) -> (Conn, Conn) {
    let listener = cable.right.enter(|| Listener::on("10.99.0.2:0"));
    let client = cable.left.enter(|| Conn::to(listener.side.local));
    let server = cable.right.enter(|| listener.accept(&client));
    (client, server)
}

/// When a connection of the left has ended by `ETIMEDOUT`.
fn timed_out(cable: &Cable, conn: &Conn, cut: Interval) -> Interval {
    wait_readable(conn.as_fd());
    // The error wakes before the state changes: who takes it that early takes
    // the line's cause away (seen on Linux 5.10).
    let ended = cut.until(cable.left.enter(|| wait_gone(&conn.side)));
    let error = socket_error(conn).unwrap();
    assert_eq!(error, Err(Errno::TIMEDOUT));
    ended
}

/// The line of an end that has given up.
fn gave_up(conn: &Conn, ended: Interval, reason: Option<&'static str>) -> Expected {
    let expected = Expected::client(conn)
        .then([step("ESTABLISHED", "CLOSE", None, ended)])
        .ended("none", "timeout");
    match reason {
        Some(reason) => expected.because(reason),
        None => expected,
    }
}

/// Plays it, and judges the left end.
fn play_and_judge(prepare: impl FnOnce(&Cable), play: impl FnOnce(&Cable, &Conn) -> Expected) {
    let cable = Cable::new();
    prepare(&cable);
    let watching = Connections::inside(&cable.left);
    let (client, _server) = over(&cable);
    let expected = play(&cable, &client);
    watching.judge(&[expected]);
}

fn keep_alive(conn: &Conn, seconds: i32, probes: i32) {
    set_socket_keepalive(conn, true).unwrap();
    conn.set_tcp(libc::TCP_KEEPIDLE, seconds);
    conn.set_tcp(libc::TCP_KEEPINTVL, seconds);
    conn.set_tcp(libc::TCP_KEEPCNT, probes);
}

fn keepalive_ends_it(cut: fn(&Cable)) {
    play_and_judge(
        |_| {},
        |cable, conn| {
            keep_alive(conn, 1, 2);
            let ((), cut) = timed(|| cut(cable));
            let ended = timed_out(cable, conn, cut);
            gave_up(conn, ended, Some("keepalive"))
        },
    );
}

#[test]
fn an_idle_connection_whose_probes_nobody_answers_ends_by_keepalive() {
    keepalive_ends_it(Cable::cut);
}

#[test]
fn an_idle_connection_whose_probes_do_not_leave_ends_by_keepalive() {
    keepalive_ends_it(Cable::unplug);
}

#[test]
fn data_that_is_not_acknowledged_in_time_ends_it_by_user_timeout() {
    play_and_judge(
        |_| {},
        |cable, conn| {
            conn.set_tcp(libc::TCP_USER_TIMEOUT, 1_000);
            let ((), cut) = timed(|| cable.cut());
            let sent = conn.send(b"into the void");
            let ended = timed_out(cable, conn, cut.until(sent));
            gave_up(conn, ended, Some("user_timeout"))
                .bytes(0, 13)
                .retransmitted()
        },
    );
}

/// The segment never gets out of its queue, and is tried again and again: no
/// retransmission to the kernel.
#[test]
fn data_that_does_not_even_leave_in_time_ends_it_by_user_timeout() {
    play_and_judge(
        |_| {},
        |cable, conn| {
            conn.set_tcp(libc::TCP_USER_TIMEOUT, 1_000);
            let ((), cut) = timed(|| cable.unplug());
            let sent = conn.send(b"into the void");
            let ended = timed_out(cable, conn, cut.until(sent));
            gave_up(conn, ended, Some("user_timeout")).stuck()
        },
    );
}

/// Nothing was sent but probes; `TCP_USER_TIMEOUT` decides only how many of
/// them there are, and the sentence says so.
#[test]
fn a_user_timeout_ends_an_idle_connection_by_its_probes() {
    play_and_judge(
        |_| {},
        |cable, conn| {
            keep_alive(conn, 1, 100);
            conn.set_tcp(libc::TCP_USER_TIMEOUT, 1_500);
            let ((), cut) = timed(|| cable.cut());
            let ended = timed_out(cable, conn, cut);
            gave_up(conn, ended, Some("keepalive"))
        },
    );
}

#[test]
fn data_that_is_never_acknowledged_ends_it_by_retransmission_timeout() {
    play_and_judge(
        |cable| cable.left.set("tcp_retries2", "2"),
        |cable, conn| {
            let ((), cut) = timed(|| cable.cut());
            let sent = conn.send(b"into the void");
            let ended = timed_out(cable, conn, cut.until(sent));
            gave_up(conn, ended, Some("retransmissions"))
                .bytes(0, 13)
                .retransmitted()
        },
    );
}

/// Nobody waits for it any more; its FIN is not acknowledged.
#[test]
fn a_closed_connection_whose_fin_nobody_acknowledges_was_closed_here() {
    let _alone = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    let cable = Cable::new();
    cable.left.set("tcp_orphan_retries", "1");
    let watching = Connections::inside(&cable.left);
    let (client, _server) = over(&cable);
    cable.cut();
    let expected = Expected::client(&client);
    let side = client.side;
    let closed = client.close();
    // A timer takes it out of the tables before it says so.
    watching.until(&side);
    let gone = Interval {
        from: closed.from,
        to: now(),
    };
    let expected = expected
        .then([
            step("ESTABLISHED", "FIN_WAIT1", None, closed),
            step("FIN_WAIT1", "CLOSE", None, gone),
        ])
        .active("timeout", own("close"))
        .because("retransmissions")
        .retransmitted();
    watching.judge(&[expected]);
}

/// `tcp_fin_timeout`: what the orphan waits for never comes.
#[test]
fn an_orphan_whose_peer_never_closes_ends_by_its_timer() {
    let inside = Netns::new();
    inside.set("tcp_fin_timeout", "1");
    let watching = Connections::inside(&inside);
    let (expected, _server) = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (expected, side) = (Expected::client(&client), client.side);
        let closed = client.close();
        let acked = closed.until(wait_state(&side, "FIN_WAIT2"));
        server.end_of_file();
        let gone = closed.until(wait_gone(&side));
        let expected = expected
            .then([
                step("ESTABLISHED", "FIN_WAIT1", None, closed),
                step("FIN_WAIT1", "FIN_WAIT2", None, acked),
                step("FIN_WAIT2", "CLOSE", None, gone),
            ])
            .active("fin_wait2_timeout", own("close"));
        (expected, server)
    });
    watching.judge(&[expected]);
}
