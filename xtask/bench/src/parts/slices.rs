//! What a tool adds to a transition in the task that makes it: slices of some
//! milliseconds in one process on one CPU, each with a slice without the tool
//! before and after it.
//!
//! The process makes nothing but transitions, so that an added tenth of a
//! microsecond can be seen; tools have the other CPUs to themselves.

use anyhow::Result;

use super::{Outcome, Part, Plan, Taking, count, load};
use crate::{
    arm::Arm,
    kernel::Reference,
    load::{Mode, Order},
    machine,
    measure::{Loading, alone, beside},
    row::{Row, Target, Unit},
    sample::{Round, Sample, UNTRACED},
};

const PART: &str = "slices";
const ARMS: [&str; 6] = [
    "trace",
    "dwell",
    "leaks",
    "nothing",
    "tcpstates",
    "bpftrace",
];

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut taking = Taking::new(Part::Slices, plan);
    let arms = plan.tools.these(&ARMS);
    // One process for all slices, on the CPU where it was put by the kernel: it
    // does not sleep in a slice.
    let mut loading = plan.bench.load(load(Mode::Listen, 1))?;
    let order = count(if plan.quick { 5_000 } else { 60_000 });
    for number in 0..plan.rounds {
        let mut samples = Vec::new();
        for reference in [Reference::Empty, Reference::Count] {
            taking.keep(&mut samples, UNTRACED, || alone(&mut loading, order, None));
            taking.keep(&mut samples, reference.name(), || {
                let _attached = reference.attach()?;
                let arm = reference.name().to_owned();
                Ok(Sample {
                    arm,
                    ..alone(&mut loading, order, None)?
                })
            });
        }
        for arm in super::rotated(&arms, number as usize) {
            taking.keep(&mut samples, UNTRACED, || alone(&mut loading, order, None));
            taking.keep(&mut samples, arm.name, || {
                slice(plan, arm, &mut loading, order)
            });
        }
        taking.keep(&mut samples, UNTRACED, || alone(&mut loading, order, None));
        taking.push("", samples);
    }
    loading.end()?;
    Ok(taking.done(rows))
}

fn slice(plan: &Plan<'_>, arm: &Arm, loading: &mut Loading, order: Order) -> Result<Sample> {
    machine::settle()?;
    let running = plan.bench.start(arm)?;
    beside(running, loading, order, None)
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let references = [Reference::Empty, Reference::Count].map(Reference::name);
    let mut rows = Vec::new();
    let untraced = rounds.iter().flat_map(|round| &round.samples);
    let untraced = untraced.filter(|sample| sample.arm == UNTRACED);
    let what = "a transition, with what makes it";
    let each = untraced.map(|sample| sample.load.each());
    rows.push(Row::new(PART, what, UNTRACED, Unit::Nanoseconds, each));
    for arm in references.iter().chain(&ARMS) {
        let values: Vec<_> = rounds.iter().flat_map(|round| added(round, arm)).collect();
        if values.is_empty() {
            continue;
        }
        let what = "added to a transition";
        let row = Row::new(PART, what, arm, Unit::Nanoseconds, values);
        let is_judged = matches!(*arm, "trace" | "dwell" | "leaks");
        rows.push(row.should(is_judged.then_some(Target::AtMost(150.0))));
    }
    rows
}

/// CPU time of the load for a transition, less than that without: by the ratio to
/// the slices beside it, and what those took.
fn added(round: &Round, arm: &str) -> Vec<f64> {
    let ratios = round.over_untraced(arm, |sample| sample.load.each());
    let with = round.of(arm).map(|sample| sample.load.each());
    let added = |ratio: f64| with.map(|with| with - with / ratio);
    ratios.into_iter().filter_map(added).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::{round, sample};

    #[test]
    fn what_is_added_is_the_difference_to_the_slices_beside_it() {
        let round = round(
            PART,
            vec![
                sample(UNTRACED, 500_000, None),
                sample("trace", 650_000, Some(1)),
                sample(UNTRACED, 500_000, None),
            ],
        );
        let added = added(&round, "trace");
        assert!((added[0] - 150.0).abs() < 1e-6, "{added:?}");
    }
}
