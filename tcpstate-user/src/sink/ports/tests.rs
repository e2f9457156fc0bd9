use std::{collections::BTreeMap, net::Ipv6Addr};

use jiff::tz::TimeZone;
use serde_json::Value;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::Told;
use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    ports::{Asked, Bound, Counters, Limits, Ports, Queue, Reading},
    session::{EndInfo, SessionInfo},
    sink::{Heading, ReportFormat, Reports},
    track::{Cause, Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

const SECOND: u64 = 1_000_000_000;
const NETNS: u32 = 4_026_531_840;

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

fn named(pid: u32, name: &[u8]) -> Option<Process> {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Some(Process { pid, comm })
}

fn change(at: u64, lport: u16, old: TcpState, new: TcpState, origin: Option<Process>) -> Change {
    Change {
        at: KtimeNs(at),
        conn: ConnId {
            birth: KtimeNs(0),
            sk: SockAddr64(1),
        },
        netns: NETNS,
        family: Family::Inet,
        tuple: Tuple {
            laddr: octets("::ffff:10.1.0.7"),
            raddr: octets("::ffff:10.1.0.9"),
            lport,
            rport: 5432,
        },
        old,
        new,
        dwell: Dwell::Exact(0),
        kind: SocketKind::Full,
        origin,
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn open(of: &Change, state: TcpState) -> Open {
    let waits = state == TcpState::TimeWait;
    Open {
        conn: of.conn,
        netns: of.netns,
        family: of.family,
        tuple: of.tuple,
        state,
        so_far: Dwell::Exact(SECOND),
        kind: if waits {
            SocketKind::Minisocket
        } else {
            SocketKind::Full
        },
        origin: of.origin,
        opened: if waits {
            Opened::Unknown
        } else {
            Opened::Connect
        },
        was_reset: false,
    }
}

fn reading() -> Reading {
    let bound = Bound {
        addr: octets("::ffff:0.0.0.0"),
        port: 8080,
        queue: Some(Queue {
            waiting: 129,
            limit: 128,
            drops: Some(57),
        }),
        pid: Some(811),
    };
    Reading {
        namespaces: vec![Limits {
            netns: NETNS,
            range: Ok((32_768, 60_999)),
            reserved: Ok(Vec::new()),
            tw_reuse: Ok(2),
            tw_reuse_delay_ms: Err("there is no net.ipv4.tcp_tw_reuse_delay here".into()),
            timestamps: Ok(1),
            max_tw_buckets: Ok(131_072),
            tw_buckets: Ok(9_012),
            counters: Ok(Counters::default()),
            bound: Ok(vec![bound]),
        }],
        orphans: Ok(3),
        max_orphans: Ok(131_072),
        missing: "it was not found".into(),
        bound_unknown: None,
    }
}

/// A shop that opens 900 connections a second to its database for ten seconds,
/// and a listener that does not keep up.
fn ports(name: &[u8]) -> (Ports, Vec<Open>) {
    let follows = Follows {
        begins: true,
        ends: true,
        requests: true,
        looks: true,
    };
    let asked = Asked {
        top: 10,
        ..Asked::default()
    };
    let mut ports = Ports::new(asked, follows);
    let mut all = Vec::new();
    for number in 0..9_000_u16 {
        let at = 50 * SECOND + u64::from(number) * SECOND / 900;
        let origin = named(4711, name);
        let (close, sent) = (TcpState::Close, TcpState::SynSent);
        let opened = change(at, 33_000 + number, close, sent, origin);
        ports.change(&opened);
        ports.change(&Change {
            old: sent,
            new: TcpState::TimeWait,
            ..opened
        });
        all.push(open(&opened, TcpState::TimeWait));
    }
    let mut served = change(
        0,
        8080,
        TcpState::Close,
        TcpState::Close,
        named(811, b"web"),
    );
    for port in 0..12 {
        served.tuple.rport = 50_000 + port;
        all.push(open(&served, TcpState::TimeWait));
    }
    served.tuple = Tuple {
        laddr: octets("::ffff:0.0.0.0"),
        raddr: octets("::ffff:0.0.0.0"),
        lport: 8080,
        rport: 0,
    };
    all.push(open(&served, TcpState::Listen));
    (ports, all)
}

fn write(format: ReportFormat, name: &[u8], reading: Option<&Reading>, failed: bool) -> String {
    let (mut ports, all) = ports(name);
    if failed {
        let origin = named(4711, name);
        let failed = change(59 * SECOND, 0, TcpState::SynSent, TcpState::Close, origin);
        ports.change(&Change {
            cause: Some(Cause::NoPort),
            ..failed
        });
    }
    let mut survey = ports.survey(reading);
    all.iter().for_each(|it| survey.look(it));
    let mut census = survey.census();
    all.iter().for_each(|it| census.add(it));
    let report = census.report(KtimeNs(60 * SECOND));
    let info = SessionInfo::default();
    let mut out = Vec::new();
    let mut sink = Reports::with_zone(format, &mut out, false, &info, TimeZone::UTC);
    sink.start().unwrap();
    let heading = Heading {
        at: KtimeNs(60 * SECOND),
        after_ns: 60 * SECOND,
        last: true,
    };
    let told = Told {
        report: &report,
        live: reading.is_some(),
        gaps: 0,
    };
    sink.ports(&heading, &told).unwrap();
    sink.end(&EndInfo {
        lost: Some(BTreeMap::new()),
        ..EndInfo::default()
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == "ports")
        .collect()
}

#[test]
fn the_sample_in_readme_is_how_a_report_looks() {
    let readme = include_str!("../../../../README.md");
    let text = write(ReportFormat::Table, b"shop", Some(&reading()), false);
    assert!(readme.contains(&format!("```text\n{text}```")), "{text}");
}

#[test]
fn every_field_that_readme_promises_is_on_its_line() {
    let readme = include_str!("../../../../README.md");
    let promised = readme.split("`ports -o json`").nth(1).unwrap();
    let promised = promised.split("\n\n").next().unwrap();
    let text = write(ReportFormat::Json, b"shop", Some(&reading()), false);
    let lines = lines(&text);
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| line["what"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["space", "server", "listener", "namespace", "host"]);
    let fields = promised.split('"').skip(1).step_by(2);
    let mut checked = 0;
    for field in fields {
        let has = |line: &Value| line.get(field).is_some();
        assert!(lines.iter().any(has), "no line has {field}");
        checked += 1;
    }
    assert!(checked > 40, "only {checked} fields found in README");
    assert!(lines.iter().all(|line| line["final"] == true));
}

#[test]
fn what_is_not_known_is_null_with_the_reason() {
    let text = write(ReportFormat::Json, b"shop", None, true);
    let lines = lines(&text);
    let space = lines.iter().find(|line| line["what"] == "space").unwrap();
    assert!(space["left"].is_null() && space["usable"].is_null());
    assert_eq!(space["left_reason"], "no limits were read");
    assert_eq!(
        (&space["exhaustion"], &space["no_port"]),
        (&"unknown".into(), &1.into())
    );
    assert_eq!(lines.last().unwrap()["limits"], "not_in_recording");
    let table = write(ReportFormat::Table, b"shop", None, true);
    assert!(table.contains("How many ports there are is not in a recording."));
    assert!(!table.contains("is empty"), "{table}");
}

#[test]
fn a_hostile_name_disturbs_neither_a_terminal_nor_json() {
    let name = b"\x1b[31m\"\n\xff\xe2\x80\xae";
    let text = write(ReportFormat::Json, name, Some(&reading()), true);
    assert!(text.bytes().all(|byte| byte == b'\n' || byte >= b' '));
    assert!(!text.contains('\u{202e}'));
    let by = &lines(&text)[0]["by"][0];
    assert_eq!(by["comm_hex"], "1b5b33316d220affe280ae");
    let table = write(ReportFormat::Table, name, Some(&reading()), true);
    assert!(!table.contains('\x1b') && !table.contains('\u{202e}'));
    let rows = table.lines().filter(|line| line.contains("[4711]"));
    assert_eq!(rows.count(), 2, "the row and the sentence: {table}");
}
