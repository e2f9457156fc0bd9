//! Processes that end with their connections open, and connections that the
//! administrator ends.

use std::{thread::sleep, time::Duration};

use super::{
    Closer, Connections,
    expected::{Expected, closer, own},
    orderly::{first, second},
};
use crate::{
    clock::{Interval, timed, wait_for},
    closing::PARKED,
    expect::step,
    net::{Conn, Listener, Side},
    ns::Netns,
    process::{fork, own_comm},
    tables::{wait_gone, wait_state},
    zoo::Leaking,
};

/// The server of a zoo's connection to it, which was made at `opened`.
fn zoos_end(server: &Leaking, client: &Conn) -> Expected {
    let steps = vec![
        step("LISTEN", "SYN_RECV", None, client.opened),
        step("SYN_RECV", "ESTABLISHED", None, client.opened),
    ];
    let pid = u32::try_from(server.pid()).unwrap();
    Expected::of(client.side.peer(), "accept", steps).owned_by(Some((pid, "leak")))
}

#[test]
fn a_server_that_is_killed_has_closed_by_its_exit() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let server = Leaking::server("well");
        let client = Conn::to(server.address());
        // It has accepted and read everything.
        client.send(b"x");
        client.receive(1);
        let theirs = zoos_end(&server, &client).bytes(1, 1);
        let ours = Expected::client(&client).bytes(1, 1);
        let (near, far) = (theirs.side, client.side);
        let exit = closer(u32::try_from(server.pid()).unwrap(), "leak", "exit");
        let ((), killed) = timed(|| drop(server));
        let acked = killed.until(wait_state(&near, "FIN_WAIT2"));
        let fin = killed.until(client.end_of_file());
        sleep(PARKED);
        let answered = client.close();
        let gone = answered.until(wait_gone(&far));
        [
            theirs
                .then(first(killed, acked, answered))
                .active("fin", exit.clone()),
            ours.then(second(fin, answered, gone)).passive("fin", exit),
        ]
    });
    watching.judge(&both);
}

/// Waits until a process has so many sockets.
fn wait_sockets(pid: u32, count: usize) {
    let is_socket = |entry: std::io::Result<std::fs::DirEntry>| {
        let link = std::fs::read_link(entry.ok()?.path()).ok()?;
        link.to_str()?.starts_with("socket:").then_some(())
    };
    wait_for("the descriptors of the server", || {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        (entries.filter_map(is_socket).count() >= count).then_some(())
    });
}

#[test]
fn a_server_that_is_killed_with_data_unread_has_reset_it_by_its_exit() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let server = Leaking::server("not-read");
        let client = Conn::to(server.address());
        let pid = u32::try_from(server.pid()).unwrap();
        client.send(b"never read");
        // Its listener and this connection.
        wait_sockets(pid, 2);
        let theirs = zoos_end(&server, &client).bytes(10, 0);
        let ours = Expected::client(&client).bytes(0, 10);
        let ((), killed) = timed(|| drop(server));
        let heard = killed.until(client.reset());
        [
            theirs
                .then([step("ESTABLISHED", "CLOSE", None, killed)])
                .broken("reset_sent")
                .by(closer(pid, "leak", "exit"))
                .because("unread_data"),
            ours.then([step("ESTABLISHED", "CLOSE", None, heard)])
                .broken("reset_received"),
        ]
    });
    watching.judge(&both);
}

/// The child has the only descriptor left.
#[test]
fn whoever_has_the_last_descriptor_is_named_and_not_who_opened_it() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let client = Conn::to(listener.side.local);
        let child = fork(|| sleep(Duration::from_secs(600)));
        // Accepted after the fork: the child has not got this one.
        let server = listener.accept(&client);
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let (near, far) = (client.side, server.side);
        client.close();
        sleep(PARKED);
        let exit = closer(child.pid(), &own_comm(), "exit");
        // Killed, and waited for.
        let ((), killed) = timed(|| drop(child));
        let acked = killed.until(wait_state(&near, "FIN_WAIT2"));
        let fin = killed.until(server.end_of_file());
        let answered = server.close();
        let gone = answered.until(wait_gone(&far));
        [
            ours.then(first(killed, acked, answered))
                .active("fin", exit.clone()),
            theirs
                .then(second(fin, answered, gone))
                .passive("fin", exit),
        ]
    });
    watching.judge(&both);
}

/// `ss -K` of one end, and who that was.
fn kill(side: &Side) -> (Closer, Interval) {
    let sport = format!(":{}", side.local.port());
    let dport = format!(":{}", side.remote.port());
    let filter = ["-K", "-tn", "sport", "=", &sport, "dport", "=", &dport];
    let mut ss = std::process::Command::new("ss");
    ss.stdout(std::process::Stdio::null());
    let (pid, when) = timed(|| {
        let mut child = ss.args(filter).spawn().unwrap_or_else(|error| {
            crate::process::missing("ss", "iproute2", &error);
        });
        let pid = child.id();
        assert!(child.wait().unwrap().success());
        pid
    });
    (closer(pid, "ss", "kill"), when)
}

#[test]
fn a_connection_that_ss_kills_is_not_closed_by_its_owner() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let (by, killed) = kill(&client.side);
        let gone = killed.until(wait_gone(&client.side));
        let heard = killed.until(server.reset());
        [
            ours.then([step("ESTABLISHED", "CLOSE", None, gone)])
                .broken("killed")
                .by(by)
                .because("killed"),
            theirs
                .then([step("ESTABLISHED", "CLOSE", None, heard)])
                .broken("reset_received"),
        ]
    });
    watching.judge(&both);
}

/// Whoever broke it off is named: the peer closed only its own direction.
#[test]
fn an_end_in_close_wait_that_ss_kills_was_closed_first_by_its_peer() {
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let both = inside.enter(|| {
        let (client, server) = Listener::on("127.0.0.1:0").pair();
        let (ours, theirs) = (Expected::client(&client), Expected::server(&server));
        let near = client.side;
        let shut = client.shutdown();
        let acked = shut.until(wait_state(&near, "FIN_WAIT2"));
        let fin = shut.until(server.end_of_file());
        let (by, killed) = kill(&server.side);
        let gone = killed.until(wait_gone(&server.side));
        let heard = killed.until(wait_gone(&near));
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
                    step("CLOSE_WAIT", "CLOSE", None, gone),
                ])
                .ended("passive", "killed")
                .by(by)
                .because("killed"),
        ]
    });
    watching.judge(&both);
}
