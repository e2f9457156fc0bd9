use std::net::Ipv6Addr;

use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};
use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    connection::{Connection, Connections, Told},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    session::SessionInfo,
    sink::{Format, Sink},
    track::{Call, Cause, Change, Closer, ConnId, Dwell, Process, Sent, Totals},
};

const FORMATS: [Format; 4] = [Format::Table, Format::Wide, Format::Json, Format::Csv];

fn info() -> SessionInfo {
    SessionInfo {
        // 2025-01-31T23:00:00Z when the kernel's clock says 0.
        clock_offset_ns: 1_738_364_400_000_000_000,
        reset_reasons: [(11, "TCP_ABORT_ON_CLOSE".to_owned())].into(),
        ..SessionInfo::default()
    }
}

fn process(pid: u32, name: &[u8]) -> Process {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Process { pid, comm }
}

fn address(text: &str) -> [u8; 16] {
    text.parse::<Ipv6Addr>().unwrap().octets()
}

/// An aborted connection that `closer` has closed.
fn aborted(closer: Process) -> Connection {
    let born = Change {
        at: KtimeNs(1_000_000_000),
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
        old: TcpState::Listen,
        new: TcpState::SynRecv,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: None,
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    };
    let totals = Totals {
        bytes_in: Some(1_077),
        bytes_out: Some(5_000),
        retransmits: Some(2),
        unread: 77,
        last_data: Some(KtimeNs(6_000_000_000)),
        reset: Some(Sent {
            answers: false,
            reason: Some(11),
        }),
        ..Totals::default()
    };
    let next = |at, old, new, dwell| Change {
        at: KtimeNs(at),
        old,
        new,
        dwell,
        origin: Some(process(1234, b"nginx")),
        ..born
    };
    let established = next(
        1_000_020_000,
        TcpState::SynRecv,
        TcpState::Established,
        Dwell::AtLeast(20_000),
    );
    let over = Change {
        cause: Some(Cause::ResetSent),
        reset_reason: Some(11),
        closer: Some(Closer {
            process: closer,
            call: Call::Close,
        }),
        totals: Some(totals),
        ..next(
            81_000_020_000,
            TcpState::Established,
            TcpState::Close,
            Dwell::Exact(80_000_000_000),
        )
    };
    let mut all = Connections::new(Told::Closed, info().reset_reasons, 8);
    assert_eq!([born, established].map(|line| all.change(&line)), [None; 2]);
    all.change(&over).unwrap()
}

/// One that was refused, and of which nothing else is known.
fn bare() -> Connection {
    let it = aborted(process(1, b"x"));
    let over = Change {
        at: it.at,
        conn: it.conn,
        netns: 0,
        family: Family::Inet6,
        tuple: Tuple {
            laddr: [0; 16],
            raddr: address("2001:db8::1"),
            lport: 0,
            rport: 443,
        },
        old: TcpState::SynSent,
        new: TcpState::Close,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: None,
        cause: Some(Cause::Refused),
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    };
    let mut all = Connections::new(Told::Closed, info().reset_reasons, 8);
    all.change(&over).unwrap()
}

