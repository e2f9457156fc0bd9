//! How soon a tool tells of the first event, and what it does while there are
//! none.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use super::{Outcome, Part, Plan, Taking, load};
use crate::{
    arm::Arm,
    kernel,
    load::{Mode, Order},
    process::{Process, wait_for},
    row::{Row, Target, Unit},
};

const PART: &str = "start";
const OURS: [&str; 4] = ["trace", "dwell", "leaks", "ports"];
const IDLE: [&str; 8] = [
    "trace",
    "dwell",
    "leaks",
    "ports",
    "tcpstates",
    "bcc tcpstates",
    "bpftrace",
    "perf record",
];
/// Megabytes.
const MEGA: f64 = 1e6;

/// The first event of a run, in milliseconds after the tool's exec.
struct First {
    /// When the kernel side saw it.
    happened: f64,
    /// When it was in the output.
    written: f64,
}

/// A run without events.
struct Idle {
    /// Milliseconds of CPU in a second.
    cpu: f64,
    /// In a second.
    wake_ups: f64,
    resident: f64,
    maps: f64,
}

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let taking = Taking::new(Part::Start, plan);
    let mut firsts = Vec::new();
    for _ in 0..plan.rounds.max(2) * 2 {
        firsts.push(first(plan)?);
    }
    let mut rows = first_rows(&firsts);
    for arm in plan.tools.these(&IDLE) {
        match idle(plan, arm) {
            Ok(idle) => rows.extend(idle_rows(arm.name, &idle)),
            Err(error) => rows.push(Row::not_measured(
                PART,
                "idle",
                arm.name,
                &format!("{error:#}"),
            )),
        }
    }
    Ok(taking.done(|_| rows))
}

fn first_rows(firsts: &[First]) -> Vec<Row> {
    let of = |what, values: Vec<f64>| Row::new(PART, what, "trace", Unit::Milliseconds, values);
    let happened = firsts.iter().map(|first| first.happened).collect();
    let written = firsts.iter().map(|first| first.written).collect();
    vec![
        of("exec to the first event", happened).should(Target::AtMost(100.0)),
        of("exec to the first event's line", written),
    ]
}

fn idle_rows(arm: &str, idle: &Idle) -> Vec<Row> {
    let ours = OURS.contains(&arm);
    let of = |what, unit, value: f64| Row::new(PART, what, arm, unit, [value]);
    let most = |most| ours.then_some(Target::AtMost(most));
    vec![
        of("CPU in a second, idle", Unit::Milliseconds, idle.cpu).should(most(1.0)),
        of("wake-ups in a second, idle", Unit::PerSecond, idle.wake_ups),
        of(
            "resident at rest, without rings",
            Unit::Megabytes,
            idle.resident / MEGA,
        )
        .should(most(15.0)),
        of(
            "maps at rest, rings included",
            Unit::Megabytes,
            idle.maps / MEGA,
        ),
    ]
}

/// Starts the tool while transitions happen all the time.
fn first(plan: &Plan<'_>) -> Result<First> {
    let mut loading = plan.bench.load(load(Mode::Listen, 1))?;
    loading.begin(Order {
        count: u64::MAX,
        seconds: 1.0,
        rate: Some(5_000.0),
    })?;
    let output = &plan.bench.files().output;
    let mut command = std::process::Command::new(plan.tcpstate);
    command
        .args(["trace", "-o", "json"])
        .stdout(File::create(output)?);
    let (began, began_ns) = (Instant::now(), monotonic());
    let process = Process::start(&mut command)?;
    let happened = wait_first(output)?;
    let written = began.elapsed();
    process.stop()?;
    loading.done()?;
    loading.end()?;
    Ok(First {
        happened: crate::load::ratio(happened.saturating_sub(began_ns), 1_000_000),
        written: written.as_secs_f64() * 1e3,
    })
}

/// Looks ten times as often as the difference that matters.
fn wait_first(output: &Path) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(at) = first_line(output)? {
            return Ok(at);
        }
        anyhow::ensure!(Instant::now() < deadline, "no event in 10 s");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The time of the first transition in the file.
fn first_line(output: &Path) -> Result<Option<u64>> {
    #[derive(Deserialize)]
    struct Line {
        r#type: String,
        mono_ns: Option<u64>,
    }
    /// The start line and one more.
    const ENOUGH: u64 = 16 << 10;
    let mut text = Vec::new();
    File::open(output)?.take(ENOUGH).read_to_end(&mut text)?;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if line.last() != Some(&b'\n') {
            break;
        }
        let line: Line = serde_json::from_slice(line)?;
        if line.r#type == "transition" {
            return Ok(line.mono_ns);
        }
    }
    Ok(None)
}

fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

fn idle(plan: &Plan<'_>, arm: &Arm) -> Result<Idle> {
    let running = plan.bench.start(arm)?;
    let process = &running.process;
    let seconds = if plan.quick { 1.0 } else { 5.0 };
    let (began, cpu, switches) = (Instant::now(), process.cpu_ns()?, process.switches()?);
    wait_for("the time to pass", || {
        Ok((began.elapsed().as_secs_f64() >= seconds).then_some(()))
    })?;
    let took = began.elapsed().as_secs_f64();
    let each_second = |before: u64, after: u64| crate::load::ratio(after - before, 1) / took;
    let idle = Idle {
        cpu: each_second(cpu, process.cpu_ns()?) / 1e6,
        wake_ups: each_second(switches, process.switches()?),
        resident: crate::load::ratio(process.resident()?, 1),
        maps: crate::load::ratio(kernel::map_bytes(process.pid())?, 1),
    };
    running.process.stop()?;
    Ok(idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_transition_is_found_once_its_line_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output");
        let start = "{\"type\":\"start\",\"schema\":1}\n";
        let line = "{\"type\":\"transition\",\"mono_ns\":7,\"old\":\"CLOSE\"}";
        std::fs::write(&path, format!("{start}{line}")).unwrap();
        assert_eq!(first_line(&path).unwrap(), None);
        std::fs::write(&path, format!("{start}{line}\n{{\"typ")).unwrap();
        assert_eq!(first_line(&path).unwrap(), Some(7));
    }
}
