//! Connections that end with FINs: who closed first, by which call.

use std::thread::sleep;

use super::{
    Connections,
    expected::{Expected, own},
};
use crate::{
    clock::{Interval, timed},
    closing::{PARKED, deafen, listen_again},
    expect::{Step, step},
    net::{Conn, Listener, bound},
    ns::Netns,
    tables::{wait_gone, wait_state},
};

/// `ESTABLISHED` to `CLOSE` of the end that closes second.
pub(super) fn second(fin: Interval, closed: Interval, gone: Interval) -> [Step; 3] {
    [
        step("ESTABLISHED", "CLOSE_WAIT", None, fin),
        step("CLOSE_WAIT", "LAST_ACK", None, closed),
        step("LAST_ACK", "CLOSE", None, gone),
    ]
}

/// `ESTABLISHED` to `TIME_WAIT` of the end that closes first.
pub(super) fn first(closed: Interval, acked: Interval, answered: Interval) -> [Step; 3] {
    [
        step("ESTABLISHED", "FIN_WAIT1", None, closed),
        step("FIN_WAIT1", "FIN_WAIT2", None, acked),
        step("FIN_WAIT2", "TIME_WAIT", None, answered),
    ]
}

/// Three bytes there and six back.
fn talk(near: &Conn, far: &Conn) {
    near.send(b"ask");
    far.receive(3);
    far.send(b"answer");
    near.receive(6);
}

/// `near` closes, and `far` after it.
fn close_in_turn(near: (Conn, Expected), far: (Conn, Expected)) -> [Expected; 2] {
    let (ours, theirs) = (near.0.side, far.0.side);
    let closed = near.0.close();
    let acked = closed.until(wait_state(&ours, "FIN_WAIT2"));
    let fin = closed.until(far.0.end_of_file());
    sleep(PARKED);
    let answered = far.0.close();
    let gone = answered.until(wait_gone(&theirs));
    [
        near.1
            .then(first(closed, acked, answered))
            .active("fin", own("close")),
        far.1
            .then(second(fin, answered, gone))
            .passive("fin", own("close")),
    ]
}

#[test]
fn a_client_that_closes_first_is_named_with_its_call() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        talk(&client, &server);
        let ours = Expected::client(&client).bytes(6, 3);
        let theirs = Expected::server(&server).bytes(3, 6);
        close_in_turn((client, ours), (server, theirs))
    });
    watching.judge(&both);
}

#[test]
fn a_server_that_closes_first_is_named_with_its_call() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("[::1]:0").pair();
        talk(&client, &server);
        let ours = Expected::client(&client).bytes(6, 3);
        let theirs = Expected::server(&server).bytes(3, 6);
        close_in_turn((server, theirs), (client, ours))
    });
    watching.judge(&both);
}

#[test]
fn shutdown_then_close_is_a_close_by_shutdown() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (near, far) = (client.side, server.side);
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        client.send(b"ask");
        server.receive(3);
        let shut = client.shutdown();
        let acked = shut.until(wait_state(&near, "FIN_WAIT2"));
        let fin = shut.until(server.end_of_file());
        sleep(PARKED);
        // An orphan from here on, for which FIN_WAIT2 goes on.
        client.close();
        sleep(PARKED);
        let answered = server.close();
        let gone = answered.until(wait_gone(&far));
        [
            ours.then(first(shut, acked, answered))
                .active("fin", own("shutdown"))
                .bytes(0, 3),
            theirs
                .then(second(fin, answered, gone))
                .passive("fin", own("shutdown"))
                .bytes(3, 0),
        ]
    });
    watching.judge(&both);
}

#[test]
fn a_connection_to_itself_is_closed_by_both_ends_at_once() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (fd, own_address) = bound("127.0.0.1:0".parse().unwrap());
        let conn = Conn::with(fd, own_address);
        let (side, opened) = (conn.side, conn.opened);
        sleep(PARKED);
        let closed = conn.close();
        let waiting = closed.until(wait_state(&side, "TIME_WAIT"));
        let steps = vec![
            step("CLOSE", "SYN_SENT", None, opened),
            step("SYN_SENT", "SYN_RECV", None, opened),
            step("SYN_RECV", "ESTABLISHED", None, opened),
            step("ESTABLISHED", "FIN_WAIT1", None, closed),
            step("FIN_WAIT1", "CLOSING", None, waiting),
            step("CLOSING", "TIME_WAIT", None, waiting),
        ];
        [Expected::of(side, "connect", steps)
            .ended("simultaneous", "fin")
            .by(own("close"))]
    });
    watching.judge(&both);
}

/// Both have closed before either hears it. The client, which hears second,
/// hears its own FIN acknowledged first: to it, it was the first that closed.
#[test]
fn fins_that_cross_are_a_simultaneous_close_to_the_end_that_hears_first() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let far = server.side;
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        for end in [&client, &server] {
            deafen(end);
        }
        let (shut, answered) = (client.shutdown(), server.shutdown());
        sleep(PARKED);
        let ((), hears) = timed(|| listen_again(&server));
        let closing = hears.until(wait_state(&far, "CLOSING"));
        sleep(PARKED);
        let ((), hears) = timed(|| listen_again(&client));
        let ended = hears.until(client.end_of_file());
        let acked = hears.until(wait_state(&far, "TIME_WAIT"));
        drop((client, server));
        [
            ours.then(first(shut, ended, ended))
                .active("fin", own("shutdown"))
                .retransmitted(),
            theirs
                .then([
                    step("ESTABLISHED", "FIN_WAIT1", None, answered),
                    step("FIN_WAIT1", "CLOSING", None, closing),
                    step("CLOSING", "TIME_WAIT", None, acked),
                ])
                .ended("simultaneous", "fin")
                .by(own("shutdown"))
                .retransmitted(),
        ]
    });
    watching.judge(&both);
}
