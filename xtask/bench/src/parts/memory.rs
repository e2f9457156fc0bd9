//! Memory of the process and of its maps, beside live sockets; and a million
//! sockets, which come as records out of a recording: that many real ones a
//! machine of this kind does not let one user have.

use std::{fs::File, process::Command};

use anyhow::{Context as _, Result};
use rustix::process::{Resource, getrlimit};

use super::{Outcome, Part, Plan, Taking, load};
use crate::{
    arm::Arm,
    kernel,
    load::{Load, Mode, ratio},
    measure::Loading,
    process::Process,
    recording,
    row::{Row, Target, Unit},
};

const PART: &str = "memory";
const ARMS: [&str; 5] = ["trace", "dwell", "leaks", "ports", "tcpstates"];
/// Live sockets: both ends of half as many connections.
const LIVE: [u32; 2] = [1_000, 100_000];
const MANY: u64 = 1_000_000;
const FEW: u64 = 1_000;
const MEGA: f64 = 1e6;

pub(super) fn run(plan: &Plan<'_>) -> Result<Outcome> {
    let mut taking = Taking::new(Part::Memory, plan);
    let mut rows = Vec::new();
    for sockets in LIVE {
        let sockets = if plan.quick {
            sockets.min(4_000)
        } else {
            sockets
        };
        match held(plan, sockets) {
            Ok(holders) => {
                for arm in plan.tools.these(&ARMS) {
                    match beside(plan, arm, sockets) {
                        Ok(more) => rows.extend(more),
                        Err(error) => taking.failed(arm.name, &error),
                    }
                }
                for holder in holders {
                    holder.end()?;
                }
            }
            Err(error) => taking.failed(&format!("{sockets} live sockets"), &error),
        }
    }
    match replayed(plan) {
        Ok(more) => rows.extend(more),
        Err(error) => taking.failed("a million sockets", &error),
    }
    Ok(taking.done(|_| rows))
}

/// Processes that hold so many sockets together: each may have only so many
/// descriptors.
fn held(plan: &Plan<'_>, sockets: u32) -> Result<Vec<Loading>> {
    /// For everything else.
    const RESERVE: u64 = 100;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let each = u32::try_from(limit.saturating_sub(RESERVE)).unwrap_or(u32::MAX);
    let mut left = sockets / 2;
    let mut holders = Vec::new();
    while left > 0 {
        let hold = left.min(each);
        let load = Load {
            hold,
            ..load(Mode::Listen, 1)
        };
        holders.push(plan.bench.load(load)?);
        left -= hold;
    }
    Ok(holders)
}

fn beside(plan: &Plan<'_>, arm: &Arm, sockets: u32) -> Result<Vec<Row>> {
    let running = plan.bench.start(arm)?;
    let resident = ratio(running.process.resident()?, 1);
    let maps = ratio(kernel::map_bytes(running.process.pid())?, 1);
    running.process.stop()?;
    let who = format!("{}, {sockets} live", arm.name);
    let of = |what, value| Row::new(PART, what, &who, Unit::Megabytes, [value / MEGA]);
    Ok(vec![
        of("resident, without rings", resident),
        of("maps, rings included", maps),
    ])
}

/// What it took to replay a recording.
struct Replay {
    cpu_ns: u64,
    most_resident: u64,
}

/// Births only, and as many records more: their difference is the steady state.
struct Pair {
    births: Replay,
    more: Replay,
}

impl Pair {
    /// Nanoseconds of CPU for a record beyond the births.
    fn each(&self, records: u64) -> f64 {
        let cpu_ns = self.more.cpu_ns.saturating_sub(self.births.cpu_ns);
        ratio(cpu_ns, records)
    }
}

fn replayed(plan: &Plan<'_>) -> Result<Vec<Row>> {
    let many = if plan.quick { MANY / 20 } else { MANY };
    let records = 4 * many;
    let (mut cost, mut resident, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds.min(3) {
        let few = pair(plan, FEW, records)?;
        let much = pair(plan, many, records)?;
        cost.push(much.each(records) / few.each(records));
        let most = much.more.most_resident;
        resident.push(ratio(most, 1) / MEGA);
        let grown = most.saturating_sub(few.more.most_resident);
        bytes.push(ratio(grown, many - FEW));
    }
    let who = format!("dwell --replay, {many} by records");
    let of = |what, unit, values: Vec<f64>| Row::new(PART, what, &who, unit, values);
    Ok(vec![
        of("resident at most", Unit::Megabytes, resident).should(Target::AtMost(200.0)),
        of("for a socket", Unit::Bytes, bytes),
        of("CPU for a record / with 1000 sockets", Unit::Ratio, cost).should(Target::AtMost(1.5)),
    ])
}

fn pair(plan: &Plan<'_>, sockets: u64, records: u64) -> Result<Pair> {
    Ok(Pair {
        births: replay(plan, sockets, 0)?,
        more: replay(plan, sockets, records)?,
    })
}

fn replay(plan: &Plan<'_>, sockets: u64, more: u64) -> Result<Replay> {
    let path = &plan.bench.files().recording;
    recording::write(path, usize::try_from(sockets)?, more)?;
    let mut command = Command::new(plan.tcpstate);
    command.args(["dwell", "-o", "json", "--replay"]).arg(path);
    command.stdout(File::create(&plan.bench.files().output)?);
    let usage = Process::start(&mut command)?.wait()?;
    let status = usage.status;
    anyhow::ensure!(status == 0, "the replay ended with {status:#x}");
    std::fs::remove_file(path).context("the recording")?;
    Ok(Replay {
        cpu_ns: usage.cpu_ns,
        most_resident: usage.most_resident,
    })
}
