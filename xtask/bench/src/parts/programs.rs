//! Time in programs, by the kernel's own statistics, which cost about 30 ns a run
//! themselves: in runs of their own, and beside reference programs.

use anyhow::Result;

use super::{Outcome, Part, Plan, Taking, count, load};
use crate::{
    kernel::{Reference, Runs},
    load::{Mode, ratio},
    measure::Also,
    row::{Row, Target, Unit},
    sample::{Round, Sample},
};

const PART: &str = "programs";
const ARMS: [&str; 6] = [
    "trace",
    "nothing",
    "dwell",
    "leaks",
    "tcpstates",
    "bpftrace",
];
const REFERENCES: [Reference; 3] = [Reference::Empty, Reference::Count, Reference::Stack];
/// Connections of the runs in which every origin's stack is taken: the burst of
/// the token bucket of a process is 64.
const FEW: u64 = 60;
const BELOW: &str = "below the capture limit";

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut taking = Taking::new(Part::Programs, plan);
    let arms = plan.tools.these(&ARMS);
    let load = load(Mode::ClientFin, 1);
    let also = Also {
        count: false,
        programs: true,
    };
    for number in 0..plan.rounds {
        let order = count(if plan.quick { 1_000 } else { 15_000 });
        let mut samples = Vec::new();
        for reference in REFERENCES {
            taking.keep(&mut samples, reference.name(), || {
                plan.bench.reference(reference, load, order)
            });
        }
        for arm in super::rotated(&arms, number as usize) {
            taking.keep(&mut samples, arm.name, || {
                plan.bench.sample(Some(arm), load, order, also)
            });
        }
        taking.push("", samples);
        let mut samples = Vec::new();
        for reference in [Reference::Empty, Reference::Stack] {
            taking.keep(&mut samples, reference.name(), || {
                plan.bench.reference(reference, load, count(FEW))
            });
        }
        for arm in plan.tools.these(&["leaks"]) {
            taking.keep(&mut samples, arm.name, || {
                plan.bench.sample(Some(arm), load, count(FEW), also)
            });
        }
        taking.push(BELOW, samples);
    }
    Ok(taking.done(rows))
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let few: Vec<_> = rounds.iter().filter(|it| it.setting == BELOW).collect();
    let rounds: Vec<_> = rounds.iter().filter(|it| it.setting.is_empty()).collect();
    let there = |arm: &&str| rounds.iter().any(|round| round.of(arm).is_some());
    let mut rows = Vec::new();
    for who in REFERENCES
        .map(Reference::name)
        .iter()
        .chain(&ARMS)
        .filter(|arm| there(arm))
    {
        let values = rounds
            .iter()
            .filter_map(|round| Some(on_transition(round.of(who)?)));
        let what = "in programs on transitions, for each";
        rows.push(Row::new(PART, what, who, Unit::Nanoseconds, values));
    }
    for (who, other, most) in AGAINST {
        let values = rounds
            .iter()
            .filter_map(|round| round.over(who, other, |sample| Some(on_transition(sample))));
        let what = format!("in programs on transitions / {other}");
        let row = Row::new(PART, &what, who, Unit::Ratio, values);
        rows.push(row.should(Target::AtMost(*most)));
    }
    for who in ["trace", "nothing", "dwell", "leaks"]
        .iter()
        .filter(|arm| there(arm))
    {
        let values = rounds
            .iter()
            .filter_map(|round| Some(round.of(who)?.in_programs(|_| true)));
        let what = "in all its programs, for a transition";
        rows.push(Row::new(PART, what, who, Unit::Nanoseconds, values));
    }
    let values = rounds.iter().filter_map(|round| {
        let sample = round.of("trace")?;
        Some(sample.in_programs(is_minisocket) * per_connection(sample))
    });
    let what = "in programs on minisockets, for a connection";
    let row = Row::new(PART, what, "trace", Unit::Nanoseconds, values);
    rows.push(row.should(Target::AtMost(600.0)));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let values = rounds
        .iter()
        .filter_map(|round| Some(unaccounted(round.of("trace")?)? as f64));
    let what = "its program's runs, neither delivered nor told lost";
    let row = Row::new(PART, what, "trace", Unit::Count, values);
    rows.push(row.should(Target::Never(0.0)));
    let values = few.iter().filter_map(|round| origin(round));
    let what = "an origin's stack / bpf_get_stackid";
    let row = Row::new(PART, what, "leaks", Unit::Ratio, values);
    rows.push(row.should(Target::AtMost(1.5)));
    rows
}

