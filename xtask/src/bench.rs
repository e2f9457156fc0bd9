//! `cargo xtask bench`: what tcpstate and its peers cost this machine.
//!
//! Installs, builds, and hands over to `tcpstate-bench`, which measures and
//! judges. It knows no measurement but that of the stages, which needs cargo and
//! no privilege.

use std::{os::unix::process::CommandExt as _, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{
    build, cargo,
    exec::{exec, say},
    machine::{privileged, workspace},
    packages::{self, PEERS, Program},
    setup,
};

/// What to measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = PARTS)]
    only: Vec<String>,
    /// Small, to see that it works; its numbers mean nothing
    #[arg(long)]
    quick: bool,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Those of `tcpstate-bench`.
const PARTS: [&str; 7] = [
    "cost", "loss", "programs", "slices", "memory", "start", STAGES,
];
/// The part that cargo measures.
const STAGES: &str = "stages";

pub(crate) fn command(asked: &Bench) -> Result<()> {
    let route = setup::for_building()?;
    install_peers();
    if asked.only.is_empty() || asked.only.iter().any(|part| part == STAGES) {
        measure_stages(asked.quick)?;
    }
    // After the stages: for these cargo builds the program too, with the
    // dependencies of tests.
    let tcpstate = build::release(&route)?;
    let built = cargo::build(cargo::command("build").args([
        "--locked",
        "--release",
        "--package=tcpstate-bench",
    ]))?;
    let mut bench = privileged(built.executable("tcpstate-bench")?)?;
    bench.arg("run").arg("--tcpstate").arg(tcpstate);
    bench
        .arg("--stages")
        .arg(workspace().join("target/criterion"));
    bench.arg(format!("--rounds={}", asked.rounds));
    bench.args(asked.only.iter().map(|part| format!("--only={part}")));
    if asked.quick {
        bench.arg("--quick");
    }
    if let Some(path) = &asked.json {
        bench.arg("--json").arg(path);
    }
    // It takes over the terminal and the signals: Ctrl-C ends it in order.
    Err(bench.exec()).with_context(|| format!("cannot start {bench:?}"))
}

/// A peer that cannot be had is missing in the table, with the reason; the rest
/// is measured.
fn install_peers() {
    let lacking: Vec<&Program> = packages::missing(PEERS);
    if lacking.is_empty() {
        return;
    }
    if !packages::has_apt() {
        return say("peers are installed on Debian only; what is not here is not measured");
    }
    if let Err(error) = packages::update() {
        say(format_args!("warning: {error:#}"));
    }
    // One at a time: none that is not in this release keeps another away.
    for program in lacking {
        let one = [program.package];
        let there = packages::available(&one).unwrap_or(false);
        if let Err(error) = there.then(|| packages::install(&one)).transpose() {
            say(format_args!("warning: {}: {error:#}", program.name));
        }
    }
}

fn measure_stages(quick: bool) -> Result<()> {
    let mut stages = cargo::command("bench");
    stages.args([
        "--locked",
        "--package=tcpstate-user",
        "--bench=stages",
        "--",
    ]);
    if quick {
        // criterion's least: 10 samples of each.
        stages.args([
            "--warm-up-time=0.1",
            "--measurement-time=0.2",
            "--sample-size=10",
        ]);
    }
    exec(&mut stages)
}
