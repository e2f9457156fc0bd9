//! What this kernel gives: the hook of each signal, by choice and by force, and
//! what its verifier makes of each program.
//!
//! It knows no kernel versions: what may differ between them is told
//! ([`crate::facts`]), and what may not is asserted.

use std::{collections::BTreeMap, fs};

use aya::programs::loaded_programs;
use tcpstate::attach::{Capture, Family, HookReport, Request, Session, Signal, SignalReport};

use crate::{facts::tell, process::own_files};

/// Kinds of hook by the topic of their facts, and how their hooks' names begin.
const FAMILIES: [(Family, &str, [&str; 2]); 3] = [
    (Family::Fentry, "hook-fentry", ["fentry ", "fexit "]),
    (Family::Kprobe, "hook-kprobe", ["kprobe ", "kretprobe "]),
    (
        Family::Tracepoint,
        "hook-tracepoint",
        ["raw_tp ", "tracepoint "],
    ),
];

/// A session of the default choice, or of one kind of hook.
fn open(hooks: Option<Family>) -> Session {
    own_files();
    let request = Request {
        hooks,
        ring_bytes: 64 << 10,
        accept_by_syscall: true,
        capture: Some(Capture::default()),
        last_looks: true,
        ..Request::default()
    };
    Session::open(&request).unwrap_or_else(|error| panic!("{hooks:?}: {error}"))
}

/// The hook, or why there is none: what became of the hooks of `kind`, if the
/// signal has any.
fn told(report: &SignalReport, kind: Option<[&str; 2]>) -> String {
    if let Some(hook) = report.chosen {
        return hook.to_owned();
    }
    let (of_kind, others): (Vec<_>, Vec<_>) = report
        .refused
        .iter()
        .partition(|refused| kind.is_none_or(|kind| is_of(refused.hook, kind)));
    let refused = if of_kind.is_empty() { others } else { of_kind };
    assert!(!refused.is_empty(), "no hook and no reason: {report:?}");
    let reasons: Vec<_> = refused.iter().map(ToString::to_string).collect();
    // A kernel may lack a hook; a program that it does not accept is a mistake.
    let unfit = reasons.iter().find(|reason| reason.contains("verifier"));
    assert_eq!(unfit, None, "{report:?}");
    format!("refused: {}", reasons.join("; "))
}

fn is_of(hook: &str, kind: [&str; 2]) -> bool {
    kind.iter().any(|kind| hook.starts_with(kind))
}

fn of(report: &HookReport, signal: Signal) -> &SignalReport {
    let mut signals = report.signals.iter();
    signals.find(|report| report.signal == signal).unwrap()
}

#[test]
fn each_signal_has_a_hook_of_the_kind_asked_for_or_a_reason_why_not() {
    let chosen = open(None).report().clone();
    let forced = FAMILIES.map(|(family, ..)| open(Some(family)).report().clone());
    for signal in Signal::ALL {
        let best = of(&chosen, signal);
        tell("hook", signal.name(), told(best, None));
        // The others have one kind of hook only, and --hooks leaves them alone.
        let matters = forced.iter().map(|report| of(report, signal)).any(|got| {
            let refused = got.refused.iter().map(ToString::to_string);
            let as_best = refused.eq(best.refused.iter().map(ToString::to_string));
            got.chosen != best.chosen || best.chosen.is_none() && !as_best
        });
        for (report, (family, topic, kind)) in forced.iter().zip(FAMILIES).filter(|_| matters) {
            let got = of(report, signal);
            assert!(
                got.chosen.is_none_or(|hook| is_of(hook, kind)) || got.chosen == best.chosen,
                "{family:?}: {got:?}"
            );
            tell(topic, signal.name(), told(got, Some(kind)));
        }
    }
    assert!(of(&chosen, Signal::StateTransition).chosen.is_some());
}

