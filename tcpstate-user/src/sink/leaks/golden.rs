//! A report as it should look.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::*;
use crate::{
    decode::Family,
    holders::{Descriptor, ProcessFacts},
    leak::{Ages, Class, Group, Report, Verdict},
    survey::Waiting,
    track::{Opened, Process},
    unwind::End,
};

const S: u64 = 1_000_000_000;

fn v4(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last]
}

fn frame(function: &str, system: bool) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        file: (!system).then(|| "/src/shop/pool.c".to_owned()),
        line: (!system).then_some(40),
        module: Some(
            if system {
                "/lib/libc.so.6"
            } else {
                "/srv/shop"
            }
            .to_owned(),
        ),
        offset: Some(0x1234),
        build_id: Some("abcd".to_owned()),
        reason: None,
        inlined: false,
        system,
    }
}

fn never_closed() -> Group {
    Group {
        class: Class::NeverClosed,
        verdict: Verdict::Suspect,
        state: TcpState::CloseWait,
        owner: Owner::Opener(4711),
        origin: Some(Process {
            pid: 4711,
            comm: *b"shop\0\0\0\0\0\0\0\0\0\0\0\0",
        }),
        opened: Opened::Accept,
        origin_stack: Some(StackId(1)),
        eof_stack: None,
        count: 1203,
        growth_per_min: 20.04,
        ages: Ages {
            oldest: 3_720 * S,
            oldest_exact: false,
            median: 1_860 * S,
        },
        unread: 0,
        held: (5..17).map(|fd| Descriptor { pid: 4711, fd }).collect(),
        listener: None,
        netns: 1,
        family: Family::Inet,
        peers: vec![(
            Tuple {
                laddr: v4(1),
                raddr: v4(7),
                lport: 80,
                rport: 0,
            },
            1203,
        )],
    }
}

fn survey(groups: Vec<Group>) -> Survey {
    let facts = ProcessFacts {
        pid: 4711,
        comm: b"shop\x1b[31m".to_vec(),
        cmdline: b"/srv/shop --listen 80".to_vec(),
        cgroup: Some(b"/system.slice/shop.service".to_vec()),
        unit: Some("shop.service".to_owned()),
    };
    let busy = Waiting {
        count: 18,
        comm: b"worker-".to_vec(),
        various: true,
        wait_channel: Some("futex_do_wait".to_owned()),
        connection: None,
    };
    Survey {
        report: Report {
            groups,
            too_early: 2,
        },
        processes: HashMap::from([(4711, facts)]),
        threads: HashMap::from([(4711, vec![busy])]),
        ..Survey::default()
    }
}

fn stacks() -> HashMap<StackId, NamedStack> {
    let frames = vec![
        frame("__libc_accept", true),
        frame("accept_order", false),
        frame("main", false),
        frame("_start", true),
    ];
    let end = End::Root;
    HashMap::from([(StackId(1), NamedStack { frames, end })])
}

#[test]
fn the_important_is_first_and_nothing_is_wider_than_a_hundred_columns() {
    let survey = survey(vec![never_closed()]);
    let stacks = stacks();
    let told = Told {
        survey: &survey,
        stacks: &stacks,
        traced_ns: 60 * S,
        is_final: true,
    };
    let text = String::from_utf8(table(&told, "12:00:00", false)).unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    assert_eq!(
        text,
        "\
12:00:00  1203 suspects, 2 too early to say

 1  never_closed    1203 CLOSE_WAIT   +20.0/min   oldest >=1h02m   median 31m00s
               shop\\u{1b}[31m[4711] read end-of-file on 1203 sockets and never closed
         runs  shop.service: /srv/shop --listen 80
  accepted at  > accept_order  pool.c:40
                 main  pool.c:40
      held by  shop\\u{1b}[31m[4711] fds 5 6 7 8 9 10 11 12 and 4 more
        peers  10.0.0.7 (1203)
      threads    18 worker-* in futex_do_wait
           do  close the descriptor when a read returns 0, on the error paths too
"
    );
}

#[test]
fn json_has_every_descriptor_and_every_frame_and_escapes_names() {
    let survey = survey(vec![never_closed()]);
    let stacks = stacks();
    let told = Told {
        survey: &survey,
        stacks: &stacks,
        traced_ns: 60 * S,
        is_final: false,
    };
    let text = String::from_utf8(json(&told, "2026-01-01T00:00:00Z", 5)).unwrap();
    let (line, sum) = text.split_once('\n').unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let sum: serde_json::Value = serde_json::from_str(sum.trim_end()).unwrap();
    assert_eq!(
        (&sum["type"], &sum["suspects"]),
        (&"leaks".into(), &1203.into())
    );
    assert!(!text.contains('\x1b'), "{text}");
    assert_eq!(line["type"], "leak");
    assert_eq!(line["class"], "never_closed");
    assert_eq!(line["oldest"], "at_least");
    assert_eq!(line["fds"].as_array().unwrap().len(), 12);
    assert_eq!(line["holders"][0]["pid"], 4711);
    let first = &line["origin"]["stack"][0];
    assert_eq!(first["function"], "__libc_accept");
    assert_eq!(first["reason"], serde_json::Value::Null);
    assert_eq!(line["origin"]["end"], "root");
    assert_eq!(line["eof_stack"], serde_json::Value::Null);
    assert_eq!(line["threads"][0]["comm"], "worker-*");
    assert_eq!(line["final"], false);
}

#[test]
fn without_suspects_one_line_says_so() {
    let survey = Survey::default();
    let told = Told {
        survey: &survey,
        stacks: &HashMap::new(),
        traced_ns: 60 * S,
        is_final: true,
    };
    assert_eq!(table(&told, "12:00:00", false), b"12:00:00  no suspects\n");
}
