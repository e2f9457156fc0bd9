//! What of this project runs in the guest, linked statically: the guest has
//! none of the libraries that the host has.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{cargo, exec::exec, machine::workspace, vm::no_live_target};

pub(crate) struct Payload {
    pub(crate) tcpstate: PathBuf,
    /// An object that the tests load to count for themselves.
    pub(crate) witness: Option<PathBuf>,
    /// The live tests, if there are any.
    pub(crate) live: Option<PathBuf>,
    /// The program that leaks in every way, for these.
    pub(crate) zoo: Option<PathBuf>,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Optimized: emulation is ten times slower than this machine already.
pub(crate) fn build() -> Result<Payload> {
    let has_live = no_live_target()?.is_none();
    let mut build = match has_live {
        // Building an integration test builds the package's commands.
        true => cargo::command("test"),
        false => cargo::command("build"),
    };
    if has_live {
        build.args(["--no-run", "--test=live"]);
    }
    build
        .args([
            "--locked",
            "--release",
            "--package=tcpstate-user",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(workspace().join("target/static"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let built = cargo::build(&mut build)?;
    let out_dir = built
        .out_dir
        .as_ref()
        .context("cargo names no output directory of tcpstate-user")?;
    Ok(Payload {
        tcpstate: built.executable("tcpstate")?.to_owned(),
        witness: Some(out_dir.join("witness")).filter(|file| file.exists()),
        live: match has_live {
            true => Some(built.executable("live")?.to_owned()),
            false => None,
        },
        zoo: has_live.then(zoo).transpose()?,
    })
}

/// As distributions build: optimized, without frame pointers. Nothing but a
/// static program: the guest's libraries are those of other programs.
fn zoo() -> Result<PathBuf> {
    let source = workspace().join("tests/zoo/leak.c");
    let made = workspace().join("target/static/leak");
    exec(
        Command::new("cc")
            .args(["-static", "-O2", "-fomit-frame-pointer", "-pthread", "-o"])
            .args([&made, &source]),
    )
    .context("the packages gcc and libc6-dev build it")?;
    Ok(made)
}
