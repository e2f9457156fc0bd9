//! The one file that names every stage: what was asked becomes a session, a
//! session's bytes go through the stages, and how it ended becomes a status.

mod examine;
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

use self::{info::session_info, live::Live, pipeline::Pipeline};
use crate::{
    attach::{AttachError, Request, Session},
    cli::{self, Command, FilterSpec, ReportFormat, ResolveError},
    session::{EndInfo, SessionInfo},
    sink::{self, Format, Sink},
    source::recording::{Output, Reader, RecordingError, Writer},
    track::{Follows, Limits, Tracker},
    view::Filter,
};

/// Something failed while it ran.
const ERROR: u8 = 1;
/// What was asked cannot be done.
const USAGE: u8 = 2;
/// The kernel or the privilege does not suffice.
const INSUFFICIENT: u8 = 3;
/// Finished, but records were lost.
const LOST: u8 = 4;

/// Runs the program; `args` begin with its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse_from(args) {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    match execute(command) {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}

/// Says what is wrong with the arguments, or shows the help that was asked for.
fn refuse(error: &clap::Error) -> ExitCode {
    let Some(complaint) = cli::complaint(error) else {
        // Help that goes into a closed pipe is no error.
        let _closed = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
    };
    complain(&complaint);
    ExitCode::from(USAGE)
}

fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Trace(trace) => match &trace.replay {
            Some(_) => replay(&trace),
            None => self::trace(&trace),
        },
        Command::Record(asked) => record(&asked),
        Command::Doctor(asked) => doctor(&asked),
    }
}

fn trace(asked: &cli::Trace) -> Result<u8> {
    let spec = asked.resolve()?;
    let session = open(&asked.live, &spec)?;
    let info = session_info(&session);
    let lines = Some((Filter::new(&spec), stdout(asked, &info)));
    let pipeline = Pipeline::new(tracker(&info), lines);
    let end = run(&asked.live, session, pipeline, None)?;
    Ok(account(&end, asked.output))
}

fn record(asked: &cli::Record) -> Result<u8> {
    let spec = asked.resolve()?;
    let file = Output::create(&asked.output)?;
    let session = open(&asked.live, &spec)?;
    let info = session_info(&session);
    let pipeline = Pipeline::<io::Stdout>::new(tracker(&info), None);
    let tape = file.begin(&info)?;
    let end = run(&asked.live, session, pipeline, Some(tape))?;
    Ok(account(&end, Format::Table))
}

fn replay(asked: &cli::Trace) -> Result<u8> {
    let spec = asked.resolve()?;
    let path = asked.replay.as_deref().context("no recording")?;
    let reader = Reader::open(path)?;
    let lines = Some((Filter::new(&spec), stdout(asked, reader.info())));
    let pipeline = Pipeline::new(tracker(reader.info()), lines);
    let end = replay::replay(reader, pipeline, path)?;
    Ok(account(&end, asked.output))
}

/// A tracker for what the session's hooks can tell.
fn tracker(info: &SessionInfo) -> Tracker {
    let has = |signal| info.hooks.get(signal).is_some_and(Option::is_some);
    let follows = Follows {
        begins: has("minisocket_begin"),
        ends: has("minisocket_end"),
    };
    Tracker::new(Limits::default(), follows)
}

fn doctor(asked: &cli::Doctor) -> Result<u8> {
    let report = examine::examine(cli::DEFAULT_RING_BYTES);
    let text = match asked.output {
        ReportFormat::Table => sink::report::table(&report),
        ReportFormat::Json => sink::report::json(&report),
    };
    io::stdout().write_all(&text)?;
    Ok(if report.can_trace() { 0 } else { INSUFFICIENT })
}

fn open(live: &cli::Live, spec: &FilterSpec) -> Result<Session> {
    if live.verbose {
        env_logger::Builder::new()
            .filter_module("tcpstate", log::LevelFilter::Debug)
            .init();
    }
    Ok(Session::open(&Request {
        filter: spec.kernel_filter(),
        ring_bytes: live.ring_size,
        accept_by_syscall: !live.no_accept_syscalls,
        hooks: live.hooks,
        capture: None,
        verbose: live.verbose,
    })?)
}

fn run<W: Write>(
    live: &cli::Live,
    session: Session,
    pipeline: Pipeline<W>,
    tape: Option<Writer>,
) -> Result<EndInfo> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { Live::new(session, pipeline, tape)?.run(live.duration).await })
}

fn stdout(asked: &cli::Trace, info: &SessionInfo) -> Sink<io::Stdout> {
    let out = io::stdout();
    let color = asked.color.for_output(&out);
    Sink::new(asked.output, out, color, info)
}

/// Says on standard error what a person must know of the end, where the format
/// of the output does not say it; returns the exit status.
fn account(end: &EndInfo, format: Format) -> u8 {
    let lost = !end.complete || end.lost.as_ref().is_none_or(|lost| !lost.is_empty());
    if format != Format::Json || lost {
        complain(&sink::report::end(end));
    }
    if lost { LOST } else { 0 }
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
fn complain(line: &str) {
    // With standard error gone there is nobody to tell.
    let _gone = writeln!(io::stderr(), "tcpstate: {line}");
}
