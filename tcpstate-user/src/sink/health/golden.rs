//! Whole lines of `health`, as they must look.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Scope, Told};
use crate::{
    counters::{Absent, Counter, Gauge, Reading},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    health::{Census, Health},
    session::{EndInfo, SessionInfo},
    sink::{ReportFormat, Reports},
    track::{Cause, Change, ConnId, Dwell, Follows, Process},
};

const SECOND: u64 = 1_000_000_000;

/// A refused connect of a process with a name that wants to be in red.
fn refused(seconds: u64) -> Change {
    Change {
        at: KtimeNs(seconds * SECOND),
        conn: ConnId {
            birth: KtimeNs(1),
            sk: SockAddr64(1),
        },
        netns: 1,
        family: Family::Inet,
        tuple: Tuple {
            laddr: [0; 16],
            raddr: [0; 16],
            lport: 1,
            rport: 2,
        },
        old: TcpState::SynSent,
        new: TcpState::Close,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: Some(Process {
            pid: 7,
            comm: *b"\x1b[31mre\xffd\"\n\0\0\0\0\0",
        }),
        cause: Some(Cause::Refused),
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn reading(seconds: u64) -> Reading {
    let mut reading = Reading::absent(KtimeNs(seconds * SECOND), Absent::NoField);
    let each = [
        (Counter::ActiveOpens, 5),
        (Counter::PassiveOpens, 0),
        (Counter::AttemptFails, 3),
        (Counter::EstabResets, 0),
        (Counter::InSegs, 123_456),
        (Counter::OutSegs, 1000),
        (Counter::RetransSegs, 12),
        (Counter::InErrs, 0),
        (Counter::OutRsts, 1),
    ];
    for (counter, number) in each {
        reading.set_counter(counter, Ok(seconds * number));
    }
    reading.set_gauge(Gauge::Orphans, Ok(4));
    reading.set_gauge(Gauge::MemoryPages, Ok(1000));
    reading
}

fn write(format: ReportFormat, scope: &Scope) -> String {
    let info = SessionInfo {
        // 2025-01-31T23:00:00Z when the kernel's clock says 0.
        clock_offset_ns: 1_738_364_400_000_000_000,
        ..SessionInfo::default()
    };
    let mut out = Vec::new();
    let mut sink = Reports::with_zone(format, &mut out, false, &info, TimeZone::UTC);
    let mut health = Health::default();
    sink.start().unwrap();
    sink.health_head(scope).unwrap();
    if !scope.is_replay {
        health.begin(reading(10));
    }
    for (seconds, last) in [(12, false), (16, true)] {
        (0..3).for_each(|_| health.change(&refused(seconds)));
        if !scope.is_replay {
            health.read(reading(seconds));
        }
        let span = (KtimeNs(10 * SECOND), KtimeNs(seconds * SECOND));
        let line = health.line(span, Census::new(Follows::default()), last);
        let told = Told {
            line: &line,
            scope,
            with_head: !last,
        };
        sink.health(&told).unwrap();
    }
    sink.end(&EndInfo {
        lost: Some(BTreeMap::new()),
        ..EndInfo::default()
    })
    .unwrap();
    String::from_utf8(out).unwrap()
}

const LIVE: Scope = Scope {
    netns: Some(4_026_531_840),
    is_filtered: true,
    is_replay: false,
    has_accepts: false,
};

const REPLAY: Scope = Scope {
    netns: None,
    is_filtered: false,
    is_replay: true,
    has_accepts: true,
};

#[test]
fn a_table_has_a_row_for_each_interval_and_the_averages_at_the_end() {
    let expected = "\
Network namespace 4026531840; --netns chooses another. ORPHAN and MEM are the whole host's.
The filter applies to the sockets and to what is said of processes: the kernel's
counters, and with them all rates, know no filter.
TIME     active/s passive/s  iseg/s  oseg/s retr/s retr% fail/s estres/s rst/s bad/s ESTAB CLOSEW FINW2 TIMEW ORPHAN   MEM OVFL DROP
23:00:12     5.00      0.00  123456    1000  12.00  1.20   3.00     0.00  1.00  0.00     0      0     -     -      4 4000K    -    -
  ! 1.20 % of the segments were sent again (24 of 2000): packets are lost, or late -> tcpstate trace --connections
  ! 6 attempts to connect failed (3 refused): \\u{1b}[31mre\u{fffd}d\"\\n[7] 3 -> tcpstate trace --connections
average      5.00      0.00  123456    1000  12.00  1.20   3.00     0.00  1.00  0.00     0      0     -     -      4 4000K    -    -

In 6.000s: 30 opened, 0 came in, 18 attempts failed, 0 connections reset;
740736 segments in (0 bad), 6000 out (72 of them again, 6 RSTs); listeners: ? overflows, ? drops.
By events: 0 connects (0 without a port, 0 given up), 0 came in, 6 attempts failed, 0 connections reset.
  ! 1.20 % of the segments were sent again (72 of 6000): packets are lost, or late -> tcpstate trace --connections
  ! 18 attempts to connect failed (6 refused): \\u{1b}[31mre\u{fffd}d\"\\n[7] 6 -> tcpstate trace --connections
";
    let table = write(ReportFormat::Table, &LIVE);
    assert_eq!(table, expected, "{table}");
}

#[test]
fn the_table_of_a_recording_has_no_counters_and_says_so() {
    let table = write(ReportFormat::Table, &REPLAY);
    assert!(table.starts_with("A recording: what events tell; it has no counters.\nTIME "));
    let average = table.lines().find(|line| line.starts_with("average"));
    let cells: Vec<_> = average.unwrap().split_whitespace().skip(1).collect();
    let (rates, states) = cells.split_at(10);
    assert_eq!(rates, ["-"; 10]);
    assert_eq!(states, ["0", "0", "-", "-", "-", "-", "-", "-"]);
    assert!(
        table.contains("By events, in 6.000s: 0 connects"),
        "{table}"
    );
    assert!(table.contains("  ! 6 attempts to connect failed (6 refused)"));
}

fn objects(scope: &Scope) -> Vec<Value> {
    let text = write(ReportFormat::Json, scope);
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(lines[0]["type"], "start");
    assert_eq!(lines[3]["type"], "end");
    lines[1..3].to_vec()
}

#[test]
fn a_json_line_has_rates_totals_and_a_reason_for_each_null() {
    let lines = objects(&LIVE);
    let [line, last] = &lines[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(line["type"], "health");
    assert_eq!(line["ts"], "2025-01-31T23:00:12.000000000Z");
    assert_eq!(
        (&line["final"], &last["final"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(line["interval_ns"], 2 * SECOND);
    assert_eq!(last["interval_ns"], 6 * SECOND);
    assert_eq!(line["active_per_s"], 5.0);
    assert_eq!(line["retrans_share"], 0.012);
    assert_eq!(line["totals"]["in_segs"], 246_912);
    assert_eq!(last["totals"]["in_segs"], 740_736);
    assert_eq!(line["totals"]["listen_drops"], Value::Null);
    assert_eq!(
        line["absent"]["listen_drops"],
        "not among the counters here"
    );
    assert_eq!(line["orphans"], 4);
    assert_eq!(line["sockets"]["TIME_WAIT"], Value::Null);
    assert_eq!(line["sockets"]["LISTEN"], 0);
    assert_eq!(line["events"]["failed"], 3);
    assert_eq!(line["events"]["failed_by"]["refused"], 3);
    assert_eq!(line["events"]["accepted"], Value::Null);
    assert_eq!(line["events_filtered"], true);
    assert_eq!(line["others"], Value::Null);
    let process = &line["processes"][0];
    assert_eq!(
        (&process["pid"], &process["failed"]),
        (&json!(7), &json!(3))
    );
    assert_eq!(process["comm"], "\u{1b}[31mre\u{fffd}d\"\n");
    assert_eq!(process["comm_hex"], "1b5b33316d7265ff64220a");
    assert_eq!(line["marks"][0]["mark"], "retransmissions");
    assert_eq!(line["marks"][0]["next"], "tcpstate trace --connections");
}

#[test]
fn every_field_that_is_null_for_want_of_a_counter_is_absent_with_a_reason() {
    for line in objects(&REPLAY) {
        for counter in Counter::ALL {
            assert_eq!(line["totals"][counter.name()], Value::Null);
            let reason = &line["absent"][counter.name()];
            assert_eq!(reason, "a recording has no counters");
        }
        assert_eq!(line["active_per_s"], Value::Null);
        assert_eq!(line["netns"], Value::Null);
        assert_eq!(line["absent"]["orphans"], "a recording has no counters");
        assert_eq!(line["events"]["accepted"], 0);
    }
}
