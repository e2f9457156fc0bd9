//! Connections that end with a RST, and why it was sent.

use std::os::fd::{AsFd, AsRawFd};

use super::{
    Connections,
    expected::{Expected, own},
};
use crate::{
    clock::{Interval, timed},
    expect::step,
    net::{Conn, Listener},
    ns::Netns,
    tables::{wait_gone, wait_state},
};

/// Both lines where `aborts` sends a RST from `ESTABLISHED`.
fn aborted(
    aborts: Expected,
    victim: Expected,
    reason: &'static str,
    (sent, heard): (Interval, Interval),
) -> [Expected; 2] {
    [
        aborts
            .then([step("ESTABLISHED", "CLOSE", None, sent)])
            .broken("reset_sent")
            .by(own("close"))
            .because(reason),
        victim
            .then([step("ESTABLISHED", "CLOSE", None, sent.until(heard))])
            .broken("reset_received"),
    ]
}

#[test]
fn a_client_that_closes_with_linger_zero_resets_and_is_told_so() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let sent = client.abort();
        aborted(ours, theirs, "linger_zero", (sent, server.reset()))
    });
    watching.judge(&both);
}

#[test]
fn a_server_that_closes_with_linger_zero_resets_and_is_told_so() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("[::1]:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let sent = server.abort();
        aborted(theirs, ours, "linger_zero", (sent, client.reset()))
    });
    watching.judge(&both);
}

#[test]
fn a_close_with_unread_data_resets_because_of_it() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let ours = Expected::client(&client).bytes(0, 10);
        let theirs = Expected::server(&server).bytes(10, 0);
        client.send(b"never read");
        server.wait_readable();
        let sent = server.close();
        aborted(theirs, ours, "unread_data", (sent, client.reset()))
    });
    watching.judge(&both);
}

/// With nothing unread, what `SO_LINGER` says decides; with both, the kernel
/// looks at the data first.
#[test]
fn linger_zero_with_unread_data_is_the_unread_data() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let ours = Expected::client(&client).bytes(0, 10);
        let theirs = Expected::server(&server).bytes(10, 0);
        client.send(b"never read");
        server.wait_readable();
        let sent = server.abort();
        aborted(theirs, ours, "unread_data", (sent, client.reset()))
    });
    watching.judge(&both);
}

/// The orphan's minisocket has nobody who could read it.
#[test]
fn data_for_an_end_that_has_closed_is_answered_by_a_reset() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let ours = Expected::client(&client);
        let theirs = Expected::server(&server).bytes(0, 4);
        let near = client.side;
        let closed = client.close();
        let acked = closed.until(wait_state(&near, "FIN_WAIT2"));
        let fin = closed.until(server.end_of_file());
        let sent = server.send(b"late");
        let gone = sent.until(wait_gone(&near));
        let heard = sent.until(wait_gone(&server.side));
        [
            ours.then([
                step("ESTABLISHED", "FIN_WAIT1", None, closed),
                step("FIN_WAIT1", "FIN_WAIT2", None, acked),
                step("FIN_WAIT2", "CLOSE", None, gone),
            ])
            .active("reset_sent", own("close"))
            .because("data_after_close"),
            theirs
                .then([
                    step("ESTABLISHED", "CLOSE_WAIT", None, fin),
                    step("CLOSE_WAIT", "CLOSE", None, heard),
                ])
                .passive("reset_received", own("close")),
        ]
    });
    watching.judge(&both);
}

#[test]
fn an_abort_after_the_peers_fin_is_told_and_the_peer_was_first() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let near = client.side;
        let shut = client.shutdown();
        let acked = shut.until(wait_state(&near, "FIN_WAIT2"));
        let fin = shut.until(server.end_of_file());
        let sent = server.abort();
        let heard = sent.until(wait_gone(&near));
        [
            ours.then([
                step("ESTABLISHED", "FIN_WAIT1", None, shut),
                step("FIN_WAIT1", "FIN_WAIT2", None, acked),
                step("FIN_WAIT2", "CLOSE", None, heard),
            ])
            .active("reset_received", own("shutdown")),
            theirs
                .then([
                    step("ESTABLISHED", "CLOSE_WAIT", None, fin),
                    step("CLOSE_WAIT", "CLOSE", None, sent),
                ])
                .ended("passive", "reset_sent")
                .by(own("close"))
                .because("linger_zero"),
        ]
    });
    watching.judge(&both);
}

/// `connect` to no address at all.
fn disconnect(conn: &Conn) -> Interval {
    let nowhere = libc::sockaddr {
        sa_family: libc::sa_family_t::try_from(libc::AF_UNSPEC).unwrap(),
        sa_data: [0; 14],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).unwrap();
    timed(|| {
        // SAFETY: the address lives for the call and the length is its own.
        let done = unsafe { libc::connect(conn.as_fd().as_raw_fd(), &raw const nowhere, length) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    })
    .1
}

#[test]
fn a_socket_that_is_disconnected_resets_its_peer() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let sent = disconnect(&client);
        let heard = sent.until(server.reset());
        [
            ours.then([step("ESTABLISHED", "CLOSE", None, sent)])
                .broken("reset_sent")
                .by(own("connect"))
                .because("disconnect"),
            theirs
                .then([step("ESTABLISHED", "CLOSE", None, heard)])
                .broken("reset_received"),
        ]
    });
    watching.judge(&both);
}

/// `TCP_REPAIR`: the peer is not told.
#[test]
fn a_socket_that_vanishes_was_dropped_by_its_process() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let (one, _server) = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let ours = Expected::client(&client);
        let gone = client.vanish();
        let ours = ours
            .then([step("ESTABLISHED", "CLOSE", None, gone)])
            .broken("dropped")
            .by(own("close"));
        (ours, server)
    });
    watching.judge(&[one]);
}

/// The connections of a listener's queue are nobody's yet; whoever closes the
/// listener resets them.
#[test]
fn a_listener_that_closes_resets_what_nobody_has_accepted() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let all = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let clients = [(); 2].map(|()| Conn::to(listener.side.local));
        let closed = listener.close();
        let ends = clients.map(|client| {
            let heard = closed.until(client.reset());
            let queued = vec![
                step("LISTEN", "SYN_RECV", None, client.opened),
                step("SYN_RECV", "ESTABLISHED", None, client.opened),
                step("ESTABLISHED", "CLOSE", None, closed),
            ];
            let theirs = Expected::of(client.side.peer(), "accept", queued)
                .owned_by(None)
                .broken("reset_sent")
                .by(own("accept_queue"))
                .because("listener_closed");
            let ours = Expected::client(&client)
                .then([step("ESTABLISHED", "CLOSE", None, heard)])
                .broken("reset_received");
            [ours, theirs]
        });
        ends.into_iter().flatten().collect::<Vec<_>>()
    });
    watching.judge(&all);
}
