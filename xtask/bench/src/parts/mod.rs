//! The parts of the benchmark. Each takes samples in rounds, and makes rows of
//! rounds without looking at anything else.

mod cost;
mod loss;
mod memory;
mod programs;
mod slices;
mod stages;
mod start;

use std::{fmt::Display, io::Write as _};

use anyhow::Result;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{
    arm::{Arm, Tools},
    load::{Load, Mode, Order},
    measure::{Also, Bench},
    process::interrupted,
    row::Row,
    sample::{Round, Sample, UNTRACED},
};

/// One of them, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// What load and tool cost together
    Cost,
    /// What is delivered and what is lost, at several rates and at full speed
    Loss,
    /// Time in programs, by the kernel's statistics
    Programs,
    /// What is added to a transition in the traced task
    Slices,
    /// Memory, of the process and of maps
    Memory,
    /// Start and idleness
    Start,
    /// The stages by themselves
    Stages,
}

/// What the parts are given.
pub(crate) struct Plan<'a> {
    pub(crate) bench: Bench,
    pub(crate) tools: Tools,
    /// The tool itself.
    pub(crate) tcpstate: &'a std::path::Path,
    /// Where criterion has left its results.
    pub(crate) stages: &'a std::path::Path,
    pub(crate) rounds: u32,
    /// Only to see that it works.
    pub(crate) quick: bool,
}

/// What a part came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rounds: Vec<Round>,
    pub(crate) rows: Vec<Row>,
}

impl Part {
    /// Runs it. What of it fails is a row that says so.
    pub(crate) fn run(self, plan: &Plan<'_>) -> Outcome {
        say(format_args!("== {}", self.name()));
        let outcome = match self {
            Self::Cost => cost::run(plan),
            Self::Loss => loss::run(plan),
            Self::Programs => programs::run(plan),
            Self::Slices => slices::run(plan),
            Self::Memory => memory::run(plan),
            Self::Start => start::run(plan),
            Self::Stages => stages::run(plan),
        };
        outcome.unwrap_or_else(|error| Outcome {
            rounds: Vec::new(),
            rows: vec![Row::not_measured(
                self.name(),
                "all",
                "-",
                &format!("{error:#}"),
            )],
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Loss => "loss",
            Self::Programs => "programs",
            Self::Slices => "slices",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Stages => "stages",
        }
    }
}

/// A load in one thread or more with nothing held.
const fn load(mode: Mode, threads: u8) -> Load {
    Load {
        mode,
        threads,
        hold: 0,
    }
}

/// So many connections, as fast as possible.
const fn count(count: u64) -> Order {
    Order {
        count,
        seconds: 60.0,
        rate: None,
    }
}

/// Collects samples; a failure is a row, and the next sample is taken.
struct Taking<'a> {
    part: &'static str,
    outcome: Outcome,
    plan: &'a Plan<'a>,
}

impl<'a> Taking<'a> {
    fn new(part: Part, plan: &'a Plan<'a>) -> Self {
        Self {
            part: part.name(),
            outcome: Outcome::default(),
            plan,
        }
    }

    /// Every arm once, each between two untraced runs, in another order each time.
    fn interleaved(&mut self, number: u32, arms: &[&Arm], load: Load, order: Order, also: Also) {
        let plan = self.plan;
        let take = |arm| plan.bench.sample(arm, load, order, also);
        let mut samples = Vec::new();
        self.keep(&mut samples, UNTRACED, || take(None));
        for arm in rotated(arms, number as usize) {
            self.keep(&mut samples, arm.name, || take(Some(arm)));
            self.keep(&mut samples, UNTRACED, || take(None));
        }
        self.push("", samples);
    }

    fn keep(
        &mut self,
        samples: &mut Vec<Sample>,
        who: &str,
        take: impl FnOnce() -> Result<Sample>,
    ) {
        if interrupted() {
            return;
        }
        match take() {
            Ok(sample) => samples.push(sample),
            Err(error) => self.failed(who, &error),
        }
    }

    fn failed(&mut self, who: &str, error: &anyhow::Error) {
        say(format_args!("{who}: {error:#}"));
        let why = format!("{error:#}");
        let row = Row::not_measured(self.part, "a run", who, &why);
        self.outcome.rows.push(row);
    }

    fn push(&mut self, setting: &str, samples: Vec<Sample>) {
        say(format_args!(
            "   {} {setting} ({} samples)",
            self.part,
            samples.len()
        ));
        self.outcome.rounds.push(Round {
            part: self.part.to_owned(),
            setting: setting.to_owned(),
            samples,
        });
    }

    /// The rows of all rounds, before those of what failed.
    fn done(mut self, rows: impl FnOnce(&[Round]) -> Vec<Row>) -> Outcome {
        let failed = std::mem::take(&mut self.outcome.rows);
        self.outcome.rows = rows(&self.outcome.rounds);
        self.outcome.rows.extend(failed);
        self.outcome
    }
}

fn rotated<T: Copy>(items: &[T], by: usize) -> Vec<T> {
    let mut items = items.to_vec();
    let length = items.len().max(1);
    items.rotate_left(by % length);
    items
}

/// Progress, for a person.
#[expect(
    clippy::print_stderr,
    reason = "progress of the benchmark, for a person"
)]
pub(crate) fn say(line: impl Display) {
    eprintln!("{line}");
    let _gone = std::io::stderr().flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_has_its_turn_in_every_place() {
        assert_eq!(rotated(&[1, 2, 3], 1), [2, 3, 1]);
        assert_eq!(rotated(&[1, 2, 3], 5), [3, 1, 2]);
        assert!(rotated::<u8>(&[], 5).is_empty());
    }
}
