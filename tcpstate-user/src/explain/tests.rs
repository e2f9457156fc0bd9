use std::{
    collections::{BTreeMap, HashMap},
    net::Ipv6Addr,
};

use tcpstate_common::{
    record::Tuple,
    state::TcpState::{self, *},
};

use super::{Explanation, Say, Stories, Which};
use crate::{
    connection::{Connection, Connections, End, Reason, Role, StateTimes, Told},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    track::{Call, Cause, Change, Closer, ConnId, Dwell, Open, Opened, Process},
};

const SAY: Say = Say {
    process: |it| format!("{} ({})", String::from_utf8_lossy(&it.comm[..4]), it.pid),
    time: |ns| format!("{}ms", ns / MS),
};
const MS: u64 = 1_000_000;

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

fn curl() -> Process {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    Process { pid: 42, comm }
}

/// The connection that was born at this time.
fn conn(birth_ms: u64) -> ConnId {
    ConnId {
        birth: KtimeNs(birth_ms * MS),
        sk: SockAddr64(0x40),
    }
}

fn change(conn: ConnId, after_ms: u64, old: TcpState, new: TcpState) -> Change {
    Change {
        at: KtimeNs(conn.birth.0 + after_ms * MS),
        conn,
        netns: 7,
        family: Family::Inet,
        tuple: Tuple {
            laddr: octets("::ffff:10.0.0.1"),
            raddr: octets("::ffff:192.0.2.9"),
            lport: 40_000,
            rport: 80,
        },
        old,
        new,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: Some(curl()),
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

/// It stays where `change` has brought it.
fn open(change: &Change, so_far: Dwell) -> Open {
    Open {
        conn: change.conn,
        netns: change.netns,
        family: change.family,
        tuple: change.tuple,
        state: change.new,
        so_far,
        kind: change.kind,
        origin: change.origin,
        opened: Opened::Unknown,
        was_reset: false,
    }
}

fn over(conn: ConnId, end: End) -> Connection {
    let change = change(conn, 0, Close, Close);
    Connection {
        at: change.at,
        conn,
        netns: change.netns,
        family: change.family,
        tuple: change.tuple,
        opened: Opened::Connect,
        process: change.origin,
        lifetime: Dwell::Exact(1),
        states: StateTimes::default(),
        totals: None,
        role: Role::None,
        idle_ns: None,
        end,
        reset_reason: None,
        kernel_reason: None,
        closed_by: None,
        closer_is_peer: false,
        last: Established,
        into: Close,
        gone: None,
    }
}

fn asked(which: Option<&str>, most: usize) -> Stories {
    let which = which.map(|text| text.parse::<Which>().unwrap());
    let connections = Connections::new(Told::Closed, BTreeMap::new(), 100);
    Stories::with_room(which, SAY, connections, most)
}

fn explained(stories: &Stories) -> Explanation {
    stories.explain(&HashMap::new())
}

#[test]
fn a_timeline_tells_who_did_what_and_what_it_means() {
    let mut stories = asked(Some("192.0.2.9:80"), 10);
    let it = conn(1_000);
    let closed = Change {
        closer: Some(Closer {
            process: curl(),
            call: Call::Close,
        }),
        cause: Some(Cause::Close),
        ..change(it, 20, Established, FinWait1)
    };
    for change in [
        change(it, 0, Close, SynSent),
        change(it, 3, SynSent, Established),
        closed,
        change(it, 21, FinWait1, FinWait2),
        change(it, 500, FinWait2, TimeWait),
    ] {
        stories.change(&change);
    }
    let told = explained(&stories);
    let moments = told.connections[0].timeline.iter();
    let lines: Vec<_> = moments
        .map(|it| match it.since {
            Dwell::Exact(ns) => format!("{} {}", ns / MS, it.meaning),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        lines,
        [
            "0 curl (42) called connect: SYN sent",
            "3 the peer answered: connected",
            "20 curl (42) closed it: FIN sent",
            "21 the peer acknowledged the FIN: it has not closed yet",
            "500 the peer closed too: over, its ports wait for a minute",
        ]
    );
    assert_eq!(told.connections[0].opened, Opened::Connect);
}

/// The first line of a handshake is written when it is known when it began.
#[test]
fn a_handshake_counts_from_its_begin() {
    let mut stories = asked(None, 10);
    let it = conn(1_000);
    let begun = Change {
        at: KtimeNs(980 * MS),
        ..change(it, 0, Listen, SynRecv)
    };
    stories.change(&begun);
    stories.change(&change(it, 10, SynRecv, Established));
    let told = explained(&stories);
    let since: Vec<_> = told.connections[0]
        .timeline
        .iter()
        .map(|it| it.since)
        .collect();
    assert_eq!(since, [Dwell::Exact(0), Dwell::Exact(30 * MS)]);
}

#[test]
fn what_a_task_did_is_told_by_its_call() {
    let said = |call, cause, old, new| {
        let process = curl();
        let it = change(conn(1), 0, old, new);
        let it = Change {
            closer: Some(Closer { process, call }),
            cause: Some(cause),
            ..it
        };
        super::words::meaning(&it, None, SAY)
    };
    assert_eq!(
        said(Call::Exit, Cause::Close, Established, FinWait1),
        "curl (42) ended with it open: FIN sent"
    );
    assert_eq!(
        said(Call::Shutdown, Cause::Shutdown, CloseWait, LastAck),
        "curl (42) shut down writing: FIN sent, and both sides have closed"
    );
    assert_eq!(
        said(Call::Close, Cause::ResetSent, Established, Close),
        "curl (42) closed it: RST sent"
    );
    assert_eq!(
        said(Call::Kill, Cause::Killed, Established, Close),
        "curl (42) killed it"
    );
}

#[test]
fn one_that_is_not_over_is_explained_as_far_as_it_is_known() {
    let mut stories = asked(None, 10);
    let it = conn(1);
    let last = change(it, 5, Established, CloseWait);
    stories.change(&last);
    assert!(!stories.are_over());
    let now = open(&last, Dwell::AtLeast(12_000 * MS));
    let told = stories.explain(&HashMap::from([(it, now)]));
    let told = &told.connections[0];
    assert_eq!(
        told.verdict,
        "is in CLOSE_WAIT for at least 12000ms: the peer has closed, curl (42) has not"
    );
    assert!(told.advice.unwrap().contains("tcpstate leaks"));
    // Its birth was not seen: how long ago that was has only a lower bound.
    assert_eq!(told.timeline[0].since, Dwell::AtLeast(5 * MS));
    // Nobody knows any more.
    let lost = explained(&stories);
    assert_eq!(
        lost.connections[0].verdict,
        "was last seen entering CLOSE_WAIT; what became of it is not known"
    );
}

#[test]
fn a_socket_that_has_not_changed_is_a_connection_too() {
    let mut stories = asked(Some("10.0.0.1:40000"), 10);
    let it = change(conn(1), 0, SynSent, Established);
    stories.open(&open(&it, Dwell::AtLeast(MS)));
    let told = stories.explain(&HashMap::from([(it.conn, open(&it, Dwell::AtLeast(MS)))]));
    assert_eq!(
        told.connections[0].verdict,
        "is in ESTABLISHED for at least 1ms: neither curl (42) nor the peer has closed"
    );
    assert!(told.connections[0].timeline.is_empty());
}

#[test]
fn the_newest_are_first_and_what_is_over_is_forgotten_first() {
    let mut stories = asked(None, 3);
    for birth in [10, 20, 30] {
        stories.change(&change(conn(birth), 0, Close, SynSent));
    }
    stories.end(Some(over(conn(20), End::Refused)));
    stories.change(&change(conn(40), 0, Close, SynSent));
    stories.change(&change(conn(50), 0, Close, SynSent));
    let told = explained(&stories);
    let births: Vec<_> = told.connections.iter().map(|it| it.conn.birth).collect();
    assert_eq!(births, [50, 40, 30].map(|ms| KtimeNs(ms * MS)));
    assert_eq!((told.seen.matches, told.seen.forgotten), (5, 2));
}

#[test]
fn it_is_said_what_was_seen_where_nothing_was_asked_for() {
    let mut stories = asked(Some("10.0.0.1:40000"), 3);
    let elsewhere = Tuple {
        lport: 1,
        ..change(conn(1), 0, Close, SynSent).tuple
    };
    stories.change(&Change {
        tuple: elsewhere,
        ..change(conn(1), 0, Close, SynSent)
    });
    stories.change(&change(conn(2), 0, Close, Listen));
    let told = explained(&stories);
    assert!(told.connections.is_empty());
    let seen = told.seen;
    assert_eq!((seen.changes, seen.matches, seen.listeners), (2, 0, 1));
    assert!(!stories.are_over());
}

#[test]
fn the_middle_of_a_very_long_story_is_counted_and_not_kept() {
    let mut stories = asked(None, 3);
    for n in 0..100 {
        stories.change(&change(conn(1), n, FinWait2, FinWait2));
    }
    let told = explained(&stories);
    let told = &told.connections[0];
    assert_eq!((told.timeline.len(), told.omitted), (64, 36));
    assert_eq!(told.timeline[63].since, Dwell::AtLeast(99 * MS));
}

#[test]
fn what_to_do_depends_on_the_reason_and_a_normal_end_needs_nothing() {
    let advice = |it: Connection| {
        let mut stories = asked(None, 3);
        stories.change(&change(it.conn, 0, Close, SynSent));
        stories.end(Some(it));
        assert!(stories.are_over());
        explained(&stories).connections[0].advice
    };
    let fin = over(conn(1), End::Fin);
    assert_eq!(advice(fin), None);
    let unread = Connection {
        reset_reason: Some(Reason::UnreadData),
        ..over(conn(1), End::ResetSent)
    };
    assert!(
        advice(unread)
            .unwrap()
            .starts_with("read up to end-of-file")
    );
    assert!(
        advice(over(conn(1), End::NoPort))
            .unwrap()
            .contains("tcpstate ports")
    );
    let killed = Connection {
        reset_reason: Some(Reason::Killed),
        ..over(conn(1), End::Killed)
    };
    assert_eq!(advice(killed), None);
}
