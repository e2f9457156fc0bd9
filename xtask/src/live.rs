//! The live tests on this machine's own kernel.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cargo,
    exec::lines,
    machine::{self, workspace},
    matrix::{Column, Fact},
};

/// The column of this machine.
pub(crate) fn here() -> Column {
    Column::run("here", run)
}

/// The target `live` is not part of `cargo test`: it wants root.
fn run(column: &mut Column) -> Result<()> {
    let directory = workspace().join("target/vm");
    fs::create_dir_all(&directory)?;
    let facts = directory.join("here.facts");
    begin_facts(&facts)?;
    let threads = format!("--test-threads={THREADS}");
    // The flood for itself: every other test's instance would see it too.
    let verdict = pass(column, &facts, &[&threads, "--skip", FLOOD])
        .and_then(|()| pass(column, &facts, &[FLOOD]));
    let told = fs::read_to_string(&facts).with_context(|| facts.display().to_string())?;
    column.facts.extend(told.lines().filter_map(Fact::parse));
    verdict
}

/// Tests that make so many sockets that nothing can be measured beside them.
const FLOOD: &str = "timewait_many";

fn pass(column: &mut Column, facts: &Path, arguments: &[&str]) -> Result<()> {
    let mut test = cargo::command("test");
    if !machine::is_root() {
        // Fails early and by name if there is no sudo.
        machine::privileged("true")?;
        test.args(["--config", "target.'cfg(unix)'.runner = 'sudo -E'"]);
    }
    test.args(["--locked", "--package=tcpstate-user", "--test=live", "--"])
        .args(arguments)
        .env("TCPSTATE_FACTS", facts);
    lines(&mut test, |line| column.read(line))
}

/// Tests at once. Most of the time goes by waiting; libtest would run as many as
/// there are CPUs, and one minute of `TIME_WAIT` after the other.
const THREADS: u32 = 8;

/// Tests, by parts of their names, that wait for the kernel's timers: in an
/// emulated machine, which has no CPU to spare, they run beside the others
/// (`tests/vm/init`).
pub(crate) const WAITING: &[&str] = &["timewait"];

fn begin_facts(file: &Path) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let fact = format!("kernel\trelease\t{}\n", release.trim());
    fs::write(file, fact).with_context(|| file.display().to_string())
}
