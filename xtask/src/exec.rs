//! Child processes: announced before, named whole when they fail.

use std::{
    fmt::Display,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// The one place that writes progress; what a command prints itself is its own.
#[expect(clippy::print_stderr, reason = "progress of the tool, for a person")]
pub(crate) fn say(line: impl Display) {
    eprintln!("{line}");
}

/// Runs to the end with this terminal.
pub(crate) fn exec(command: &mut Command) -> Result<()> {
    say(format_args!("+ {}", shown(command)));
    let status = command
        .status()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(())
}

/// Runs to the end with this terminal, and hands over each line that is written
/// to standard output.
#[expect(clippy::print_stdout, reason = "the command's own output, passed on")]
pub(crate) fn lines(command: &mut Command, mut take: impl FnMut(&str)) -> Result<()> {
    say(format_args!("+ {}", shown(command)));
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start {command:?}"))?;
    let output = child.stdout.take().context("no standard output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        take(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{status}: {command:?}");
    }
    Ok(())
}

/// Runs to the end and gives the text written to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    String::from_utf8(output_bytes(command)?).with_context(|| format!("not UTF-8: {command:?}"))
}

/// Runs to the end and gives what was written to standard output.
pub(crate) fn output_bytes(command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{}: {command:?}", output.status);
    }
    Ok(output.stdout)
}

/// Program and arguments as a person would type them; the environment is left
/// to the error message.
fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