/// The most instructions that one of the verifiers of Linux 6.1 to 7.3 walks
/// through in a program (Debian's kernels, default filter).
///
/// 6.1's walks farthest, up to 1.9 times as far as the others. All give up at a
/// million; the numbers are stated because a change of a program that doubles
/// its paths shows here long before that, and before it shows in the time of a
/// start.
const MEASURED: [(&str, u32); 48] = [
    ("accept_stack_fe", 2_186),
    ("accept_stack_kr", 2_186),
    ("accept_stack_tr", 2_291),
    ("accepted_fexit2", 217),
    ("accepted_fexit4", 211),
    ("accepted_kretpr", 155),
    ("accepted_tracep", 264),
    ("close_fentry", 212),
    ("close_fentry_co", 212),
    ("close_kprobe", 140),
    ("connect_stack", 2_190),
    ("destroyed", 189),
    ("destroyed_copy", 189),
    ("eof_stack_fexit", 2_226),
    ("eof_stack_recv_", 2_250),
    ("inspect", 804),
    ("peek", 880),
    ("req_armed_fexit", 440),
    ("req_cloned_fent", 417),
    // These look for addresses in a list, for each frame of the stack.
    ("req_ended_fentr", 6_877),
    ("req_expired_fen", 429),
    ("req_migrated_fe", 430),
    ("req_timer_expir", 452),
    ("req_timer_start", 452),
    ("req_timer_stopp", 7_367),
    ("reset_received", 123),
    ("reset_sent", 243),
    ("reset_sent_copy", 243),
    ("splice_eof_stac", 2_231),
    ("threads", 2_337),
    ("transition", 8_661),
    ("transition_agai", 6_633),
    ("tw_armed_fentry", 494),
    ("tw_armed_kprobe", 494),
    ("tw_begun3_fentr", 495),
    ("tw_begun3_kprob", 495),
    ("tw_begun4_fentr", 424),
    ("tw_begun4_kprob", 424),
    ("tw_destroyed_fe", 7_069),
    ("tw_destroyed_kp", 7_089),
    ("tw_ended_fentry", 4_020),
    ("tw_ended_kprobe", 711),
    ("tw_expired_fent", 500),
    ("tw_expired_kpro", 500),
    ("tw_handled", 584),
    ("tw_timer_expire", 514),
    ("tw_timer_starte", 514),
    ("tw_timer_stoppe", 7_112),
];

/// Half as much again as was measured, for a compiler or a kernel to come; of a
/// program that is not in the table, as of the longest that is.
fn limit(program: &str) -> u32 {
    let measured = MEASURED.iter().filter(|(name, _)| *name == program);
    let all = MEASURED.iter().map(|(_, count)| *count).max();
    let most = measured.map(|(_, count)| *count).max().or(all);
    most.unwrap_or(0) * 3 / 2
}

/// Instructions that the verifier has walked through, by the first 15 letters of
/// the program's name, which are what the kernel keeps; `None` before Linux
/// 5.16, which does not tell.
fn walked() -> BTreeMap<String, Option<u32>> {
    // Each test thread has its own descriptors.
    let entries = fs::read_dir("/proc/thread-self/fdinfo").unwrap();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let id = |text: String| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
    };
    let ours: Vec<u32> = texts.filter_map(id).collect();
    // A program of another test may go between its number and its description.
    let programs = loaded_programs().filter_map(Result::ok);
    programs
        .filter(|program| ours.contains(&program.id()))
        .map(|program| {
            let name = program.name_as_str().unwrap().to_owned();
            (name, program.verified_instruction_count())
        })
        .collect()
}

#[test]
fn what_existed_before_is_asked_of_sock_diag_and_no_iterator_over_sockets_is_loaded() {
    for family in FAMILIES
        .map(|(family, ..)| Some(family))
        .into_iter()
        .chain([None])
    {
        let session = open(family);
        let source = session.report().chosen(Signal::ExistingSockets);
        assert_eq!(source, Some("sock_diag"), "{family:?}");
        // An iterator over sockets may hurt the host: see `EXISTING_SOCKETS`. The
        // programs are those of the table, and of these only `threads` is of an
        // iterator, over tasks.
        let known = |name: &String| MEASURED.iter().any(|(known, _)| known == name);
        let all: Vec<_> = walked().into_keys().collect();
        assert!(!all.is_empty() && all.iter().all(known), "{all:?}");
    }
}

#[test]
fn the_verifier_walks_through_no_program_at_greater_length_than_it_is_stated() {
    let mut walked_through = BTreeMap::<_, Option<u32>>::new();
    for family in FAMILIES
        .map(|(family, ..)| Some(family))
        .into_iter()
        .chain([None])
    {
        let _session = open(family);
        for (name, count) in walked() {
            let most = walked_through.entry(name).or_default();
            *most = (*most).max(count);
        }
    }
    assert!(
        walked_through.contains_key("transition"),
        "{walked_through:?}"
    );
    let mut beyond = Vec::new();
    for (name, count) in &walked_through {
        let Some(count) = *count else {
            tell("insns", name, "not told");
            continue;
        };
        tell("insns", name, count);
        let limit = limit(name);
        if count > limit {
            beyond.push(format!("{name}: {count}, and {limit} at most were stated"));
        }
    }
    assert!(beyond.is_empty(), "{beyond:#?}");
}
