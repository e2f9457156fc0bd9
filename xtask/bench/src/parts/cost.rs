//! What load and tool cost together, and what the tool costs by itself, under
//! connections that come and go as fast as one thread can.

use anyhow::Result;

use super::{Outcome, Part, Plan, Taking, count, load};
use crate::{
    load::{Done, Mode},
    measure::Also,
    row::{Row, Target, Unit},
    sample::{Round, Sample},
};

const PART: &str = "cost";
/// In this order in the table.
const ARMS: [&str; 10] = [
    "trace",
    "dwell",
    "leaks",
    "ports",
    "nothing",
    "record",
    "tcpstates",
    "bcc tcpstates",
    "bpftrace",
    "perf record",
];

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut taking = Taking::new(Part::Cost, plan);
    let arms = plan.tools.these(&ARMS);
    let order = count(if plan.quick { 2_000 } else { 30_000 });
    for number in 0..plan.rounds {
        let load = load(Mode::ClientFin, 1);
        taking.interleaved(number, &arms, load, order, Also::default());
    }
    Ok(taking.done(rows))
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let there: Vec<_> = ARMS
        .into_iter()
        .filter(|arm| rounds.iter().any(|round| round.of(arm).is_some()))
        .collect();
    let mut rows = Vec::new();
    for arm in &there {
        let values = over_untraced(rounds, arm, Sample::together);
        let what = "CPU of load and tool / untraced";
        rows.push(Row::new(PART, what, arm, Unit::Ratio, values).should(together(arm)));
    }
    for arm in &there {
        let values = over_untraced(rounds, arm, |sample| speed(&sample.load));
        rows.push(Row::new(
            PART,
            "connections/s / untraced",
            arm,
            Unit::Ratio,
            values,
        ));
    }
    for arm in &there {
        let values = rounds.iter().filter_map(|round| round.of(arm)?.tool_cpu());
        let what = "tool's CPU";
        rows.push(Row::new(PART, what, arm, Unit::SecondsPerMillion, values));
    }
    for (arm, other, most) in AGAINST {
        if there.contains(arm) && there.contains(other) {
            let values = rounds
                .iter()
                .filter_map(|round| round.over(arm, other, Sample::tool_cpu));
            let what = format!("tool's CPU / {other}'s");
            let row = Row::new(PART, &what, arm, Unit::Ratio, values);
            rows.push(row.should(most.map(Target::AtMost)));
        }
    }
    // What matches nothing delivers nothing.
    for arm in there.iter().filter(|arm| **arm != "nothing") {
        let delivered = rounds
            .iter()
            .filter_map(|round| Some(round.of(arm)?.delivered()? * 100.0));
        rows.push(Row::new(PART, "delivered", arm, Unit::Percent, delivered));
    }
    rows
}

/// Whose CPU time is compared with whose, and what it should be. Of `leaks` it is
/// below the rate at which stacks are taken: see the part `loss`.
const AGAINST: &[(&str, &str, Option<f64>)] = &[
    ("trace", "tcpstates", Some(1.0 / 10.0)),
    ("dwell", "tcpstates", Some(1.0 / 50.0)),
    ("ports", "tcpstates", Some(1.0 / 50.0)),
    ("leaks", "tcpstates", None),
    ("record", "perf record", Some(1.0)),
    ("bpftrace", "tcpstates", None),
    ("perf record", "tcpstates", None),
];

fn together(arm: &str) -> Option<Target> {
    match arm {
        "trace" => Some(Target::AtMost(1.25)),
        "dwell" | "leaks" | "ports" => Some(Target::AtMost(1.10)),
        _ => None,
    }
}

fn over_untraced(rounds: &[Round], arm: &str, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
    let rounds = rounds.iter();
    rounds
        .flat_map(|round| round.over_untraced(arm, &of))
        .collect()
}

fn speed(load: &Done) -> f64 {
    crate::load::ratio(load.connections, load.wall_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        row::{Value, Verdict},
        sample::{
            UNTRACED,
            tests::{round, sample},
        },
    };

    #[test]
    fn rows_are_ratios_within_a_round_and_judged_by_the_targets() {
        let one = round(
            PART,
            vec![
                sample(UNTRACED, 100, None),
                sample("trace", 110, Some(10)),
                sample(UNTRACED, 100, None),
                sample("tcpstates", 200, Some(200)),
                sample(UNTRACED, 100, None),
            ],
        );
        let rows = rows(&[one]);
        let of = |what: &str, who: &str| {
            let found = rows.iter().find(|row| row.what == what && row.who == who);
            let row = found.unwrap_or_else(|| panic!("{what} of {who}: {rows:?}"));
            let Value::Measured(spread) = row.value else {
                panic!("{row:?}");
            };
            (spread.median, row.verdict())
        };
        let together = "CPU of load and tool / untraced";
        assert_eq!(of(together, "trace"), (1.2, Some(Verdict::Pass)));
        assert_eq!(of(together, "tcpstates"), (4.0, None));
        let against = "tool's CPU / tcpstates's";
        assert_eq!(of(against, "trace"), (0.05, Some(Verdict::Pass)));
        assert_eq!(of("delivered", "trace"), (100.0, None));
        assert!(rows.iter().all(|row| row.who != "dwell"));
    }
}
