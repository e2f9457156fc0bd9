use std::net::Ipv6Addr;

use jiff::tz::TimeZone;
use serde_json::Value;
use tcpstate_common::{
    record::Tuple,
    state::TcpState::{self, Close, CloseWait, Established, SynSent},
};

use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    explain::{Explained, Explanation, Moment, Now, Seen},
    session::SessionInfo,
    sink::{Heading, ReportFormat, Reports},
    track::{Call, Cause, Closer, ConnId, Dwell, Opened, Process},
};

/// Somebody else's bytes.
fn hostile() -> Process {
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"a\x1b[\"b\n");
    Process { pid: 42, comm }
}

fn moment(after: u64, old: TcpState, new: TcpState) -> Moment {
    Moment {
        at: KtimeNs(1_000_000_000 + after),
        since: Dwell::Exact(after),
        old,
        new,
        dwell: Dwell::Exact(after),
        kind: SocketKind::Full,
        cause: None,
        by: None,
        meaning: format!("to {}", new.name()),
    }
}

fn explained(birth: u64) -> Explained {
    let octets = |addr: &str| addr.parse::<Ipv6Addr>().unwrap().octets();
    Explained {
        conn: ConnId {
            birth: KtimeNs(birth),
            sk: SockAddr64(0x1040),
        },
        netns: 7,
        family: Family::Inet,
        tuple: Tuple {
            laddr: octets("::ffff:10.0.0.1"),
            lport: 40_000,
            raddr: octets("::ffff:192.0.2.9"),
            rport: 80,
        },
        opened: Opened::Connect,
        process: Some(hostile()),
        timeline: vec![
            moment(0, Close, SynSent),
            moment(2_000_000, SynSent, Established),
            Moment {
                cause: Some(Cause::PeerFin),
                by: Some(Closer {
                    process: hostile(),
                    call: Call::Close,
                }),
                ..moment(7_000_000, Established, CloseWait)
            },
        ],
        omitted: 0,
        over: None,
        now: Some(Now {
            state: CloseWait,
            so_far: Dwell::Exact(12_000_000_000),
            kind: SocketKind::Full,
        }),
        verdict: "has been in CLOSE_WAIT for 12.0s: the peer has closed, and a process of which \
                  there is nothing more to say has not"
            .into(),
        advice: Some("close it"),
    }
}

fn written(format: ReportFormat, connections: Vec<Explained>, matches: u64) -> String {
    let mut out = Vec::new();
    let info = SessionInfo::default();
    let mut reports = Reports::with_zone(format, &mut out, false, &info, TimeZone::UTC);
    let heading = Heading {
        at: KtimeNs(9),
        after_ns: 9,
        last: true,
    };
    let told = Explanation {
        connections,
        seen: Seen {
            changes: 12,
            matches,
            forgotten: 0,
            listeners: 1,
        },
    };
    let asked = Some("192.0.2.9:80");
    reports.explain(&heading, &told, asked, 2).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_story_of_one_is_a_table_with_a_verdict() {
    let text = written(ReportFormat::Table, vec![explained(1_000_000_000)], 1);
    assert_eq!(
        text,
        "\
connection 3b9aca00-000041  1970-01-01 00:00:01.000
10.0.0.1:40000 -> 192.0.2.9:80  connected by a\\u{1b}[\"b\\n (42)

  AFTER STATE        LASTED WHAT HAPPENED
    0ns SYN_SENT    2.000ms to SYN_SENT
2.000ms ESTABLISHED 7.000ms to ESTABLISHED
7.000ms CLOSE_WAIT  >=12.0s to CLOSE_WAIT

verdict  has been in CLOSE_WAIT for 12.0s: the peer has closed, and a process of which there is
         nothing more to say has not
do       close it
"
    );
}

#[test]
fn of_several_the_newest_are_listed_and_the_rest_is_counted() {
    let all = vec![explained(3), explained(2), explained(1)];
    let text = written(ReportFormat::Table, all, 5);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "5 connections match, the newest first; not listed: 3"
    );
    assert!(lines[3].starts_with("3-000041"), "{text}");
    assert!(lines[4].starts_with("2-000041"), "{text}");
    assert!(text.contains("tcpstate explain CONN"), "{text}");
}

#[test]
fn where_nothing_matches_it_is_said_what_was_seen() {
    let text = written(ReportFormat::Table, Vec::new(), 0);
    assert_eq!(
        text,
        "no connection matches 192.0.2.9:80; seen: 12 changes of state, and somebody listens \
         there\n"
    );
    let text = written(ReportFormat::Json, Vec::new(), 0);
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["conn"], Value::Null);
    assert_eq!(line["connection"], Value::Null);
    assert_eq!(line["changes_seen"], 12);
}

#[test]
fn json_has_every_moment_with_who_did_it() {
    let text = written(ReportFormat::Json, vec![explained(1_000_000_000)], 1);
    assert!(!text.contains('\x1b'), "{text:?}");
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["type"], "explain");
    assert_eq!(line["conn"], "3b9aca00-000041");
    let last = &line["timeline"][2];
    assert_eq!(last["since_birth_ns"], 7_000_000);
    assert_eq!(last["by"]["call"], "close");
    assert_eq!(last["by"]["comm"], "a\x1b[\"b\n");
    let now = (&line["state"], &line["state_ns"], &line["state_time"]);
    assert_eq!(now.0, "CLOSE_WAIT");
    assert_eq!(
        (now.1.as_u64(), now.2.as_str()),
        (Some(12_000_000_000), Some("exact"))
    );
}
