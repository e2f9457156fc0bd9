//! Leaks that are older than the tool: no address of theirs is known, and no
//! event tells it.

use super::{Leaks, fds, visit};
use crate::{
    net::{Conn, Listener},
    ns::Netns,
    zoo::Leaking,
};

#[test]
fn sockets_older_than_the_trace_are_classed_by_what_the_kernel_says_of_them() {
    let inside = Netns::new();
    let server = |mode, data: &[u8]| {
        inside.enter(|| {
            let server = Leaking::server(mode);
            visit(&server, 3, data);
            server
        })
    };
    let read = server("never-closed", b"request");
    let unread = server("not-read", b"0123456789");
    let ignored = server("not-read", b"");
    let queued = server("never-accepted", b"");
    let (half_closed, _kept) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let client = Leaking::client("half-closed", listener.side.local);
        (client, listener.take())
    });
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    for (class, count, server) in [
        ("never_closed", 3, &read),
        ("unread_data", 3, &unread),
        ("eof_not_read", 3, &ignored),
        ("half_closed", 1, &half_closed),
    ] {
        let group = leaks.until(class, count);
        assert_eq!(group["pid"], server.pid(), "{group:#}");
        assert_eq!(fds(&group) as u64, count, "{group:#}");
        assert_eq!(group["oldest"], "at_least", "{group:#}");
    }
    assert_eq!(leaks.until("unread_data", 3)["unread_bytes"], 30);
    let group = leaks.until("never_accepted", 3);
    assert_eq!(fds(&group), 0);
    assert_eq!(group["listener"]["queue"], 3);
    assert_eq!(group["listener"]["queue_limit"], 64);
    assert_eq!(group["listener"]["pids"][0], queued.pid());
    // The sixth is this test: it has not read the end of `half_closed`.
    let (last, _) = leaks.stop();
    assert_eq!(last.len(), 6, "{last:#?}");
}

#[test]
fn a_reset_of_a_socket_older_than_the_trace_is_seen() {
    let inside = Netns::new();
    let (server, clients) = inside.enter(|| {
        let server = Leaking::server("not-read");
        let clients = [(); 2].map(|()| Conn::to(server.address()));
        (server, clients)
    });
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    for client in clients {
        client.abort();
    }
    let group = leaks.until("reset_but_open", 2);
    assert_eq!(group["pid"], server.pid());
    assert_eq!(fds(&group), 2);
    leaks.stop();
}
