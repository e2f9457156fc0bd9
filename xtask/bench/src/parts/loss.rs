//! What of the transitions that happened each tool delivers, and what it says of
//! the rest: at several rates, at full speed, and beyond what TCP can do.
//!
//! What happened is counted by a program of our own. It is attached in untraced
//! runs too.

use anyhow::Result;

use super::{Outcome, Part, Plan, Taking, load};
use crate::{
    load::{Load, Mode, Order},
    measure::Also,
    row::{Row, Target, Unit, Value},
    sample::{Round, Sample, UNTRACED},
};

const PART: &str = "loss";
const OURS: [&str; 5] = ["trace", "dwell", "leaks", "ports", "record"];
const PEERS: [&str; 4] = ["tcpstates", "bcc tcpstates", "bpftrace", "perf record"];
/// Rounds beyond this would take too long.
const MOST: u32 = 2;

/// A load, by what the table calls it.
#[derive(Clone, Copy)]
struct Setting {
    name: &'static str,
    mode: Mode,
    /// Connections in a second; none is full speed.
    rate: Option<f64>,
    /// Connections that stay meanwhile.
    hold: u32,
    /// Whether every tool is run, or `trace` only.
    all: bool,
}

const fn all(name: &'static str, mode: Mode, rate: Option<f64>) -> Setting {
    Setting {
        name,
        mode,
        rate,
        hold: 0,
        all: true,
    }
}

/// At full speed.
const fn trace_only(name: &'static str, mode: Mode, hold: u32) -> Setting {
    Setting {
        name,
        mode,
        rate: None,
        hold,
        all: false,
    }
}

const SLOW: &str = "1,000 conn/s";
const FASTEST: &str = "two CPUs' most";
const SETTINGS: [Setting; 11] = [
    all(SLOW, Mode::ClientFin, Some(1_000.0)),
    all("5,000 conn/s", Mode::ClientFin, Some(5_000.0)),
    all("20,000 conn/s", Mode::ClientFin, Some(20_000.0)),
    all("50,000 conn/s", Mode::ClientFin, Some(50_000.0)),
    all("full speed", Mode::ClientFin, None),
    trace_only("full speed, 10,000 beside", Mode::ClientFin, 10_000),
    trace_only("server closes first", Mode::ServerFin, 0),
    trace_only("client aborts", Mode::ClientReset, 0),
    trace_only("server aborts", Mode::ServerReset, 0),
    trace_only("refused", Mode::Refused, 0),
    all(FASTEST, Mode::Listen, None),
];

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut taking = Taking::new(Part::Loss, plan);
    for number in 0..plan.rounds.min(MOST) {
        for setting in SETTINGS {
            let samples = under(&setting, number, &mut taking);
            taking.push(setting.name, samples);
        }
    }
    Ok(taking.done(rows))
}

/// The load alone, then beside each tool.
fn under(setting: &Setting, number: u32, taking: &mut Taking<'_>) -> Vec<Sample> {
    let plan = taking.plan;
    let names: Vec<_> = match setting.all {
        true => OURS.iter().chain(&PEERS).copied().collect(),
        false => vec!["trace"],
    };
    let order = Order {
        count: u64::MAX,
        seconds: if plan.quick { 0.3 } else { 1.5 },
        rate: setting.rate,
    };
    let load = Load {
        hold: setting.hold,
        ..load(setting.mode, 2)
    };
    let also = Also {
        count: true,
        programs: false,
    };
    let take = |arm| plan.bench.sample(arm, load, order, also);
    let mut samples = Vec::new();
    taking.keep(&mut samples, UNTRACED, || take(None));
    for arm in super::rotated(&plan.tools.these(&names), number as usize) {
        taking.keep(&mut samples, arm.name, || take(Some(arm)));
    }
    samples
}

fn rows(rounds: &[Round]) -> Vec<Row> {
    let mut rows = Vec::new();
    for setting in SETTINGS {
        let of: Vec<_> = rounds
            .iter()
            .filter(|round| round.setting == setting.name)
            .collect();
        for arm in OURS.iter().chain(&PEERS) {
            let samples: Vec<_> = of.iter().filter_map(|round| round.of(arm)).collect();
            if !samples.is_empty() {
                rows.extend(of_arm(&setting, arm, &samples));
            }
        }
        if setting.name == SLOW {
            rows.push(leaks(&of));
        }
    }
    rows
}

