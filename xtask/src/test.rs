//! `cargo xtask test`: every check, none left out in silence.

use std::process::ExitCode;

use anyhow::{Context as _, Error, Result, bail};

use crate::{
    cargo,
    exec::{exec, say},
    kernels::{self, KERNELS, Kernel},
    live::{self, EACH_TIME},
    machine::workspace,
    matrix::{self, Column, End, Matrix},
    route::Route,
    setup,
    summary::{Outcome, Summary},
    vm,
};

/// The status only: the summary has said everything, and is the last word.
pub(crate) fn command() -> ExitCode {
    let mut summary = Summary::default();
    summary.check("set-up", || passed(setup::for_tests()));
    if summary.failed() == 0 {
        let mut matrix = Matrix::default();
        checks(&mut summary, &mut matrix);
        if let Err(error) = matrix::print(&matrix) {
            say(format_args!("error: {error:#}"));
        }
    }
    tell(&summary);
    match summary.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn checks(summary: &mut Summary, matrix: &mut Matrix) {
    summary.check("formatting", formatting);
    summary.check("lints, host target", host_lints);
    summary.check("lints, BPF target", bpf_lints);
    summary.check("unit, doc, scenario and replay tests", tests);
    live_tests(summary, matrix);
}

fn formatting() -> Result<Outcome> {
    passed(exec(cargo::command("fmt").args(["--all", "--check"])))
}

fn host_lints() -> Result<Outcome> {
    let mut clippy = cargo::command("clippy");
    clippy.args(["--locked", "--workspace", "--all-targets"]);
    exec(clippy.args(["--", "--deny=warnings"]))?;
    // A target that is no part of all: its tests want root.
    let mut clippy = cargo::command("clippy");
    clippy.args(["--locked", "--package=tcpstate-user", "--test=live"]);
    passed(exec(clippy.args(["--", "--deny=warnings"])))
}

fn bpf_lints() -> Result<Outcome> {
    let route = Route::find().map_err(anyhow::Error::msg)?;
    let mut lint = route.cargo("clippy", std::env::consts::ARCH, &workspace());
    lint.arg("--target-dir")
        .arg(workspace().join("target/ebpf"))
        .args(["--", "--deny=warnings"]);
    passed(exec(&mut lint))
}

fn tests() -> Result<Outcome> {
    passed(exec(cargo::command("test").arg("--locked")))
}

/// The live tests here and on every kernel of the table, each a check of its
/// own; then the table.
fn live_tests(summary: &mut Summary, matrix: &mut Matrix) {
    summary.check("live tests, this kernel", || {
        outcome(matrix, "here", vm::no_live_target, || Ok(live::here()))
    });
    // Built once; a failure is told for every kernel.
    let mut payload = None;
    for kernel in KERNELS {
        let part = kernel.every_run.concat().join(", ");
        let name = format!("live tests {part} on kernel {} in a VM", kernel.version);
        summary.check(&name, || {
            outcome(matrix, kernel.version, vm_obstacle, || {
                if payload.is_none() {
                    payload = Some(vm::build()?);
                }
                let payload = payload.as_ref().context("nothing was built")?;
                Ok(vm::test(kernel, payload, &every_run(kernel)))
            })
        });
    }
    summary.check("table of kernels without gaps", || {
        match matrix::missing(matrix).as_slice() {
            [] => Ok(Outcome::Passed),
            missing => bail!(missing.join("\n")),
        }
    });
}

/// What the test runner is given, at each boot.
fn every_run(kernel: &Kernel) -> Vec<Vec<String>> {
    let owned = |part: &&str| (*part).to_owned();
    let boots = kernel.every_run.iter();
    boots
        .map(|parts| parts.iter().map(owned).collect())
        .collect()
}

fn vm_obstacle() -> Result<Option<String>> {
    Ok(vm::no_live_target()?.or_else(kernels::obstacle))
}

/// Runs the live tests unless something is in the way; the column is part of
/// the table however it ends.
fn outcome(
    matrix: &mut Matrix,
    name: &str,
    obstacle: impl FnOnce() -> Result<Option<String>>,
    run: impl FnOnce() -> Result<Column>,
) -> Result<Outcome> {
    if let Some(reason) = obstacle()? {
        matrix.push(Column::not_run(name, &reason));
        return Ok(Outcome::NotRun(reason));
    }
    let column = run()?;
    let outcome = match &column.end {
        End::Failed(reason) => Err(Error::msg(with_tests(reason, &column))),
        End::Passed | End::NotRun(_) => Ok(Outcome::Passed),
    };
    matrix.push(column);
    outcome
}

/// A verdict and what each test said that failed each time: the summary is the last
/// word, and what comes before it is long.
fn with_tests(reason: &str, column: &Column) -> String {
    let facts = column.facts.iter();
    let failed = facts.filter(|fact| fact.topic == "again" && fact.value.starts_with(EACH_TIME));
    let lines = failed.map(|fact| format!("\n{} {}", fact.key, fact.value));
    [reason.to_owned()].into_iter().chain(lines).collect()
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn tell(summary: &Summary) {
    println!("\n{summary}");
}
