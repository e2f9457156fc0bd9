//! `cargo xtask run -- ARGUMENTS`: set up, build, become tcpstate.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::{build, machine::privileged, setup};

/// Returns only if tcpstate cannot be started: it takes over this process, and
/// with it the terminal and the signals.
pub(crate) fn command(arguments: &[String]) -> Result<()> {
    let binary = build::release(&setup::for_building()?)?;
    let mut tcpstate = privileged(binary)?;
    tcpstate.args(arguments);
    Err(tcpstate.exec()).with_context(|| format!("cannot start {tcpstate:?}"))
}
