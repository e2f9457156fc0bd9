//! The one file that names every stage: what was asked becomes a session, a
//! session's bytes go through the stages, and how it ended becomes a status.

mod info;
mod live;
mod pipeline;
mod replay;
mod status;
mod stop;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use self::{live::Live, pipeline::Pipeline};
use crate::{
    attach::{AttachError, Request, Session},
    cli::{self, Command, FilterSpec, ResolveError},
    doctor,
    session::{EndInfo, SessionInfo},
    sink::{Format, Sink},
    source::recording::{Reader, Writer},
    track::{Limits, Tracker},
    view::Filter,
};

/// Exit statuses, as README promises them.
mod status_code {
    pub(super) const ERROR: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const INSUFFICIENT: u8 = 3;
    pub(super) const LOST: u8 = 4;
}

/// Runs the program; `args` begin with its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse_from(args) {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    match execute(command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}
