//! Walks over this machine's own tables; none needs a privilege.

use std::{
    fs::File,
    io::{self, Write as _},
    net::{TcpListener, TcpStream},
    os::{fd::AsFd, unix::fs::MetadataExt as _},
};

use rustix::fs::{MemfdFlags, fstat, memfd_create};
use tcpstate_common::{
    record::{Header, Snapshot, Sweep, Tuple, how, kind, socket_kind, sweep as phase, words_of},
    state::TcpState,
};
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

use super::drain;
use crate::seed::{SweepReport, monotonic_ns, sweep};

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
    let report = sweep(None, &mut bytes);
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
    assert_eq!((seen.how, seen.inode), (how::FIN_RECEIVED, 0));
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
    assert_eq!(report.how(), "sock_diag");
}

fn made_up(sk: u64) -> Snapshot {
    let mut record = Snapshot::new_zeroed();
    record.header = Header {
        kind: kind::SNAPSHOT,
        words: words_of::<Snapshot>(),
        lost: 0,
        netns: own_netns(),
    };
    record.sk = sk;
    record
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("iterator", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(bytes).unwrap();
    io::Seek::rewind(&mut file).unwrap();
    file
}

#[test]
fn what_the_iterator_wrote_is_passed_on_and_sock_diag_not_asked() {
    let records: Vec<u8> = (1..3000)
        .flat_map(|sk| made_up(sk).as_bytes().to_vec())
        .collect();
    let mut bytes = Vec::new();
    let mut open = || Ok(file_of(&records));
    let report = sweep(Some(&mut open), &mut bytes);
    assert_eq!(report.how(), "iter/tcp");
    assert_eq!(report.refusal, None);
    let (_, snapshots, _) = brackets_and_snapshots(&bytes);
    assert_eq!(snapshots.len(), 2999 * report.namespaces);
    assert_eq!(snapshots[..2999].as_bytes(), records);
}

#[test]
fn sock_diag_is_asked_where_the_iterator_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut bytes = b"kept".to_vec();
    let mut open = || Err(io::Error::other("no such program"));
    let report = sweep(Some(&mut open), &mut bytes);
    assert_eq!(report.how(), "sock_diag");
    assert_eq!(report.refusal.as_deref(), Some("no such program"));
    assert_eq!(&bytes[..4], b"kept");
    let (_, snapshots, _) = brackets_and_snapshots(&bytes[4..]);
    of_port(&snapshots, listener.local_addr().unwrap().port(), 0);
}

#[test]
fn an_iterator_that_ends_within_a_record_leaves_nothing() {
    let record = made_up(1);
    for len in 1..size_of::<Snapshot>() {
        let cut = [record.as_bytes(), &record.as_bytes()[..len]].concat();
        let mut out = b"kept".to_vec();
        let error = drain(file_of(&cut), &mut out).unwrap_err();
        assert!(
            error.to_string().contains(&format!("{len} bytes")),
            "{error}"
        );
        assert_eq!(out, b"kept");
    }
}

#[test]
fn an_iterator_that_writes_other_records_is_refused() {
    let mut record = made_up(1);
    record.header.kind = kind::TRANSITION;
    let mut out = Vec::new();
    let error = drain(file_of(record.as_bytes()), &mut out).unwrap_err();
    assert!(error.to_string().contains("kind 1"), "{error}");
    assert!(out.is_empty());
}