const AGAINST: &[(&str, &str, f64)] = &[
    ("trace", "tcpstates", 1.0 / 10.0),
    ("trace", "empty", 4.5),
    ("nothing", "empty", 2.0),
];

/// In the programs at its raw tracepoint. A tool that has none there is a peer
/// that uses another kind of hook, and has no programs but for transitions.
fn on_transition(sample: &Sample) -> f64 {
    let is_there = |runs: &Runs| runs.tracepoint.as_deref() == Some(Reference::TRACEPOINT);
    if sample.programs.iter().any(is_there) {
        sample.in_programs(is_there)
    } else {
        sample.in_programs(|_| true)
    }
}

/// Of the runs of `transition`. What it says of its losses may be about other
/// records too: at least so many.
fn unaccounted(sample: &Sample) -> Option<u64> {
    let runs = sample.programs.iter().find(|it| it.name == "transition")?;
    let tool = sample.tool.as_ref()?;
    Some(runs.count.saturating_sub(tool.delivered? + tool.lost?))
}

fn is_minisocket(runs: &Runs) -> bool {
    runs.name.starts_with("tw_")
}

fn per_connection(sample: &Sample) -> f64 {
    ratio(sample.load.transitions, sample.load.connections)
}

/// One stack over the bare helper. The program runs on every transition, and of
/// a connection takes one: the other runs are an empty program's.
fn origin(round: &Round) -> Option<f64> {
    let runs = |arm: &str, name: &str| {
        let programs = &round.of(arm)?.programs;
        programs.iter().find(|it| it.name == name)
    };
    let each = |runs: &Runs| ratio(runs.ns, runs.count);
    let ours = runs("leaks", "connect_stack")?;
    let taken = round.of("leaks")?.load.connections;
    let others = ratio(ours.count.checked_sub(taken)?, 1) * each(runs("empty", "empty")?);
    let stack = (ratio(ours.ns, 1) - others) / ratio(taken, 1);
    Some(stack / each(runs("stackid", "stackid")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::{round, sample};

    fn with(arm: &str, programs: &[(&str, u64)]) -> Sample {
        let runs = |&(name, ns): &(&str, u64)| Runs {
            name: name.to_owned(),
            count: 1_000,
            ns,
            tracepoint: name
                .starts_with("transition")
                .then(|| Reference::TRACEPOINT.to_owned()),
        };
        Sample {
            programs: programs.iter().map(runs).collect(),
            ..sample(arm, 1, Some(1))
        }
    }

    #[test]
    fn what_is_on_transitions_is_compared_with_the_peer_and_the_rest_is_told_apart() {
        let ours = [
            ("transition", 90_000),
            ("transition_agai", 10_000),
            ("tw_timer_stop", 5_000),
        ];
        let round = round(
            PART,
            vec![
                with("empty", &[("empty", 30_000)]),
                with("trace", &ours),
                with("tcpstates", &[("handle_set_stat", 1_800_000)]),
            ],
        );
        let rows = rows(&[round]);
        let median = |what: &str, who: &str| {
            let row = rows.iter().find(|row| row.what == what && row.who == who);
            match &row.unwrap_or_else(|| panic!("{what}: {rows:?}")).value {
                crate::row::Value::Measured(spread) => spread.median,
                crate::row::Value::NotMeasured(why) => panic!("{what}: {why}"),
            }
        };
        let transitions = "in programs on transitions, for each";
        assert_eq!(median(transitions, "trace"), 100.0);
        assert_eq!(
            median("in programs on transitions / tcpstates", "trace"),
            1.0 / 18.0
        );
        assert_eq!(
            median("in all its programs, for a transition", "trace"),
            105.0
        );
        let runs = "its program's runs, neither delivered nor told lost";
        assert_eq!(median(runs, "trace"), 0.0);
        assert_eq!(
            median("in programs on minisockets, for a connection", "trace"),
            50.0
        );
    }
    #[test]
    fn a_stack_is_what_is_left_of_the_program_without_the_runs_that_take_none() {
        let mut leaks = with("leaks", &[("connect_stack", 100_000 * 2 + 900 * 30)]);
        leaks.load.connections = 100;
        let empty = with("empty", &[("empty", 30_000)]);
        let stackid = with("stackid", &[("stackid", 1_000_000)]);
        let ratio = origin(&round(PART, vec![empty, stackid, leaks])).unwrap();
        assert!((ratio - 2.0).abs() < 1e-9, "{ratio}");
    }
}
