//! Walks over this machine's own tables; none needs a privilege.

use std::{
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
    time::{Duration, Instant},
};

use rustix::fs::fstat;
use tcpstate_common::{
    record::{Snapshot, Sweep, Tuple, how, socket_kind, sweep as phase},
    settings::Filter,
    state::TcpState,
};
use zerocopy::FromBytes as _;

use crate::seed::{SweepReport, end, inspect, monotonic_ns, probe, sweep};

fn brackets_and_snapshots(bytes: &[u8]) -> (Sweep, Vec<Snapshot>, Sweep) {
    let (begin, rest) = Sweep::read_from_prefix(bytes).unwrap();
    let (snapshots, rest) = rest.split_at(rest.len() - size_of::<Sweep>());
    let snapshots = snapshots
        .chunks(size_of::<Snapshot>())
        .map(|bytes| Snapshot::read_from_bytes(bytes).unwrap())
        .collect();
    (begin, snapshots, Sweep::read_from_bytes(rest).unwrap())
}

fn own_netns() -> u32 {
    let inode = std::fs::metadata("/proc/self/ns/net").unwrap().ino();
    u32::try_from(inode).unwrap()
}

fn inode_of(socket: &impl AsFd) -> u64 {
    fstat(socket).unwrap().st_ino
}

fn of_port(snapshots: &[Snapshot], lport: u16, rport: u16) -> Snapshot {
    let found: Vec<_> = snapshots
        .iter()
        .filter(|seen| seen.header.netns == own_netns())
        .filter(|seen| (seen.tuple.lport, seen.tuple.rport) == (lport, rport))
        .collect();
    assert_eq!(found.len(), 1, "{lport} to {rport}: {found:?}");
    *found[0]
}

fn swept() -> (SweepReport, Sweep, Vec<Snapshot>, Sweep) {
    let mut bytes = Vec::new();
    let report = sweep(&Filter::default(), &mut bytes);
    end(&report, &mut bytes);
    let (begin, snapshots, end) = brackets_and_snapshots(&bytes);
    (report, begin, snapshots, end)
}