fn of_arm(setting: &Setting, arm: &str, samples: &[&Sample]) -> Vec<Row> {
    let ours = OURS.contains(&arm);
    let who = format!("{arm}, {}", setting.name);
    let of = |what, unit, values: Vec<f64>| Row::new(PART, what, &who, unit, values);
    let mut rows = Vec::new();
    if setting.name == FASTEST || setting.rate.is_none() {
        let rates = samples.iter().map(|sample| sample.load.rate() / 1e6);
        let row = of(
            "transitions reached",
            Unit::MillionPerSecond,
            rates.collect(),
        );
        rows.push(row.should(reached(setting, arm)));
    }
    let delivered = samples
        .iter()
        .filter_map(|it| Some(it.delivered()? * 100.0));
    rows.push(of("delivered", Unit::Percent, delivered.collect()));
    let lost = samples.iter().filter_map(|sample| lost(sample));
    let row = of("lost, told", Unit::Percent, lost.collect());
    rows.push(row.should(ours.then_some(Target::Never(0.0))));
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let silent = samples.iter().filter_map(|it| Some(it.silent()? as f64));
    let row = of("lost, not told", Unit::Count, silent.collect());
    rows.push(row.should(ours.then_some(Target::Never(0.0))));
    if ours {
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let invented = samples.iter().filter_map(|it| Some(it.invented()? as f64));
        let row = of("delivered, did not happen", Unit::Count, invented.collect());
        rows.push(row.should(Target::Never(0.0)));
    }
    let cpu = samples.iter().filter_map(|sample| sample.tool_cpu());
    rows.push(of("tool's CPU", Unit::SecondsPerMillion, cpu.collect()));
    // perf says that it has lost something, and not how much.
    rows.retain(|row| ours || matches!(row.value, Value::Measured(_)));
    rows
}

/// Below the rate at which stacks are taken, which is 20 a second for a process,
/// hardly anything could be measured: the burst alone is 64.
fn leaks(rounds: &[&Round]) -> Row {
    let values = rounds
        .iter()
        .filter_map(|round| round.over("leaks", "tcpstates", Sample::tool_cpu));
    let who = format!("leaks, {SLOW}");
    let row = Row::new(PART, "tool's CPU / tcpstates's", &who, Unit::Ratio, values);
    row.should(Target::AtMost(1.0 / 50.0))
}

fn reached(setting: &Setting, arm: &str) -> Option<Target> {
    if setting.name != FASTEST {
        return None;
    }
    match arm {
        "trace" => Some(Target::AtLeast(1.2)),
        "dwell" | "leaks" | "ports" => Some(Target::AtLeast(1.4)),
        _ => None,
    }
}

fn lost(sample: &Sample) -> Option<f64> {
    let happened = sample.happened.unwrap_or(sample.load.transitions);
    Some(crate::load::ratio(sample.tool.as_ref()?.lost?, happened) * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        row::Verdict,
        sample::tests::{round, sample},
    };

    #[test]
    fn a_loss_of_ours_is_short_whether_it_is_told_or_not() {
        let mut told = sample("trace", 1, Some(1));
        told.happened = Some(1_010);
        told.tool.as_mut().unwrap().lost = Some(10);
        let mut not_told = sample("dwell", 1, Some(1));
        not_told.happened = Some(1_010);
        let mut round = round(PART, vec![told, not_told]);
        round.setting = FASTEST.to_owned();
        let rows = rows(&[round]);
        let verdict = |what: &str, arm: &str| {
            let who = format!("{arm}, {FASTEST}");
            let row = rows.iter().find(|row| row.what == what && row.who == who);
            row.unwrap().verdict()
        };
        assert_eq!(verdict("lost, told", "trace"), Some(Verdict::Short));
        assert_eq!(verdict("lost, not told", "trace"), Some(Verdict::Pass));
        assert_eq!(verdict("lost, told", "dwell"), Some(Verdict::Pass));
        assert_eq!(verdict("lost, not told", "dwell"), Some(Verdict::Short));
        assert_eq!(verdict("transitions reached", "trace"), Some(Verdict::Pass));
    }
}
