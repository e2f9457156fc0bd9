use std::{collections::BTreeMap, net::Ipv6Addr};

use jiff::tz::{Offset, TimeZone};
use serde_json::Value;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Format, Sink};
use crate::{
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    session::{EndInfo, NotMeasured, SessionInfo},
    track::{Cause, Change, ConnId, Dwell, Process},
};

const FORMATS: [Format; 4] = [Format::Table, Format::Wide, Format::Json, Format::Csv];

/// Names that have disturbed terminals and readers of other tools.
const HOSTILE: [&[u8]; 11] = [
    b"\x1b[31mred",
    b"\x9b31m",
    b"\xc2\x9b31m",
    b"say \"hi\", you",
    b"two\nlines\r\t",
    b"\xff\xfe\xc3",
    b"a\xe2\x80\xaeb\xe2\x81\xa6",
    b"\xef\xbb\xbfbom\xe2\x80\x8b",
    b"=cmd|'/c x'!A0",
    b"a;b\\c",
    b"\x7f\x01\x08\xf3\xa0\x81\x81",
];

fn info() -> SessionInfo {
    SessionInfo {
        schema: 1,
        version: "0.1.0".to_owned(),
        host: "web-1".to_owned(),
        kernel: "6.1.0-1-amd64".to_owned(),
        boot_id: "11111111-2222-3333-4444-555555555555".to_owned(),
        // 2025-01-31T23:00:00Z when the kernel's clock says 0.
        clock_offset_ns: 1_738_364_400_000_000_000,
        hooks: BTreeMap::from([
            ("accepted".to_owned(), None),
            ("transition".to_owned(), Some("raw_tp:x".to_owned())),
        ]),
        not_measured: vec![NotMeasured {
            signal: "accepted".to_owned(),
            reason: "no \u{9b}hook".to_owned(),
        }],
        reset_reasons: BTreeMap::from([(3, "SK_RST_REASON_TCP_ABORT_ON_DATA".to_owned())]),
        ring_bytes: Some(65536),
        max_sockets: Some(7),
    }
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

fn process(pid: u32, name: &[u8]) -> Option<Process> {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Some(Process { pid, comm })
}

pub(super) fn close_wait() -> Change {
    Change {
        at: KtimeNs(81_123_456_789),
        conn: ConnId {
            birth: KtimeNs(0xabc_def0),
            sk: SockAddr64(0xffff_8880_0123_4540),
        },
        netns: 4_026_531_840,
        family: Family::Inet,
        tuple: Tuple {
            laddr: address("::ffff:127.0.0.1"),
            raddr: address("::ffff:127.0.0.1"),
            lport: 8080,
            rport: 43_210,
        },
        old: TcpState::Established,
        new: TcpState::CloseWait,
        dwell: Dwell::Exact(60_456_000_000),
        kind: SocketKind::Full,
        origin: process(1234, b"nginx"),
        cause: Some(Cause::PeerFin),
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn reset() -> Change {
    Change {
        family: Family::Inet6,
        tuple: Tuple {
            laddr: address("2001:db8::1"),
            raddr: address("::ffff:192.0.2.1"),
            lport: 443,
            rport: 50_000,
        },
        new: TcpState::Close,
        dwell: Dwell::AtLeast(1_234_567),
        cause: Some(Cause::ResetSent),
        reset_reason: Some(3),
        ..close_wait()
    }
}

/// A listener's first line, when nothing else is known.
fn bare() -> Change {
    Change {
        netns: 0,
        tuple: Tuple {
            laddr: address("::ffff:0.0.0.0"),
            raddr: address("::ffff:0.0.0.0"),
            lport: 80,
            rport: 0,
        },
        old: TcpState::Close,
        new: TcpState::Listen,
        dwell: Dwell::Unknown,
        origin: None,
        cause: None,
        ..close_wait()
    }
}

fn named(name: &[u8]) -> Change {
    Change {
        origin: process(1, name),
        ..close_wait()
    }
}

fn write(format: Format, color: bool, changes: &[Change]) -> Vec<u8> {
    let zone = TimeZone::fixed(Offset::from_seconds(3_600).unwrap());
    let mut out = Vec::new();
    let mut sink = Sink::with_zone(format, &mut out, color, &info(), zone);
    sink.start().unwrap();
    for change in changes {
        sink.change(change).unwrap();
    }
    sink.end(&EndInfo {
        seen: Some(5),
        delivered: Some(4),
        lost: Some(BTreeMap::from([("ring_full".to_owned(), 1)])),
        complete: true,
        transitions: 3,
        connections: 2,
        ..EndInfo::default()
    })
    .unwrap();
    out
}

fn lines(format: Format, changes: &[Change]) -> Vec<String> {
    let text = String::from_utf8(write(format, false, changes)).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

fn json(change: &Change) -> Value {
    serde_json::from_str(&lines(Format::Json, &[*change])[1]).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

fn sorted<'a>(list: &'a str) -> Vec<&'a str> {
    let mut words: Vec<&'a str> = list.split_whitespace().collect();
    words.sort_unstable();
    words
}

#[test]
fn the_table_keeps_its_columns() {
    let expected = "\
TIME            PID COMM    LOCAL           REMOTE          OLD -> NEW          TIME IN OLD CAUSE
00:01:21.123   1234 nginx   127.0.0.1:8080  127.0.0.1:43210 ESTABLISHED -> CLOSE_WAIT 60.4s peer_fin
00:01:21.123   1234 nginx   [2001:db8::1]:443 [::ffff:192.0.2.1]:50000 ESTABLISHED -> CLOSE >=1.234ms reset_sent
00:01:21.123      - -       0.0.0.0:80      -               CLOSE -> LISTEN               - -";
    let written = lines(Format::Table, &[close_wait(), reset(), bare()]);
    assert_eq!(written.join("\n"), expected);
    assert!(written[..2].iter().all(|line| line.len() <= 100));
}

#[test]
fn the_wide_table_shows_everything_that_is_known() {
    let expected = "\
TIME                                            MONO CONN                      NETNS FAMILY KIND           PID COMM            LOCAL                 REMOTE                OLD -> NEW                TIME IN OLD CAUSE          REASON
2025-02-01T00:01:21.123456789+01:00      81123456789 abcdef0-048d15       4026531840 ipv4   socket        1234 nginx           127.0.0.1:8080        127.0.0.1:43210       ESTABLISHED -> CLOSE_WAIT       60.4s peer_fin       -
2025-02-01T00:01:21.123456789+01:00      81123456789 abcdef0-048d15       4026531840 ipv6   socket        1234 nginx           [2001:db8::1]:443     [::ffff:192.0.2.1]:50000 ESTABLISHED -> CLOSE     >=1.234ms reset_sent     tcp_abort_on_data
2025-02-01T00:01:21.123456789+01:00      81123456789 abcdef0-048d15                - ipv4   socket           - -               0.0.0.0:80            -                     CLOSE -> LISTEN                     - -              -";
    let written = lines(Format::Wide, &[close_wait(), reset(), bare()]);
    assert_eq!(written.join("\n"), expected);
}

#[test]
fn csv_has_an_empty_cell_for_what_is_not_known() {
    let expected = "\
ts,mono_ns,conn,netns,family,kind,pid,comm,laddr,lport,raddr,rport,old,new,dwell_ns,dwell,cause,reset_reason
2025-01-31T23:01:21.123456789Z,81123456789,abcdef0-048d15,4026531840,ipv4,socket,1234,nginx,127.0.0.1,8080,127.0.0.1,43210,ESTABLISHED,CLOSE_WAIT,60456000000,exact,peer_fin,
2025-01-31T23:01:21.123456789Z,81123456789,abcdef0-048d15,4026531840,ipv6,socket,1234,nginx,2001:db8::1,443,::ffff:192.0.2.1,50000,ESTABLISHED,CLOSE,1234567,at_least,reset_sent,tcp_abort_on_data
2025-01-31T23:01:21.123456789Z,81123456789,abcdef0-048d15,,ipv4,socket,,,0.0.0.0,80,,,CLOSE,LISTEN,,unknown,,";
    let written = lines(Format::Csv, &[close_wait(), reset(), bare()]);
    assert_eq!(written.join("\n"), expected);
}

#[test]
fn json_lines_are_as_documented() {
    let expected = r#"{"type":"start","schema":1,"version":"0.1.0","host":"web-1","kernel":"6.1.0-1-amd64","boot_id":"11111111-2222-3333-4444-555555555555","hooks":{"accepted":null,"transition":"raw_tp:x"},"not_measured":[{"signal":"accepted","reason":"no \u009bhook"}],"ring_bytes":65536,"max_sockets":7}
{"type":"transition","ts":"2025-01-31T23:01:21.123456789Z","mono_ns":81123456789,"conn":"abcdef0-048d15","netns":4026531840,"family":"ipv4","laddr":"127.0.0.1","lport":8080,"raddr":"127.0.0.1","rport":43210,"old":"ESTABLISHED","new":"CLOSE_WAIT","dwell_ns":60456000000,"dwell":"exact","kind":"socket","pid":1234,"comm":"nginx","cause":"peer_fin"}
{"type":"transition","ts":"2025-01-31T23:01:21.123456789Z","mono_ns":81123456789,"conn":"abcdef0-048d15","netns":4026531840,"family":"ipv6","laddr":"2001:db8::1","lport":443,"raddr":"::ffff:192.0.2.1","rport":50000,"old":"ESTABLISHED","new":"CLOSE","dwell_ns":1234567,"dwell":"at_least","kind":"socket","pid":1234,"comm":"nginx","cause":"reset_sent","reset_reason":"tcp_abort_on_data"}
{"type":"transition","ts":"2025-01-31T23:01:21.123456789Z","mono_ns":81123456789,"conn":"abcdef0-048d15","netns":null,"family":"ipv4","laddr":"0.0.0.0","lport":80,"raddr":null,"rport":null,"old":"CLOSE","new":"LISTEN","dwell_ns":null,"dwell":"unknown","kind":"socket","pid":null,"comm":null,"cause":null}
{"type":"end","seen":5,"delivered":4,"lost":{"ring_full":1},"undecodable":0,"transitions":3,"connections":2,"no_room":0,"complete":true}"#;
    let written = lines(Format::Json, &[close_wait(), reset(), bare()]);
    assert_eq!(written.join("\n"), expected);
}

#[test]
fn a_transition_has_exactly_the_documented_keys() {
    let documented = "type ts mono_ns conn netns family laddr lport raddr rport old new dwell_ns dwell kind pid comm cause";
    assert_eq!(keys(&json(&close_wait())), sorted(documented));
    assert_eq!(keys(&json(&bare())), sorted(documented));
    assert_eq!(
        keys(&json(&reset())),
        sorted(&format!("{documented} reset_reason"))
    );
    assert_eq!(
        keys(&json(&named(b"\xff"))),
        sorted(&format!("{documented} comm_hex"))
    );
    let minisocket = Change {
        kind: SocketKind::Minisocket,
        rearmed: 3,
        ..close_wait()
    };
    assert_eq!(
        keys(&json(&minisocket)),
        sorted(&format!("{documented} rearmed"))
    );
    assert_eq!(json(&minisocket)["rearmed"], 3);
}

#[test]
fn a_reason_the_kernel_has_no_name_for_is_its_number() {
    let unnamed = Change {
        reset_reason: Some(99),
        ..reset()
    };
    assert_eq!(json(&unnamed)["reset_reason"], "99");
}

#[test]
fn a_hostile_name_comes_back_from_json_as_it_was() {
    for name in HOSTILE {
        let line = json(&named(name));
        let lossy = String::from_utf8_lossy(name);
        assert_eq!(line["comm"], lossy.as_ref());
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let expected = (lossy.as_bytes() != name).then_some(hex);
        assert_eq!(
            line.get("comm_hex").and_then(Value::as_str),
            expected.as_deref()
        );
    }
}

#[test]
fn no_control_byte_but_the_line_feed_leaves_in_any_format() {
    let hostile: Vec<_> = HOSTILE.iter().map(|name| named(name)).collect();
    for format in FORMATS {
        let text = String::from_utf8(write(format, false, &hostile)).unwrap();
        let wild = |c: &char| {
            *c != '\n' && (c.is_control() || "\u{202e}\u{2066}\u{200b}\u{feff}".contains(*c))
        };
        assert_eq!(text.chars().find(wild), None, "{format:?}");
        assert!(!text.contains("\u{e0041}"), "{format:?}");
        let extra = match format {
            Format::Json => 2,
            _ => 1,
        };
        assert_eq!(text.lines().count(), hostile.len() + extra, "{format:?}");
    }
}

#[test]
fn a_hostile_name_stays_in_its_csv_cell() {
    let cell = |name: &[u8]| {
        let line = lines(Format::Csv, &[named(name)]).swap_remove(1);
        let from = line.find(",1,").unwrap() + 3;
        line[from..line.find(",127.0.0.1,").unwrap()].to_owned()
    };
    assert_eq!(cell(b"=cmd|'/c x'!A0"), "'=cmd|'/c x'!A0");
    assert_eq!(cell(b"say \"hi\", you"), r#""say ""hi"", you""#);
    assert_eq!(cell(b"two\nlines"), "two\\nlines");
    assert_eq!(cell(b"a;b\\c"), "\"a;b\\\\c\"");
}

#[test]
fn colour_marks_what_matters_and_changes_nothing_else() {
    let changes = [close_wait(), reset(), bare()];
    let colored = String::from_utf8(write(Format::Table, true, &changes)).unwrap();
    let lines: Vec<_> = colored.lines().collect();
    assert!(!lines[0].contains('\x1b'));
    assert!(lines[1].contains("-> \x1b[33mCLOSE_WAIT\x1b[0m 60.4s peer_fin"));
    assert!(lines[2].contains("\x1b[31mreset_sent\x1b[0m"));
    assert!(lines[3].contains("\x1b[2m-\x1b[0m"));
    let mut plain = colored.clone();
    for code in ["\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain.into_bytes(), write(Format::Table, false, &changes));
    for format in [Format::Json, Format::Csv] {
        assert_eq!(
            write(format, true, &changes),
            write(format, false, &changes)
        );
    }
}
