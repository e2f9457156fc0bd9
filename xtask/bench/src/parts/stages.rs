//! The stages by themselves: what `cargo bench` has left in its directory.
//!
//! `cargo xtask bench` runs it before this program, without privilege.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::{Outcome, Plan};
use crate::row::{Row, Target, Unit};

const PART: &str = "stages";
/// The names in `tcpstate-user/benches/stages.rs`.
const MANY: &str = "decode and track/1000000";
const FEW: &str = "decode and track/1000";

/// One benchmark of criterion's.
#[derive(Debug, Clone, PartialEq)]
struct Stage {
    name: String,
    /// Nanoseconds for a record: median, and where it is with 95 % certainty.
    each: [f64; 3],
}

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Throughput,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Throughput {
    elements: f64,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut stages = Vec::new();
    find(plan.stages, &mut stages)?;
    ensure!(!stages.is_empty(), "nothing in {}", plan.stages.display());
    stages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Outcome {
        rounds: Vec::new(),
        rows: rows(&stages),
    })
}

/// The newest result of each benchmark lies in a directory `new`.
fn find(directory: &Path, stages: &mut Vec<Stage>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == "new") {
            stages.push(stage(&path)?);
        } else if path.is_dir() {
            find(&path, stages)?;
        }
    }
    Ok(())
}

fn stage(directory: &Path) -> Result<Stage> {
    let read = |name: &str| -> Result<(PathBuf, String)> {
        let path = directory.join(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok((path, text))
    };
    let (path, text) = read("benchmark.json")?;
    let benchmark: Benchmark =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let (path, text) = read("estimates.json")?;
    let estimates: Estimates =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let median = estimates.median;
    let bounds = median.confidence_interval;
    let each = [
        median.point_estimate,
        bounds.lower_bound,
        bounds.upper_bound,
    ];
    Ok(Stage {
        name: benchmark.full_id,
        each: each.map(|ns| ns / benchmark.throughput.elements),
    })
}

fn rows(stages: &[Stage]) -> Vec<Row> {
    let each = |stage: &Stage| stage.each.map(|ns| 1e3 / ns);
    let mut rows: Vec<_> = stages
        .iter()
        .map(|stage| {
            let unit = Unit::MillionPerSecond;
            let row = Row::new(PART, "records, one core", &stage.name, unit, each(stage));
            row.should((stage.name == MANY).then_some(Target::AtLeast(8.0)))
        })
        .collect();
    let of = |name: &str| stages.iter().find(|stage| stage.name == name);
    if let (Some(many), Some(few)) = (of(MANY), of(FEW)) {
        let what = "a record / with 1000 sockets";
        let row = Row::new(PART, what, MANY, Unit::Ratio, [many.each[0] / few.each[0]]);
        rows.push(row.should(Target::AtMost(1.5)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Verdict;

    #[test]
    fn results_are_found_by_their_directory_and_judged() {
        let directory = tempfile::tempdir().unwrap();
        let new = directory.path().join("decode_track/1000000/new");
        fs::create_dir_all(&new).unwrap();
        let benchmark = r#"{"full_id":"decode and track/1000000","throughput":{"Elements":1000}}"#;
        let estimates = r#"{"median":{"confidence_interval":{"lower_bound":90000.0,"upper_bound":110000.0},"point_estimate":100000.0}}"#;
        fs::write(new.join("benchmark.json"), benchmark).unwrap();
        fs::write(new.join("estimates.json"), estimates).unwrap();
        let mut stages = Vec::new();
        find(directory.path(), &mut stages).unwrap();
        assert_eq!(stages[0].each, [100.0, 90.0, 110.0]);
        let rows = rows(&stages);
        assert_eq!(rows[0].verdict(), Some(Verdict::Pass));
    }
}
