//! Sockets that were there before the tool, and the kernel's tables and `ss`
//! as a second opinion on the states that are live.

use std::{collections::BTreeMap, net::SocketAddr, thread};

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

use crate::{
    clock::Interval,
    closing::PARKED,
    expect::{First, assert_lines_after, step},
    net::{Conn, Listener, Side},
    ns::{Cable, Netns},
    process::{output, own_files, own_pid},
    tables::{rows, wait_gone, wait_state},
    trace::Trace,
};

/// Sockets parked in four states, and since when.
struct Parked {
    listener: Listener,
    /// Both ends ESTABLISHED.
    open: (Conn, Conn),
    /// `FIN_WAIT2` and `CLOSE_WAIT`.
    half: (Conn, Conn),
    half_since: Interval,
}

fn park(address: &str) -> Parked {
    let listener = Listener::on(address);
    let open = listener.pair();
    let half = listener.pair();
    let shut = half.0.shutdown();
    half.1.end_of_file();
    let half_since = shut.until(wait_state(&half.0.side, "FIN_WAIT2"));
    Parked {
        listener,
        open,
        half,
        half_since,
    }
}

impl Parked {
    fn states(&self) -> [(Side, &'static str); 5] {
        [
            (self.listener.side, "LISTEN"),
            (self.open.0.side, "ESTABLISHED"),
            (self.open.1.side, "ESTABLISHED"),
            (self.half.0.side, "FIN_WAIT2"),
            (self.half.1.side, "CLOSE_WAIT"),
        ]
    }
}

/// Ends every parked socket under a trace that began later, and judges it.
fn end_parked(parked: Parked, mut trace: Trace, wait_gone: impl FnOnce(&Side) -> Interval) {
    let known = trace.started;
    let existed = |entered| First::Existed { entered, known };
    let [listener, open_near, open_far, half_near, half_far] =
        parked.states().map(|(side, _)| side);
    let half_closed = parked.half.1.close();
    let half_ended = half_closed.until(parked.half.0.end_of_file());
    let opened = [parked.open.0.opened, parked.open.1.opened];
    let aborted = parked.open.0.abort();
    let reset = aborted.until(parked.open.1.reset());
    let heard = parked.listener.listened;
    let deaf = parked.listener.close();
    let gone = half_closed.until(wait_gone(&half_far));
    trace.until_enters(&half_far, "CLOSE");
    let run = trace.stop();
    run.assert_sound();
    let judge = |side, entered, steps: &[_]| {
        assert_lines_after(&run, &side, existed(entered), steps);
    };
    judge(listener, heard, &[step("LISTEN", "CLOSE", "close", deaf)]);
    let sent = [step("ESTABLISHED", "CLOSE", "reset_sent", aborted)];
    judge(open_near, opened[0], &sent);
    let received = [step("ESTABLISHED", "CLOSE", "reset_received", reset)];
    judge(open_far, opened[1], &received);
    let since = parked.half_since;
    let last = [step("FIN_WAIT2", "TIME_WAIT", "peer_fin", half_ended)];
    judge(half_near, since, &last);
    let rest = [
        step("CLOSE_WAIT", "LAST_ACK", "close", half_closed),
        step("LAST_ACK", "CLOSE", "fin_acked", gone),
    ];
    judge(half_far, since, &rest);
}

#[test]
fn sockets_older_than_the_trace_have_a_lower_bound_first_and_exact_times_then() {
    let parked = park("127.0.0.1:0");
    thread::sleep(PARKED);
    let trace = Trace::start(&[]);
    thread::sleep(PARKED);
    end_parked(parked, trace, wait_gone);
}

#[test]
fn sockets_older_than_the_trace_are_known_in_every_network_namespace() {
    let inside = Netns::new();
    let parked = inside.enter(|| park("[::1]:0"));
    let trace = Trace::start(&[]);
    thread::sleep(PARKED);
    end_parked(parked, trace, |side| inside.enter(|| wait_gone(side)));
}

#[test]
fn a_connection_that_only_its_namespaces_know_is_seeded_at_both_ends() {
    let cable = Cable::new();
    let listener = cable.right.enter(|| Listener::on("10.99.0.2:0"));
    let client = cable.left.enter(|| Conn::to(listener.side.local));
    let server = listener.accept(&client);
    let trace = Trace::start(&[]);
    let known = trace.started;
    let (near, far) = (client.side, server.side);
    let entered = [client.opened, server.opened];
    let shut = client.shutdown();
    let fin = shut.until(server.end_of_file());
    let run = trace.stop();
    let first = |entered| First::Existed { entered, known };
    assert_eq!(run.assert_sound().of(&far).len(), 1);
    let theirs = [step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", fin)];
    assert_lines_after(&run, &far, first(entered[1]), &theirs);
    let line = run.of(&near)[0].clone();
    assert_eq!(
        (line.old.as_str(), line.dwell.as_str()),
        ("ESTABLISHED", "at_least")
    );
}

#[test]
fn a_connection_older_than_the_trace_is_of_whoever_accepts_it_then() {
    let listener = Listener::on("127.0.0.1:0");
    let client = Conn::to(listener.side.local);
    let trace = Trace::start(&[]);
    let server = listener.accept(&client);
    let far = server.side;
    server.close();
    client.end_of_file();
    let run = trace.stop();
    run.assert_sound();
    let mut lines = run.of(&far).into_iter();
    let closes = lines.find(|line| line.old == "ESTABLISHED").unwrap();
    assert_eq!(closes.pid, Some(own_pid()), "{closes:?}");
}

/// A listener whose port others may share (`SO_REUSEPORT`).
fn sharing(address: SocketAddr) -> Listener {
    own_files();
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let fd = socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseport(&fd, true).unwrap();
    bind(&fd, &address).unwrap();
    let local = SocketAddr::try_from(getsockname(&fd).unwrap()).unwrap();
    Listener::from_bound(fd, local)
}

#[test]
fn listeners_older_than_the_trace_that_share_a_port_end_one_by_one() {
    let first = sharing("127.0.0.1:0".parse().unwrap());
    let address = first.side.local;
    let second = sharing(address);
    let trace = Trace::start(&[]);
    let run = {
        first.close();
        second.close();
        trace.stop()
    };
    run.assert_sound();
    let lines = run.select(|line| line.lport == Some(address.port()));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    for line in &lines {
        assert_eq!(
            (line.old.as_str(), line.dwell.as_str()),
            ("LISTEN", "at_least")
        );
    }
    assert_ne!(lines[0].conn, lines[1].conn);
}

#[test]
fn proc_net_tcp_and_ss_agree_with_the_last_state_printed() {
    let mut trace = Trace::start(&[]);
    let parked = ["127.0.0.1:0", "[::1]:0"].map(park);
    let expected: Vec<_> = parked.iter().flat_map(Parked::states).collect();
    for (side, state) in &expected {
        trace.until_enters(side, state);
    }
    let live = rows();
    let listing = sockets(&output("ss", "iproute2", &["-tanH"]));
    let run = trace.stop();
    run.assert_sound();
    for (side, state) in expected {
        let printed = run.of(&side).pop().unwrap();
        assert_eq!(printed.new, state, "{side:?}");
        let row = live
            .iter()
            .find(|row| row.local == side.local && row.remote == side.remote);
        assert_eq!(row.map(|row| row.state), Some(state), "{side:?}");
        let key = (side.local, (side.remote.port() != 0).then_some(side.remote));
        assert_eq!(listing.get(&key), Some(&state), "{side:?} in {listing:#?}");
    }
}

/// Local and remote address to the kernel's name of the state.
type Listing = BTreeMap<(SocketAddr, Option<SocketAddr>), &'static str>;

/// `ss` spells the states its own way, and `*` for what is not specified.
fn sockets(listing: &str) -> Listing {
    let names = BTreeMap::from([
        ("ESTAB", "ESTABLISHED"),
        ("SYN-SENT", "SYN_SENT"),
        ("SYN-RECV", "SYN_RECV"),
        ("FIN-WAIT-1", "FIN_WAIT1"),
        ("FIN-WAIT-2", "FIN_WAIT2"),
        ("TIME-WAIT", "TIME_WAIT"),
        ("CLOSE-WAIT", "CLOSE_WAIT"),
        ("LAST-ACK", "LAST_ACK"),
        ("LISTEN", "LISTEN"),
        ("CLOSING", "CLOSING"),
    ]);
    let entry = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [state, _, _, local, remote, ..] = words[..] else {
            return None;
        };
        let state = *names.get(state)?;
        Some(((local.parse().ok()?, remote.parse().ok()), state))
    };
    listing.lines().filter_map(entry).collect()
}

#[test]
fn the_listing_of_ss_is_read() {
    let text = "LISTEN 0 4096 127.0.0.1:80 0.0.0.0:*\n\
        CLOSE-WAIT 1 0 [::1]:81 [::1]:82 \n\
        UNCONN 0 0 *:1 *:2\n";
    let listing = sockets(text);
    assert_eq!(listing.len(), 2);
    assert_eq!(listing[&("127.0.0.1:80".parse().unwrap(), None)], "LISTEN");
    let far = (
        "[::1]:81".parse().unwrap(),
        Some("[::1]:82".parse().unwrap()),
    );
    assert_eq!(listing[&far], "CLOSE_WAIT");
}
