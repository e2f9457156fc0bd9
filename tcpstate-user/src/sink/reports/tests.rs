use std::{collections::BTreeMap, net::Ipv6Addr};

use jiff::tz::{Offset, TimeZone};
use serde_json::Value;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Heading, ReportFormat, Reports};
use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    dwell::{By, Dwells, MAX_GROUPS, Report},
    session::{EndInfo, SessionInfo},
    track::{Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

const SECOND: u64 = 1_000_000_000;

const KEYS: [By; 5] = [By::Process, By::Lport, By::Peer, By::Rport, By::Netns];

fn octets(addr: &str) -> [u8; 16] {
    addr.parse::<Ipv6Addr>().unwrap().octets()
}

fn named(name: &[u8]) -> Option<Process> {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Some(Process { pid: 1234, comm })
}

fn stay(state: TcpState, dwell: Dwell) -> Change {
    Change {
        at: KtimeNs(1),
        conn: ConnId {
            birth: KtimeNs(1),
            sk: SockAddr64(1),
        },
        netns: 4_026_531_840,
        family: Family::Inet,
        tuple: Tuple {
            laddr: octets("::ffff:127.0.0.1"),
            raddr: octets("::ffff:192.0.2.10"),
            lport: 8080,
            rport: 43_210,
        },
        old: state,
        new: TcpState::Close,
        dwell,
        kind: SocketKind::Full,
        origin: named(b"nginx"),
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn open(stay: &Change) -> Open {
    Open {
        conn: stay.conn,
        netns: stay.netns,
        family: stay.family,
        tuple: stay.tuple,
        state: stay.old,
        so_far: stay.dwell,
        kind: stay.kind,
        origin: stay.origin,
        opened: Opened::Unknown,
        was_reset: false,
    }
}

fn report(by: &[By], follows: Follows, over: &[Change], still: &[Change]) -> Report {
    let mut dwells = Dwells::new(by, &[], follows);
    over.iter().for_each(|stay| dwells.change(stay));
    let mut census = dwells.census();
    still.iter().for_each(|stay| census.add(&open(stay)));
    census.report()
}

fn follows(minisockets: bool) -> Follows {
    Follows {
        looks: true,
        begins: minisockets,
        ends: minisockets,
        requests: true,
    }
}

/// Two reports of the same, the second one the last.
fn write(format: ReportFormat, color: bool, report: &Report) -> String {
    let info = SessionInfo {
        // 2025-01-31T23:00:00Z when the kernel's clock says 0.
        clock_offset_ns: 1_738_364_400_000_000_000,
        ..SessionInfo::default()
    };
    let zone = TimeZone::fixed(Offset::from_seconds(3_600).unwrap());
    let mut out = Vec::new();
    let mut sink = Reports::with_zone(format, &mut out, color, &info, zone);
    sink.start().unwrap();
    for (seconds, last) in [(5, false), (65, true)] {
        let heading = Heading {
            at: KtimeNs(seconds * SECOND),
            after_ns: seconds * SECOND,
            last,
        };
        sink.dwell(&heading, report).unwrap();
    }
    sink.end(&EndInfo {
        lost: Some(BTreeMap::new()),
        ..EndInfo::default()
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

/// The lines of the last report.
fn json(report: &Report) -> Vec<Value> {
    let text = write(ReportFormat::Json, false, report);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "start");
    assert_eq!(lines[lines.len() - 1]["type"], "end");
    lines
        .into_iter()
        .filter(|line| line["final"] == true)
        .collect()
}

fn some() -> Report {
    let over = [
        stay(TcpState::TimeWait, Dwell::Exact(60 * SECOND)),
        stay(TcpState::TimeWait, Dwell::Exact(62 * SECOND)),
        stay(TcpState::Established, Dwell::Exact(1_000)),
        stay(TcpState::Established, Dwell::Exact(5 * SECOND)),
        stay(TcpState::Established, Dwell::Exact(6 * SECOND)),
        stay(TcpState::Established, Dwell::Unknown),
        stay(TcpState::SynRecv, Dwell::AtLeast(30_000)),
        stay(TcpState::SynSent, Dwell::Exact(3 * SECOND)),
    ];
    let still = [
        stay(TcpState::Listen, Dwell::AtLeast(65 * SECOND)),
        stay(TcpState::CloseWait, Dwell::Exact(61 * SECOND)),
        stay(TcpState::CloseWait, Dwell::Exact(1)),
    ];
    report(&[], follows(true), &over, &still)
}

#[test]
fn the_table_reads_from_the_numbers_to_what_they_mean() {
    let expected = "\
00:00:05, after 5.000s
STATE       COUNT    MIN    P50    P90    P99    MAX    SUM >= ? OPEN  OLDEST 1µs 1ms 1s  1ks
LISTEN          0      -      -      -      -      -      -  0 0    1 >=65.0s
SYN_SENT        1 3.000s 3.000s 3.000s 3.000s 3.000s 3.000s  0 0    0       - ··· ··· █·· ···
SYN_RECV        0      -      -      -      -      -      -  1 0    0       -
ESTABLISHED     3    1µs 5.003s 6.000s 6.000s 6.000s  11.0s  0 1    0       - ▄·· ··· █·· ···
TIME_WAIT       2  60.0s  60.0s  62.0s  62.0s  62.0s  2m02s  0 0    0       - ··· ··· ·█· ···
CLOSE_WAIT      0      -      -      -      -      -      -  0 0    2   61.0s
";
    let written = write(ReportFormat::Table, false, &some());
    let (first, last) = written.split_once("\n\n").unwrap();
    assert_eq!(first, expected.trim_end());
    assert!(first.lines().all(|line| line.chars().count() <= 100));
    let (table, notes) = last.split_once("\n\n").unwrap();
    let same = expected.replace("00:00:05, after 5.000s", "00:01:05, after 65.0s (final)");
    assert_eq!(table, same.trim_end());
    let said = "\
SYN_SENT took up to 3.000s: a SYN without an answer is sent again after 1 s, 3 s, 7 s.
Look for a full accept queue, a firewall, or packets that are lost.
CLOSE_WAIT ends only when the process closes the socket: 2 wait, one of them for 61.0s.
`--state close-wait --by process` says which.
`>=` counts stays whose begin was not seen: longer than known, in no other column.
`?` counts stays that are over and whose length nothing tells, as after a loss.
";
    assert_eq!(notes, said);
}

#[test]
fn a_table_without_anything_remarkable_says_nothing_under_it() {
    let plain = report(
        &[],
        follows(true),
        &[stay(TcpState::TimeWait, Dwell::Exact(60 * SECOND))],
        &[],
    );
    let written = write(ReportFormat::Table, false, &plain);
    assert_eq!(written.matches("\n\n").count(), 1, "{written}");
    let nothing = report(&[], follows(true), &[], &[]);
    let written = write(ReportFormat::Table, false, &nothing);
    assert!(written.ends_with("\nNothing was seen in any of these states.\n"));
}

#[test]
fn what_is_not_measured_is_said_in_its_place() {
    let closed = stay(TcpState::FinWait2, Dwell::Exact(SECOND));
    let report = report(&[], follows(false), &[closed], &[]);
    let written = write(ReportFormat::Table, false, &report);
    assert!(written.contains("\nTIME_WAIT     -      -"), "{written}");
    assert!(written.contains("Not measured here: FIN_WAIT2 after close(), TIME_WAIT."));
    let lines = json(&report);
    assert_eq!(lines.len(), 2);
    let [time_wait, fin_wait2] = &lines[..] else {
        panic!()
    };
    assert_eq!(
        (&time_wait["state"], &time_wait["not_measured"]),
        (&"TIME_WAIT".into(), &"all".into())
    );
    assert!(time_wait["count"].is_null() && time_wait["open"].is_null());
    assert_eq!(
        (&fin_wait2["count"], &fin_wait2["not_measured"]),
        (&1.into(), &"after_close".into())
    );
}

#[test]
fn json_lines_are_as_documented() {
    let expected = r#"{"type":"dwell","ts":"2025-01-31T23:00:05.000000000Z","mono_ns":5000000000,"final":false,"state":"LISTEN","count":0,"sum_ns":0,"min_ns":null,"p50_ns":null,"p90_ns":null,"p99_ns":null,"max_ns":null,"at_least":0,"unknown":0,"open":1,"oldest_ns":65000000000,"oldest":"at_least"}
{"type":"dwell","ts":"2025-01-31T23:00:05.000000000Z","mono_ns":5000000000,"final":false,"state":"TIME_WAIT","count":2,"sum_ns":122000000000,"min_ns":60000000000,"p50_ns":60028878847,"p90_ns":62000000000,"p99_ns":62000000000,"max_ns":62000000000,"at_least":0,"unknown":0,"open":0,"oldest_ns":null,"oldest":null}"#;
    let over = [
        stay(TcpState::TimeWait, Dwell::Exact(60 * SECOND)),
        stay(TcpState::TimeWait, Dwell::Exact(62 * SECOND)),
    ];
    let still = [stay(TcpState::Listen, Dwell::AtLeast(65 * SECOND))];
    let report = report(&[], follows(true), &over, &still);
    let written = write(ReportFormat::Json, false, &report);
    let lines: Vec<_> = written.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[1..3].join("\n"), expected);
    let last = expected
        .replace("\"final\":false", "\"final\":true")
        .replace("23:00:05", "23:01:05")
        .replace(":5000000000", ":65000000000");
    assert_eq!(lines[3..5].join("\n"), last);
}

#[test]
fn keys_are_there_when_they_were_asked_for_and_null_when_they_are_not_known() {
    let known = stay(TcpState::Established, Dwell::Exact(1));
    let unknown = Change {
        netns: 0,
        origin: None,
        tuple: Tuple {
            lport: 0,
            rport: 0,
            ..known.tuple
        },
        ..stay(TcpState::Listen, Dwell::Exact(1))
    };
    let lines = json(&report(&KEYS, follows(true), &[known, unknown], &[]));
    let [unknown, known] = &lines[..] else {
        panic!("{lines:#?}")
    };
    for key in ["pid", "comm", "lport", "peer", "rport", "netns"] {
        assert!(
            unknown[key].is_null() && unknown.get(key).is_some(),
            "{key}"
        );
    }
    assert_eq!(
        (&known["pid"], &known["comm"]),
        (&1234.into(), &"nginx".into())
    );
    assert_eq!(
        (&known["lport"], &known["rport"]),
        (&8080.into(), &43_210.into())
    );
    assert_eq!(
        (&known["peer"], &known["netns"]),
        (&"192.0.2.10".into(), &4_026_531_840_u32.into())
    );
    let keys = ["comm_hex", "rest", "not_measured"];
    assert!(keys.iter().all(|key| known.get(key).is_none()));
}

#[test]
fn a_hostile_name_disturbs_neither_terminal_nor_reader() {
    let hostile = Change {
        origin: named(b"\x1b[31m\xff\"\n"),
        ..stay(TcpState::Established, Dwell::Exact(1))
    };
    let report = report(&[By::Process], follows(true), &[hostile], &[]);
    for format in [ReportFormat::Table, ReportFormat::Json] {
        let text = write(format, false, &report);
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text}"
        );
        assert_eq!(
            text.lines().count(),
            if format == ReportFormat::Json { 4 } else { 7 }
        );
    }
    let line = &json(&report)[0];
    assert_eq!(line["comm"], "\x1b[31m\u{fffd}\"\n");
    assert_eq!(line["comm_hex"], "1b5b33316dff220a");
}

#[test]
fn groups_beyond_the_cap_are_one_row_that_says_so() {
    let of = |lport| {
        let mut stay = stay(TcpState::Established, Dwell::Exact(1));
        stay.tuple.lport = lport;
        stay
    };
    let many: Vec<_> = (1..=u16::try_from(MAX_GROUPS).unwrap() + 3)
        .map(of)
        .collect();
    let report = report(&[By::Lport], follows(true), &many, &[]);
    let lines = json(&report);
    let rest = &lines[MAX_GROUPS];
    assert_eq!((&rest["rest"], &rest["count"]), (&true.into(), &3.into()));
    assert!(rest["lport"].is_null());
    let table = write(ReportFormat::Table, false, &report);
    assert!(table.contains("\nESTABLISHED (rest)     3 "), "{table}");
    assert!(
        table.contains("More than 1024 groups: (rest) has all others."),
        "{table}"
    );
}

#[test]
fn colour_changes_nothing_but_colour() {
    let colored = write(ReportFormat::Table, true, &some());
    assert!(colored.contains("\x1b[33mCLOSE_WAIT\x1b[0m"));
    let plain = ["\x1b[33m", "\x1b[2m", "\x1b[0m"]
        .iter()
        .fold(colored, |text, code| text.replace(code, ""));
    assert_eq!(plain, write(ReportFormat::Table, false, &some()));
}