fn write(format: Format, connections: &[Connection]) -> String {
    let zone = TimeZone::fixed(Offset::from_seconds(3_600).unwrap());
    let mut out = Vec::new();
    let mut sink = Sink::of_connections_in(format, &mut out, false, &info(), zone);
    sink.start().unwrap();
    for connection in connections {
        sink.connection(connection).unwrap();
    }
    sink.flush().unwrap();
    drop(sink);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_table_has_a_sentence_behind_the_columns() {
    let connections = [aborted(process(1234, b"nginx")), bare()];
    assert_eq!(
        write(Format::Table, &connections),
        "\
TIME            PID COMM    LOCAL           REMOTE              LIFE END            WHO AND WHY
00:01:21.000   1234 nginx   127.0.0.1:8080  127.0.0.1:43210  >=80.0s reset_sent     \
nginx (1234) closed it with 77 bytes unread: a RST instead of a FIN; reading to the end first avoids it
00:01:21.000      - -       -               [2001:db8::1]:443      - refused        \
the peer [2001:db8::1]:443 answered the SYN with a RST: nothing listens there, or a firewall refuses it
"
    );
}

#[test]
fn json_has_every_promised_field_and_null_for_what_is_not_known() {
    let text = write(Format::Json, &[aborted(process(1234, b"nginx")), bare()]);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["type"], "start");
    assert_eq!(
        lines[1],
        json!({
            "type": "connection",
            "ts": "2025-01-31T23:01:21.000020000Z",
            "mono_ns": 81_000_020_000_u64,
            "conn": "abcdef0-048d15",
            "netns": 4_026_531_840_u32,
            "family": "ipv4",
            "laddr": "127.0.0.1",
            "lport": 8080,
            "raddr": "127.0.0.1",
            "rport": 43_210,
            "opened_by": "accept",
            "pid": 1234,
            "comm": "nginx",
            "lifetime_ns": 80_000_020_000_u64,
            "lifetime": "at_least",
            "states": {"SYN_RECV": 20_000, "ESTABLISHED": 80_000_000_000_u64},
            "at_least": ["SYN_RECV"],
            "bytes_in": 1_077,
            "bytes_out": 5_000,
            "retransmits": 2,
            "unread": 77,
            "idle_ns": 75_000_020_000_u64,
            "role": "none",
            "end": "reset_sent",
            "reset_reason": "unread_data",
            "kernel_reason": "tcp_abort_on_close",
            "closed_by": {"pid": 1234, "comm": "nginx", "call": "close", "side": "this"},
            "message": "nginx (1234) closed it with 77 bytes unread: a RST instead of a FIN; \
                        reading to the end first avoids it",
        })
    );
    assert_eq!(
        lines[2],
        json!({
            "type": "connection",
            "ts": "2025-01-31T23:01:21.000020000Z",
            "mono_ns": 81_000_020_000_u64,
            "conn": "abcdef0-048d15",
            "netns": null,
            "family": "ipv6",
            "laddr": null,
            "lport": null,
            "raddr": "2001:db8::1",
            "rport": 443,
            "opened_by": "connect",
            "pid": null,
            "comm": null,
            "lifetime_ns": null,
            "lifetime": "unknown",
            "states": {"SYN_SENT": null},
            "at_least": [],
            "bytes_in": null,
            "bytes_out": null,
            "retransmits": null,
            "unread": null,
            "idle_ns": null,
            "role": "none",
            "end": "refused",
            "reset_reason": null,
            "kernel_reason": null,
            "closed_by": null,
            "message": "the peer [2001:db8::1]:443 answered the SYN with a RST: nothing listens \
                        there, or a firewall refuses it",
        })
    );
}

#[test]
fn csv_has_as_many_cells_as_names() {
    let text = write(Format::Csv, &[aborted(process(1234, b"nginx")), bare()]);
    let lines: Vec<&str> = text.lines().collect();
    let [head, aborted, bare] = lines[..] else {
        panic!("{text}");
    };
    let cells = |line: &str| line.matches(',').count();
    assert!(head.starts_with("ts,mono_ns,conn,"), "{head}");
    assert!(
        head.ends_with(",close_wait_ns,last_ack_ns,message"),
        "{head}"
    );
    // No cell but the last one of the second line has a comma of its own.
    assert_eq!(cells(aborted), cells(head), "{aborted}");
    assert_eq!(cells(bare), cells(head) + 1, "{bare}");
    assert!(aborted.contains(",80000020000,at_least,1077,5000,2,77,none,reset_sent,unread_data,"));
    assert!(bare.contains(",connect,,,,,2001:db8::1,443,,unknown,,,,,none,refused,,,,,,"));
}

#[test]
fn no_name_disturbs_a_line() {
    let names: [&[u8]; 5] = [
        b"\x1b[31mred",
        b"say \"hi\", you",
        b"two\nlines\r\t",
        b"\xff\xfe\xc3",
        b"a\xe2\x80\xaeb\xe2\x81\xa6",
    ];
    for name in names {
        for format in FORMATS {
            let text = write(format, &[aborted(process(1, name))]);
            let (_, line) = text.split_once('\n').unwrap();
            assert_eq!(line.matches('\n').count(), 1, "{format:?} {line:?}");
            let harmless = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
            assert!(line.chars().all(harmless), "{format:?} {line:?}");
            if format == Format::Json {
                let read: Value = serde_json::from_str(line).unwrap();
                let lossy = String::from_utf8_lossy(name);
                assert_eq!(read["closed_by"]["comm"], lossy.as_ref());
            }
        }
    }
}
