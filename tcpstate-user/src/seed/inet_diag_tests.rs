//! Answers as the kernel gives them, and as it never should.

use proptest::{collection::vec, prelude::any, proptest};
use tcpstate_common::record::{Snapshot, how, socket_kind};

use super::{AF_INET, AF_INET6, Asked, Datagram, Fault, Progress, parse, request};
use crate::seed::socket::{inspected, snapshot};

const ABOUT: Datagram = Datagram {
    seq: 7,
    netns: 4_026_531_840,
    ktime: 1_000,
};

const EXPIRES: u32 = 59_000;
const RQUEUE: u32 = 3;
const WQUEUE: u32 = 4;

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(ABOUT.seq.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `struct inet_diag_msg` of 10.1.2.3:80 to 10.1.2.4:4242, and its attributes.
fn socket(family: u8, state: u8, timer: u8, inode: u32, shutdown: Option<u8>) -> Vec<u8> {
    let mut bytes = vec![family, state, timer, 0];
    bytes.extend(80_u16.to_be_bytes());
    bytes.extend(4242_u16.to_be_bytes());
    bytes.extend([10, 1, 2, 3]);
    bytes.extend([0; 12]);
    bytes.extend([10, 1, 2, 4]);
    bytes.extend([0; 12]);
    bytes.extend([0; 4]);
    bytes.extend(0x0403_0201_u32.to_ne_bytes());
    bytes.extend(5_u32.to_ne_bytes());
    bytes.extend(EXPIRES.to_ne_bytes());
    bytes.extend(RQUEUE.to_ne_bytes());
    bytes.extend(WQUEUE.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(inode.to_ne_bytes());
    if let Some(shutdown) = shutdown {
        bytes.extend(5_u16.to_ne_bytes());
        bytes.extend(8_u16.to_ne_bytes());
        bytes.extend([shutdown, 0, 0, 0]);
    }
    // INET_DIAG_MARK
    bytes.extend(8_u16.to_ne_bytes());
    bytes.extend(15_u16.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}

fn parsed(bytes: &[u8]) -> Result<(Progress, Vec<Snapshot>), Fault> {
    let mut out = Vec::new();
    let progress = parse(bytes, ABOUT, snapshot, &mut out)?;
    Ok((progress, out))
}

fn one(payload: &[u8]) -> Snapshot {
    let (progress, records) = parsed(&message(20, 2, payload)).unwrap();
    assert_eq!((progress, records.len()), (Progress::More, 1));
    records[0]
}

#[test]
fn a_request_is_what_the_kernel_expects() {
    let bytes = request(AF_INET6, 9, Asked::ALL);
    assert_eq!(bytes[..4], 72_u32.to_ne_bytes());
    assert_eq!(bytes[8..12], 9_u32.to_ne_bytes());
    assert_eq!(bytes[16..18], [AF_INET6, 6]);
    assert_eq!(bytes[20..24], 0xffe_u32.to_ne_bytes());
}

#[test]
fn a_full_socket_keeps_tuple_cookie_and_inode() {
    let seen = one(&socket(AF_INET, 8, 0, 77, Some(1)));
    assert_eq!(seen.tuple.laddr[10..], [0xff, 0xff, 10, 1, 2, 3]);
    assert_eq!(seen.tuple.raddr[10..], [0xff, 0xff, 10, 1, 2, 4]);
    assert_eq!((seen.tuple.lport, seen.tuple.rport), (80, 4242));
    assert_eq!(
        (seen.header.netns, seen.ktime, seen.sk),
        (ABOUT.netns, 1_000, 0)
    );
    assert_eq!((seen.state, seen.kind), (8, socket_kind::FULL));
    assert_eq!((seen.inode, seen.cookie), (77, 0x5_0403_0201));
    assert_eq!(seen.how, how::RCV_SHUTDOWN | how::FIN_RECEIVED);
}

#[test]
fn an_ipv6_address_is_taken_whole() {
    let seen = one(&socket(AF_INET6, 1, 0, 77, Some(0)));
    assert_eq!(seen.tuple.laddr[..5], [10, 1, 2, 3, 0]);
    assert_eq!(seen.how, how::INET6);
}

#[test]
fn the_three_kinds_are_told_apart() {
    let kind = |state, timer, shutdown| one(&socket(AF_INET, state, timer, 0, shutdown)).kind;
    assert_eq!(kind(6, 3, None), socket_kind::MINISOCKET);
    assert_eq!(kind(5, 3, None), socket_kind::MINISOCKET);
    assert_eq!(kind(3, 1, None), socket_kind::REQUEST);
    assert_eq!(kind(3, 1, Some(0)), socket_kind::FULL, "fast open");
    assert_eq!(kind(5, 2, Some(3)), socket_kind::FULL, "FIN_WAIT2 orphan");
}

#[test]
fn of_a_minisocket_what_is_left_of_its_timer_is_told() {
    assert_eq!(
        one(&socket(AF_INET, 6, 3, 0, None)).inode,
        u64::from(EXPIRES)
    );
}

#[test]
fn a_report_gets_what_it_needs_of_a_full_socket() {
    let of = |state, timer, last_ack: Option<u32>| {
        let mut payload = socket(AF_INET, state, timer, 9, (timer != 3).then_some(1));
        if let Some(last_ack) = last_ack {
            payload.extend(64_u16.to_ne_bytes());
            payload.extend(2_u16.to_ne_bytes());
            payload.extend([0; 56]);
            payload.extend(last_ack.to_ne_bytes());
        }
        let mut out = Vec::new();
        parse(&message(20, 2, &payload), ABOUT, inspected, &mut out).unwrap();
        out.pop()
    };
    let waits = of(8, 0, Some(700)).unwrap();
    assert_eq!(waits.cookie, 0x5_0403_0201);
    let it = waits.inspection;
    assert_eq!((it.unread, it.quiet_ms, it.inode), (RQUEUE, 700, 9));
    assert_eq!((it.queue, it.queue_limit), (0, 0));
    let listens = of(10, 0, None).unwrap().inspection;
    assert_eq!((listens.queue, listens.queue_limit), (RQUEUE, WQUEUE));
    assert_eq!((listens.unread, listens.quiet_ms), (0, 0));
    assert_eq!(of(5, 3, None).map(|it| it.cookie), None, "a minisocket");
}

#[test]
fn a_socket_without_a_file_is_an_orphan_only_when_it_is_closing() {
    let how = |state, inode| one(&socket(AF_INET, state, 0, inode, Some(0))).how;
    assert_eq!(how(1, 0), how::NO_SOCKET, "accept queue");
    assert_eq!(
        how(8, 0),
        how::NO_SOCKET | how::FIN_RECEIVED,
        "accept queue"
    );
    assert_eq!(how(5, 0), how::NO_SOCKET | how::ORPHAN);
    assert_eq!(how(5, 7), 0, "half closed");
}

#[test]
fn an_unknown_state_is_passed_on_for_the_decoder_to_refuse() {
    assert_eq!(one(&socket(AF_INET, 13, 0, 7, Some(0))).state, 13);
}

#[test]
fn several_messages_and_the_end_are_one_datagram() {
    let mut bytes = message(20, 2, &socket(AF_INET, 1, 0, 1, Some(0)));
    bytes.extend(message(1, 2, &[]));
    bytes.extend(message(20, 2, &socket(AF_INET, 6, 3, 0, None)));
    bytes.extend(message(3, 2, &0_i32.to_ne_bytes()));
    let (progress, records) = parsed(&bytes).unwrap();
    assert_eq!((progress, records.len()), (Progress::Done, 2));
}

#[test]
fn a_refusal_keeps_its_number() {
    let missing = (-2_i32).to_ne_bytes();
    let refused = Err(Fault::Refused(2));
    assert_eq!(parsed(&message(3, 2, &missing)), refused, "in DONE");
    assert_eq!(parsed(&message(2, 0, &missing)), refused, "in ERROR");
    assert_eq!(parsed(&message(3, 2, &[])), Ok((Progress::Done, vec![])));
    let worst = i32::MIN.to_ne_bytes();
    assert_eq!(
        parsed(&message(2, 0, &worst)),
        Err(Fault::Refused(i32::MAX))
    );
}

#[test]
fn an_interrupted_dump_is_named() {
    let bytes = message(20, 0x12, &socket(AF_INET, 1, 0, 1, Some(0)));
    assert_eq!(parsed(&bytes), Err(Fault::Interrupted));
}

#[test]
fn what_is_not_an_answer_is_refused_with_its_value() {
    let good = socket(AF_INET, 1, 0, 1, Some(0));
    assert_eq!(parsed(&message(4, 0, &[])), Err(Fault::UnknownMessage(4)));
    let unix = socket(1, 1, 0, 1, Some(0));
    assert_eq!(parsed(&message(20, 2, &unix)), Err(Fault::UnknownFamily(1)));
    let mut stale = message(20, 2, &good);
    stale[8] = 8;
    assert_eq!(parsed(&stale), Err(Fault::Sequence(8)));
}

#[test]
fn every_prefix_of_an_answer_is_refused_as_cut_short() {
    let bytes = message(20, 2, &socket(AF_INET, 1, 0, 1, Some(0)));
    for len in 1..bytes.len() {
        let result = parsed(&bytes[..len]);
        assert!(
            matches!(result, Err(Fault::Truncated { .. })),
            "{len}: {result:?}"
        );
    }
}

#[test]
fn a_length_of_nothing_does_not_stop_the_reader_for_ever() {
    let mut bytes = message(20, 2, &socket(AF_INET, 1, 0, 1, None));
    bytes[..4].fill(0);
    assert_eq!(parsed(&bytes), Err(Fault::Truncated { have: 96, need: 16 }));
    let mut attribute = message(20, 2, &socket(AF_INET, 1, 0, 1, None));
    attribute[88..90].fill(0);
    assert_eq!(
        parsed(&attribute),
        Err(Fault::Truncated { have: 8, need: 4 })
    );
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = parsed(&bytes);
    }

    #[test]
    fn no_change_to_an_answer_makes_it_panic(at in 0_usize..208, to: u8, cut in 0_usize..=208) {
        let mut bytes = message(20, 2, &socket(AF_INET6, 1, 0, 1, Some(0)));
        bytes.extend(message(20, 2, &socket(AF_INET, 6, 3, 0, None)));
        let at = at % bytes.len();
        bytes[at] = to;
        bytes.truncate(cut);
        if let Ok((_, records)) = parsed(&bytes) {
            assert!(records.len() <= 2);
        }
    }
}
