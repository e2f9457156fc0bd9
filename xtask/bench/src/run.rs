//! The whole run: parts one after the other, and their rows as one report.

use std::{fs::File, io::Write as _, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum as _};
use serde::Serialize;

use crate::{
    arm::Tools,
    load::ratio,
    machine::Machine,
    measure::Bench,
    parts::{Part, Plan, say},
    process,
    row::{Row, Verdict},
    sample::{Round, Sample},
};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The tool
    #[arg(long)]
    tcpstate: PathBuf,
    /// Where the benchmark of the stages has left its results
    #[arg(long)]
    stages: PathBuf,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only these parts
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Small, to see that it works; its numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Everything that was measured, and what follows from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds_of_each: u32,
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) rounds: Vec<Round>,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn command(run: &Run) -> Result<()> {
    let began = Instant::now();
    process::watch_interrupts();
    // Opened before the long run.
    let json = run
        .json
        .as_ref()
        .map(|path| File::create(path).with_context(|| path.display().to_string()));
    let json = json.transpose()?;
    let plan = Plan {
        bench: Bench::new()?,
        tools: Tools::find(&run.tcpstate),
        tcpstate: &run.tcpstate,
        stages: &run.stages,
        rounds: if run.quick { 1 } else { run.rounds.max(1) },
        quick: run.quick,
    };
    let mut report = Report {
        machine: Machine::look()?,
        rounds_of_each: plan.rounds,
        ..Report::default()
    };
    for part in Part::value_variants() {
        let wanted = run.only.is_empty() || run.only.contains(part);
        if wanted && !process::interrupted() {
            let outcome = part.run(&plan);
            report.rows.extend(outcome.rows);
            report.rounds.extend(outcome.rounds);
        }
    }
    let missing = plan.tools.missing().iter();
    let missing = missing.map(|(name, why)| Row::not_measured("all", "all", name, why));
    report.rows.extend(missing);
    report.seconds = began.elapsed().as_secs_f64();
    if let Some(mut file) = json {
        serde_json::to_writer(&mut file, &report)?;
        writeln!(file)?;
    }
    println!("{report}");
    say(format_args!("{:.0} s", report.seconds));
    ensure!(!process::interrupted(), "interrupted: this is not all");
    Ok(())
}

impl Report {
    /// How many targets were met.
    pub(crate) fn verdicts(&self) -> String {
        let judged = self.rows.iter().filter(|row| row.target.is_some());
        let verdicts: Vec<_> = judged.map(Row::verdict).collect();
        let met = verdicts.iter().filter(|it| **it == Some(Verdict::Pass));
        let absent = verdicts.iter().filter(|it| it.is_none());
        format!(
            "{} of {} targets met; {} of them not measured",
            met.count(),
            verdicts.len(),
            absent.count()
        )
    }

    /// How much else the machine did meanwhile.
    pub(crate) fn unrest(&self) -> String {
        let samples = self.rounds.iter().flat_map(|round| &round.samples);
        let disturbed: Vec<_> = samples.filter(|sample| is_disturbed(sample)).collect();
        let foreign = match self.machine.foreign_programs {
            0 => String::new(),
            count => format!("; {count} BPF programs of others were loaded"),
        };
        let Some(most) = disturbed.iter().map(|sample| percent(sample)).max() else {
            return format!("nothing else was at work{foreign}");
        };
        let samples: usize = self.rounds.iter().map(|round| round.samples.len()).sum();
        format!(
            "DO NOT QUOTE: beside {} of {samples} samples something else was at work, \
             on up to {most} % of a CPU{foreign}",
            disturbed.len(),
        )
    }
}

/// 15 % of a CPU and more. What is shorter than the clock's ticks can tell, 10
/// ms each, is not judged.
fn is_disturbed(sample: &Sample) -> bool {
    sample.load.wall_ns > 200_000_000 && percent(sample) >= 15
}

fn percent(sample: &Sample) -> u64 {
    let share = ratio(sample.others_ns, sample.load.wall_ns) * 100.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage, not negative"
    )]
    let whole = share as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::{round, sample};

    #[test]
    fn a_busy_machine_is_named_in_the_result() {
        let mut busy = sample("trace", 1_000_000_000, Some(1));
        let mut report = Report {
            rounds: vec![round("cost", vec![busy.clone()])],
            ..Report::default()
        };
        assert_eq!(report.unrest(), "nothing else was at work");
        busy.others_ns = 900_000_000;
        report.rounds[0].samples.push(busy);
        let unrest = report.unrest();
        assert!(
            unrest.starts_with("DO NOT QUOTE: beside 1 of 2"),
            "{unrest}"
        );
        assert!(unrest.contains("90 %"), "{unrest}");
    }
}