fn connected(host: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind((host, 0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

fn ports(stream: &TcpStream) -> (u16, u16) {
    let local = stream.local_addr().unwrap().port();
    (local, stream.peer_addr().unwrap().port())
}

#[test]
fn sock_diag_shows_own_sockets_with_tuple_state_inode_and_namespace() {
    let (listener, client, server) = connected("127.0.0.1");
    let (_report, _, snapshots, _) = swept();

    let (lport, rport) = ports(&client);
    let seen = of_port(&snapshots, lport, rport);
    let mut loopback = [0; 16];
    loopback[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let tuple = Tuple {
        laddr: loopback,
        raddr: loopback,
        lport,
        rport,
    };
    assert_eq!(seen.tuple, tuple);
    assert_eq!(seen.state, TcpState::Established as u8);
    assert_eq!(seen.kind, socket_kind::FULL);
    assert_eq!((seen.how, seen.sk), (0, 0));
    assert_eq!(seen.inode, inode_of(&client));
    assert_ne!(seen.cookie, 0);

    let accepted = of_port(&snapshots, rport, lport);
    assert_eq!(accepted.inode, inode_of(&server));
    let listening = of_port(&snapshots, rport, 0);
    assert_eq!(listening.state, TcpState::Listen as u8);
    assert_eq!(listening.inode, inode_of(&listener));
}

#[test]
fn an_ipv6_socket_is_marked_so() {
    let (_listener, client, _server) = connected("::1");
    let (_, _, snapshots, _) = swept();
    let (lport, rport) = ports(&client);
    let seen = of_port(&snapshots, lport, rport);
    assert_eq!(seen.how, how::INET6);
    assert_eq!(seen.tuple.raddr, std::net::Ipv6Addr::LOCALHOST.octets());
}

#[test]
fn a_half_closed_connection_shows_who_shut_what_down() {
    let (_listener, client, server) = connected("127.0.0.1");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    // The FIN has arrived when the server reads the end.
    assert_eq!(io::Read::read(&mut &server, &mut [0]).unwrap(), 0);
    let (_, _, snapshots, _) = swept();
    let (lport, rport) = ports(&client);
    let closing = of_port(&snapshots, lport, rport);
    assert_eq!(closing.how, how::SEND_SHUTDOWN);
    assert_eq!(closing.kind, socket_kind::FULL);
    let waiting = of_port(&snapshots, rport, lport);
    assert_eq!(waiting.state, TcpState::CloseWait as u8);
    assert_eq!(waiting.how, how::RCV_SHUTDOWN | how::FIN_RECEIVED);
}

#[test]
fn a_connection_that_ended_is_a_minisocket() {
    let (_listener, client, server) = connected("127.0.0.1");
    let (lport, rport) = ports(&client);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(io::Read::read(&mut &server, &mut [0]).unwrap(), 0);
    drop(server);
    assert_eq!(io::Read::read(&mut &client, &mut [0]).unwrap(), 0);
    drop(client);
    let (_, _, snapshots, _) = swept();
    let seen = of_port(&snapshots, lport, rport);
    assert_eq!(seen.kind, socket_kind::MINISOCKET);
    assert_eq!(seen.state, TcpState::TimeWait as u8);
    assert_eq!(seen.how, how::FIN_RECEIVED);
    assert!((59_000..=60_000).contains(&seen.inode), "{}", seen.inode);
}

#[test]
fn a_connection_not_yet_accepted_has_no_inode() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_, _, snapshots, _) = swept();
    let (lport, rport) = ports(&client);
    let queued = of_port(&snapshots, rport, lport);
    assert_eq!((queued.how, queued.inode), (how::NO_SOCKET, 0));
    assert_eq!(queued.kind, socket_kind::FULL);
}

#[test]
fn every_snapshot_is_as_old_as_the_walk() {
    let before = monotonic_ns();
    let (report, begin, snapshots, end) = swept();
    assert_eq!(begin.phase, phase::BEGIN);
    let last = if report.failed.is_empty() {
        phase::END
    } else {
        phase::FAILED
    };
    assert_eq!(end.phase, last, "{report:?}");
    assert!((before..=end.ktime).contains(&begin.ktime));
    let walk = begin.ktime..=end.ktime;
    assert!(snapshots.iter().all(|seen| walk.contains(&seen.ktime)));
    assert_eq!(report.sockets, snapshots.len());
    assert!(report.namespaces >= 1);
}

#[test]
fn what_the_kernel_side_would_not_speak_of_is_left_out() {
    let (listener, _client, _server) = connected("127.0.0.1");
    let lport = listener.local_addr().unwrap().port();
    let mut filter = Filter {
        lport_count: 1,
        ..Filter::default()
    };
    filter.lports[0] = lport;
    let mut bytes = Vec::new();
    let report = sweep(&filter, &mut bytes);
    end(&report, &mut bytes);
    let (_, snapshots, _) = brackets_and_snapshots(&bytes);
    assert!(snapshots.len() >= 2, "the listener and its child");
    assert!(snapshots.iter().all(|seen| seen.tuple.lport == lport));
}

#[test]
fn one_namespace_is_read_when_one_is_asked_for() {
    let elsewhere = Filter {
        netns: u32::MAX,
        ..Filter::default()
    };
    let report = sweep(&elsewhere, &mut Vec::new());
    assert_eq!((report.namespaces, report.sockets), (0, 0));
    let here = Filter {
        netns: own_netns(),
        ..Filter::default()
    };
    assert_eq!(sweep(&here, &mut Vec::new()).namespaces, 1);
}

#[test]
fn an_inspection_tells_what_is_unread_and_what_waits_to_be_accepted() {
    let (listener, mut client, server) = connected("127.0.0.1");
    let _waits = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"four").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let of = |inode| {
        let all = inspect();
        let found = all.iter().find(|it| it.inspection.inode == inode);
        found.map(|it| it.inspection)
    };
    // Not before the FIN has come.
    let deadline = Instant::now() + Duration::from_secs(10);
    let it = loop {
        if let Some(it) = of(inode_of(&server)) {
            break it;
        }
        assert!(Instant::now() < deadline);
    };
    assert_eq!((it.state, it.unread), (TcpState::CloseWait, 5));
    let listens = of(inode_of(&listener)).unwrap();
    assert_eq!((listens.state, listens.queue), (TcpState::Listen, 1));
    assert!(listens.queue_limit > 0);
}

#[test]
fn the_kernel_answers() {
    probe().unwrap();
}
