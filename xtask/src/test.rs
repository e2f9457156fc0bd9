//! `cargo xtask test`: every check, none left out in silence.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    cargo,
    exec::exec,
    kernels::{self, KERNELS},
    machine::{self, workspace},
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
        checks(&mut summary);
    }
    tell(&summary);
    match summary.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn checks(summary: &mut Summary) {
    summary.check("formatting", formatting);
    summary.check("lints, host target", host_lints);
    summary.check("lints, BPF target", bpf_lints);
    summary.check("unit, doc, scenario and replay tests", tests);
    summary.check("live tests, this kernel", live);
    for kernel in KERNELS {
        let name = format!("live tests, kernel {} in a VM", kernel.version);
        summary.check(&name, || in_vm(kernel));
    }
}

fn formatting() -> Result<Outcome> {
    passed(exec(cargo::command("fmt").args(["--all", "--check"])))
}

fn host_lints() -> Result<Outcome> {
    let mut clippy = cargo::command("clippy");
    clippy.args(["--locked", "--workspace", "--all-targets"]);
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

/// The target `live` is not part of `cargo test`: it wants root.
fn live() -> Result<Outcome> {
    if let Some(reason) = vm::no_live_target()? {
        return Ok(Outcome::NotRun(reason));
    }
    let mut test = cargo::command("test");
    if !machine::is_root() {
        // Fails early and by name if there is no sudo.
        machine::privileged("true")?;
        test.args(["--config", "target.'cfg(unix)'.runner = 'sudo -E'"]);
    }
    test.args(["--locked", "--package=tcpstate-user", "--test=live"]);
    passed(exec(&mut test))
}

fn in_vm(kernel: &'static kernels::Kernel) -> Result<Outcome> {
    let obstacle = vm::no_live_target()?.or_else(kernels::obstacle);
    if let Some(reason) = obstacle {
        return Ok(Outcome::NotRun(reason));
    }
    passed(vm::test(&[kernel], &[]))
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn tell(summary: &Summary) {
    println!("\n{summary}");
}
