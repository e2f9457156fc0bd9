//! `cargo xtask build`: tcpstate, both sides, optimized.

use std::path::PathBuf;

use anyhow::Result;

use crate::{cargo, exec::say, machine::workspace, route::Route, setup};

pub(crate) fn command() -> Result<()> {
    let route = setup::for_building()?;
    let binary = release(&route)?;
    say(format_args!("built {}", binary.display()));
    Ok(())
}

/// Builds the command that users run and says where it is.
pub(crate) fn release(route: &Route) -> Result<PathBuf> {
    if !workspace().join("target/release/tcpstate").exists() {
        say(format_args!("eBPF compiler: {route}"));
    }
    let built = cargo::build(cargo::command("build").args([
        "--locked",
        "--release",
        "--package=tcpstate-user",
        "--bin=tcpstate",
    ]))?;
    Ok(built.executable("tcpstate")?.to_owned())
}
