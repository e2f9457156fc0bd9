//! What this kernel gives: the hook of each signal, by choice and by force, and
//! what its verifier makes of each program.
//!
//! It knows no kernel versions: what may differ between them is told
//! ([`crate::facts`]), and what may not is asserted.

use std::{collections::BTreeMap, fs};

use aya::programs::loaded_programs;
use tcpstate::attach::{Family, HookReport, Request, Session, Signal, SignalReport};

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
        let matters = best.chosen.is_none()
            || forced
                .iter()
                .any(|report| of(report, signal).chosen != best.chosen);
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
    for (name, count) in &walked_through {
        match count {
            Some(count) => tell("insns", name, count),
            None => tell("insns", name, "not told"),
        }
    }
}
