//! How a run ended: a status, and on standard error a sentence.
//!
//! It does not know what was run.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;

use crate::{
    attach::AttachError,
    cli::{self, ResolveError},
    session::EndInfo,
    sink,
    source::recording::RecordingError,
};

/// Something failed while it ran.
const ERROR: u8 = 1;
/// What was asked cannot be done.
const USAGE: u8 = 2;
/// The kernel or the privilege does not suffice.
pub(super) const INSUFFICIENT: u8 = 3;
/// Finished, but records were lost, or there was no room for sockets.
const LOST: u8 = 4;

/// The status of what has run to its end, or not.
pub(super) fn code(result: Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&told(&error));
            ExitCode::from(code_of(&error))
        }
    }
}

/// Says what is wrong with the arguments, or shows the help that was asked for.
pub(super) fn refuse(error: &clap::Error) -> ExitCode {
    let Some(complaint) = cli::complaint(error) else {
        // Help that goes into a closed pipe is no error.
        let _closed = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
    };
    complain(&complaint);
    ExitCode::from(USAGE)
}

/// Says on standard error what a person must know of the end, unless the output
/// has said it; returns the exit status.
pub(super) fn account(end: &EndInfo, said: bool) -> u8 {
    let lost = !end.complete || end.lost.as_ref().is_none_or(|lost| !lost.is_empty());
    let incomplete = lost || end.no_room > 0;
    if !said || incomplete {
        complain(&sink::report::end(end));
    }
    if incomplete { LOST } else { 0 }
}

/// The error and what it comes from, each said once: some say it themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<AttachError>() {
        INSUFFICIENT
    } else if error.is::<ResolveError>() {
        USAGE
    } else {
        match error.downcast_ref() {
            // Found out while it ran.
            Some(RecordingError::Write(..)) | None => ERROR,
            Some(_) => USAGE,
        }
    }
}

/// Whoever read the results has gone: a normal end.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

/// The one place that writes to standard error.
pub(super) fn complain(line: &str) {
    // With standard error gone there is nobody to tell.
    let _gone = writeln!(io::stderr(), "tcpstate: {line}");
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn a_cause_that_an_error_has_named_is_not_said_again() {
        let cause = || anyhow::anyhow!("no such file");
        let named = cause().context("a.tcpstate: no such file");
        assert_eq!(told(&named), "a.tcpstate: no such file");
        let bare = cause().context("cannot begin");
        assert_eq!(told(&bare), "cannot begin: no such file");
    }
}
