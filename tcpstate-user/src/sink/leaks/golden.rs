//! A report as it should look.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::*;
use crate::{
    decode::Family,
    holders::{Descriptor, ProcessFacts},
    leak::{Ages, Class, Group, Listener, Report, Verdict},
    survey::{Doings, Waiting},
    track::{Opened, Process},
    unwind::End,
};

const S: u64 = 1_000_000_000;

const LOOPBACK: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];

fn frame(function: &str, line: u32) -> Frame {
    Frame {
        function: Some(function.to_owned()),
        file: Some("/src/shop/leak.c".to_owned()),
        line: Some(line),
        module: Some("/tmp/shop/checkout".to_owned()),
        offset: Some(0x1234),
        build_id: Some("abcd".to_owned()),
        ..Frame::default()
    }
}

fn system(function: &str) -> Frame {
    Frame {
        system: true,
        module: Some("/lib/libc.so.6".to_owned()),
        file: None,
        line: None,
        ..frame(function, 0)
    }
}

fn never_closed() -> Group {
    Group {
        class: Class::NeverClosed,
        verdict: Verdict::Suspect,
        state: TcpState::CloseWait,
        owner: Owner::Opener(25172),
        origin: Some(Process {
            pid: 25172,
            comm: *b"checkout\0\0\0\0\0\0\0\0",
        }),
        opened: Opened::Accept,
        origin_stack: Some(StackId(1)),
        origin_seen: 12,
        eof_stack: Some(StackId(2)),
        count: 12,
        growth_per_min: 15.93,
        ages: Ages {
            oldest: 43_100_000_000,
            oldest_exact: true,
            median: 38_100_000_000,
        },
        unread: 0,
        held: (4..16).map(|fd| Descriptor { pid: 25172, fd }).collect(),
        listener: Some(Listener {
            addr: LOOPBACK,
            port: 47131,
            queue: 0,
            limit: 64,
            pids: vec![25172],
        }),
        netns: 1,
        family: Family::Inet,
        peers: vec![(
            Tuple {
                laddr: LOOPBACK,
                raddr: LOOPBACK,
                lport: 47131,
                rport: 0,
            },
            12,
        )],
    }
}

fn survey(groups: Vec<Group>) -> Survey {
    let facts = ProcessFacts {
        pid: 25172,
        comm: b"checkout".to_vec(),
        cmdline: b"/tmp/shop/checkout never-closed".to_vec(),
        cgroup: None,
        unit: None,
    };
    Survey {
        report: Report {
            groups,
            too_early: 0,
        },
        processes: HashMap::from([(25172, facts)]),
        ..Survey::default()
    }
}

fn stacks() -> HashMap<StackId, NamedStack> {
    let stack = |frames| NamedStack {
        frames,
        end: End::Root,
        advice: None,
    };
    let main = || [frame("main", 158), system("__libc_start_call_main")];
    let accepted = [
        system("__libc_accept"),
        frame("take_connection", 55),
        frame("serve_order", 62),
    ];
    let read = [system("__libc_read"), frame("read_request", 69)];
    HashMap::from([
        (StackId(1), stack([&accepted[..], &main()].concat())),
        (StackId(2), stack([&read[..], &main()].concat())),
    ])
}

fn shown(survey: &Survey, stacks: &HashMap<StackId, NamedStack>) -> String {
    let told = Told {
        survey,
        stacks,
        traced_ns: 45 * S,
        is_final: true,
    };
    let text = table(&told, "02:29:35, after 45.2s (final)", false);
    let text = String::from_utf8(text).unwrap();
    let wide = text.lines().find(|line| line.chars().count() > 100);
    assert_eq!(wide, None, "{text}");
    text
}

#[test]
fn the_sample_in_readme_is_how_a_report_looks() {
    let readme = include_str!("../../../../README.md");
    let text = shown(&survey(vec![never_closed()]), &stacks());
    assert!(readme.contains(&format!("```text\n{text}```")), "{text}");
}

#[test]
fn what_is_only_a_notice_is_not_counted_as_a_suspect() {
    let notice = Group {
        class: Class::IdlePool,
        verdict: Verdict::Notice,
        count: 5,
        ..never_closed()
    };
    let text = shown(
        &survey(vec![never_closed(), never_closed(), notice]),
        &stacks(),
    );
    let first = text.lines().next().unwrap();
    let expected = "24 suspects in 2 groups, 5 sockets worth a look";
    assert!(first.ends_with(expected), "{first}");
}

#[test]
fn names_are_no_commands_to_a_terminal_and_long_ways_are_cut() {
    let mut survey = survey(vec![Group {
        origin_stack: Some(StackId(3)),
        ages: Ages {
            oldest_exact: false,
            ..never_closed().ages
        },
        ..never_closed()
    }]);
    let facts = survey.processes.get_mut(&25172).unwrap();
    facts.comm = b"\x1b[31m\nred".to_vec();
    facts.unit = Some("shop.service".to_owned());
    let busy = Waiting {
        count: 18,
        comm: b"worker-".to_vec(),
        various: true,
        wait_channel: Some("futex_do_wait".to_owned()),
        running: false,
        connection: None,
        stack: None,
    };
    let kinds = vec![busy];
    let doings = Doings {
        kinds,
        ..Doings::default()
    };
    survey.threads = HashMap::from([(25172, doings)]);
    let mut frames = vec![system("one"); 9];
    frames.extend(vec![frame("application", 1); 20]);
    let stack = NamedStack {
        frames,
        end: End::Truncated,
        advice: Some("a switch would name them".to_owned()),
    };
    let stacks = HashMap::from([(StackId(3), stack)]);
    let text = shown(&survey, &stacks);
    assert!(!text.contains('\x1b'), "{text}");
    for part in [
        "\\u{1b}[31m\\nred[25172] read end-of-file",
        "oldest >=43.1s",
        "runs  shop.service: /tmp/shop",
        "> application  leak.c:1\n",
        "(8 more frames)",
        "(the stack is not known further: truncated)",
        "stacks  a switch would name them\n",
        "  18 worker-* in futex_do_wait",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

fn waiting(count: usize, frames: Vec<Frame>, end: End) -> Waiting {
    Waiting {
        count,
        comm: b"worker".to_vec(),
        various: false,
        wait_channel: (end != End::Running).then(|| "futex_do_wait".to_owned()),
        running: end == End::Running,
        connection: None,
        stack: Some(NamedStack {
            frames,
            end,
            advice: None,
        }),
    }
}

#[test]
fn threads_are_told_with_what_they_wait_for_and_those_left_out_are_counted() {
    let mut survey = survey(vec![Group {
        class: Class::EofNotRead,
        ..never_closed()
    }]);
    let stuck = vec![
        system("futex"),
        system("pthread_cond_wait"),
        frame("wait_for_backend", 1),
        frame("work", 2),
        system("start_thread"),
    ];
    let long = vec![frame(&"deep::".repeat(12), 1); 12];
    let kinds = vec![
        waiting(18, stuck, End::Root),
        waiting(2, long, End::Truncated),
        waiting(1, Vec::new(), End::Running),
    ];
    let doings = Doings {
        kinds,
        not_told: 30,
        without_stack: 1,
    };
    survey.threads = HashMap::from([(25172, doings)]);
    let text = shown(&survey, &stacks());
    for part in [
        "      threads    18 worker in futex_do_wait\n",
        "                    at pthread_cond_wait <- wait_for_backend <- work\n",
        " <- 4 more <- (truncated)\n",
        "                  1 worker running\n",
        "(30 more threads)",
        "(stacks not looked at: 1 thread)",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let told = Told {
        survey: &survey,
        stacks: &stacks(),
        traced_ns: 60 * S,
        is_final: false,
    };
    let text = String::from_utf8(json(&told, "2026-01-01T00:00:00Z", 5)).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let threads = &line["threads"];
    assert_eq!(threads[0]["stack"][2]["function"], "wait_for_backend");
    assert_eq!(threads[0]["application"], 2);
    assert_eq!(threads[1]["stack"].as_array().unwrap().len(), 12);
    let runs = (&threads[2]["stack"], &threads[2]["end"]);
    assert_eq!(runs, (&serde_json::Value::Null, &"running".into()));
    assert_eq!(line["threads_left_out"]["not_told"], 30);
}

#[test]
fn code_without_a_name_is_a_place_with_its_build_or_jit() {
    let nameless = Frame {
        function: None,
        file: None,
        line: None,
        build_id: Some("0123456789".repeat(4)),
        reason: Some("no symbols".to_owned()),
        ..frame("", 1)
    };
    let made = Frame {
        module: None,
        build_id: None,
        jit: true,
        ..nameless.clone()
    };
    let mut stacks = stacks();
    let all = vec![system("__libc_accept"), nameless, made.clone(), made];
    let origin = |it: &mut NamedStack| it.frames.clone_from(&all);
    stacks.entry(StackId(1)).and_modify(origin);
    let text = shown(&survey(vec![never_closed()]), &stacks);
    for part in [
        "> checkout+0x1234  0123456789012345678901234567890123456789  (no symbols)\n",
        "  2 × [jit]  (no symbols)\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
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
        (&"leaks".into(), &12.into())
    );
    assert!(!text.contains('\x1b'), "{text}");
    assert_eq!(line["type"], "leak");
    assert_eq!(line["class"], "never_closed");
    assert_eq!(line["oldest"], "exact");
    assert_eq!(line["fds"].as_array().unwrap().len(), 12);
    assert_eq!(line["holders"][0]["pid"], 25172);
    let first = &line["origin"]["stack"][0];
    assert_eq!(first["function"], "__libc_accept");
    assert_eq!(first["reason"], serde_json::Value::Null);
    assert_eq!(line["origin"]["end"], "root");
    assert_eq!(line["origin"]["application"], 1);
    assert_eq!(line["eof_stack"][1]["line"], 69);
    assert_eq!(line["threads"], serde_json::Value::Null);
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
