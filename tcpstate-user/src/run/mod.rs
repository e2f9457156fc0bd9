//! The one file that names every stage: what was asked becomes a session, a
//! session's bytes go through the stages, and how it ended becomes a status.

mod begin;
mod connections;
mod dwell;
mod examine;
mod exit;
mod explain;
mod health;
mod info;
mod leaks;
mod live;
mod machine;
mod misses;
mod pipeline;
mod ports;
mod refresh;
mod replay;
mod status;
mod stop;
mod view;

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::Result;

use self::{
    begin::Begun,
    connections::Gathering,
    dwell::DwellReport,
    exit::{INSUFFICIENT, account, refuse},
    explain::ExplainReport,
    health::{HealthReport, Page},
    info::session_info,
    leaks::{Gathered, Graphs, LeaksReport},
    live::Live,
    machine::limits,
    pipeline::Pipeline,
    view::View,
};
use crate::{
    attach::{Capture, Request},
    cli::{self, Command, FilterSpec},
    connection::{Connections, Told},
    dwell::Dwells,
    explain::Stories,
    health::Health,
    session::{EndInfo, SessionInfo},
    sink::{self, Format, ReportFormat, Reports, Sink},
    source::recording::{Output, Reader, Writer},
    survey::{Asked, Surveyor},
    track::{Follows, Limits, Tracker},
    view::Filter,
};

/// How soon `explain` notices that what it waits for is over.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Runs the program; `args` begin with its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match cli::parse_from(args) {
        Ok(command) => command,
        Err(error) => return refuse(&error),
    };
    exit::code(execute(command))
}

fn execute(command: Command) -> Result<u8> {
    match command {
        Command::Trace(asked) => trace(&asked),
        Command::Leaks(asked) => leaks(&asked),
        Command::Dwell(asked) => dwell(&asked),
        Command::Explain(asked) => explain(&asked),
        Command::Health(asked) => health(&asked),
        Command::Ports(asked) => ports::ports(&asked),
        Command::Record(asked) => record(&asked),
        Command::Doctor(asked) => doctor(&asked),
    }
}

fn trace(asked: &cli::Trace) -> Result<u8> {
    let spec = asked.resolve()?;
    let detail = Detail {
        capture: None,
        last_looks: asked.connections.is_some(),
    };
    let end = watch(&asked.watch, &spec, detail, |info| {
        let out = io::stdout();
        let color = asked.watch.color.for_output(&out);
        let filter = Filter::new(&spec);
        match asked.connections {
            None => View::Lines(filter, Sink::new(asked.output, out, color, info)),
            Some(told) => {
                let sink = Sink::of_connections(asked.output, out, color, info);
                let all = Gathering::new(told, filter, sink, info, follows(info));
                View::Connections(Box::new(all))
            }
        }
    })?;
    Ok(account(&end, asked.output == Format::Json))
}

fn dwell(asked: &cli::Dwell) -> Result<u8> {
    let spec = asked.watch.resolve()?;
    let end = watch(&asked.watch, &spec, Detail::default(), |info| {
        let out = io::stdout();
        let color = asked.watch.color.for_output(&out);
        let report = DwellReport {
            dwells: Dwells::new(&asked.by, &asked.states, follows(info)),
            sink: Reports::new(asked.output, out, color, info),
        };
        View::Report(Filter::new(&spec), Box::new(report), asked.interval)
    })?;
    Ok(account(&end, asked.output == ReportFormat::Json))
}

fn explain(asked: &cli::Explain) -> Result<u8> {
    let spec = asked.watch.resolve()?;
    let detail = Detail {
        capture: None,
        last_looks: true,
    };
    let end = watch(&asked.watch, &spec, detail, |info| {
        let out = io::stdout();
        let color = asked.watch.color.for_output(&out);
        let most = Limits::default().max_sockets;
        let connections = Connections::new(Told::Closed, info.reset_reasons.clone(), most);
        let report = ExplainReport {
            stories: Stories::new(asked.which, sink::explain::SAY, connections),
            asked: asked.which.map(|which| which.to_string()),
            most: asked.most,
            done: false,
            sink: Reports::new(asked.output, out, color, info),
        };
        View::Report(Filter::new(&spec), Box::new(report), BETWEEN_LOOKS)
    })?;
    Ok(account(&end, asked.output == ReportFormat::Json))
}

fn health(asked: &cli::Health) -> Result<u8> {
    let asked_of = health::of_one_namespace(&asked.watch);
    let spec = asked_of.resolve()?;
    let counters = health::counters(&asked_of, &spec)?;
    let end = watch(&asked_of, &spec, Detail::default(), |info| {
        let out = io::stdout();
        let color = asked.watch.color.for_output(&out);
        let report = HealthReport {
            health: Health::default(),
            scope: health::scope(&spec, counters.is_none(), info),
            counters,
            follows: follows(info),
            spec: spec.clone(),
            page: Page::new(out.is_terminal()),
            sink: Reports::new(asked.output, out, color, info),
        };
        View::Report(Filter::new(&spec), Box::new(report), asked.interval)
    })?;
    Ok(account(&end, asked.output == ReportFormat::Json))
}

fn leaks(asked: &cli::Leaks) -> Result<u8> {
    let spec = asked.resolve()?;
    // Opened before the long run.
    let graphs = Graphs::create(asked.folded.as_deref(), asked.flamegraph.as_deref())?;
    let capture = Capture {
        slice_bytes: asked.stack_bytes,
        ..Capture::default()
    };
    let detail = Detail {
        capture: Some(capture),
        last_looks: false,
    };
    let mut session = open(&asked.live, &spec, detail)?;
    let walker = session.take_thread_walker();
    let info = session_info(&session, limits(&asked.live));
    let out = io::stdout();
    let color = asked.color.for_output(&out);
    // Whose a socket is, its holders say too: processes are looked at later.
    let everybodys = FilterSpec {
        pids: Vec::new(),
        comms: Vec::new(),
        ..spec.clone()
    };
    let report = LeaksReport {
        asked: Asked {
            min_age_ns: u64::try_from(asked.min_age.as_nanos()).unwrap_or(u64::MAX),
            traced_ns: 0,
            pids: spec.pids,
            comms: spec.comms,
            states: asked.only(),
        },
        surveyor: Surveyor::start(walker)?,
        sink: Reports::new(asked.output, out, color, &info),
        graphs,
        next: Gathered::default(),
    };
    let view = View::Report(Filter::new(&everybodys), Box::new(report), asked.interval);
    let pipeline = Pipeline::new(tracker(&info), view);
    let end = run(&asked.live, session, pipeline, None)?;
    Ok(account(&end, asked.output == ReportFormat::Json))
}

/// Shows a live session, or a recorded one.
fn watch(
    asked: &cli::Watch,
    spec: &FilterSpec,
    detail: Detail,
    view: impl FnOnce(&SessionInfo) -> View,
) -> Result<EndInfo> {
    if let Some(path) = &asked.replay {
        let reader = Reader::open(path)?;
        let info = SessionInfo {
            max_sockets: Some(limits(&asked.live).max_sockets as u64),
            ..reader.info().clone()
        };
        let pipeline = Pipeline::new(tracker(&info), view(&info));
        return replay::replay(reader, pipeline, path);
    }
    let session = open(&asked.live, spec, detail)?;
    let info = session_info(&session, limits(&asked.live));
    let pipeline = Pipeline::new(tracker(&info), view(&info));
    run(&asked.live, session, pipeline, None)
}

fn record(asked: &cli::Record) -> Result<u8> {
    let spec = asked.resolve()?;
    let file = Output::create(&asked.output)?;
    // Whoever replays it may ask for anything.
    let detail = Detail {
        capture: None,
        last_looks: true,
    };
    let session = open(&asked.live, &spec, detail)?;
    let info = session_info(&session, limits(&asked.live));
    let pipeline = Pipeline::new(tracker(&info), View::Nothing);
    let tape = file.begin(&info)?;
    let end = run(&asked.live, session, pipeline, Some(tape))?;
    Ok(account(&end, false))
}

fn tracker(info: &SessionInfo) -> Tracker {
    let told = info.max_sockets.and_then(|most| usize::try_from(most).ok());
    let limits = told.map_or_else(Limits::default, |max_sockets| Limits { max_sockets });
    Tracker::new(limits, follows(info))
}

/// What the session's hooks can tell of minisockets and requests.
fn follows(info: &SessionInfo) -> Follows {
    let hook = |signal| info.hooks.get(signal).and_then(Option::as_deref);
    let has = |signal| hook(signal).is_some();
    Follows {
        // A recording may have walks that told addresses themselves.
        looks: has("socket_lookup") && hook("existing_sockets") == Some("sock_diag"),
        begins: has("minisocket_begin"),
        ends: has("minisocket_end"),
        requests: has("request_end"),
    }
}

fn doctor(asked: &cli::Doctor) -> Result<u8> {
    let report = examine::examine(machine::here());
    let text = match asked.output {
        ReportFormat::Table => sink::report::table(&report),
        ReportFormat::Json => sink::report::json(&report),
    };
    io::stdout().write_all(&text)?;
    Ok(if report.can_trace() { 0 } else { INSUFFICIENT })
}

/// What a view needs that others do not pay for.
#[derive(Clone, Copy, Debug, Default)]
struct Detail {
    capture: Option<Capture>,
    last_looks: bool,
}

fn open(live: &cli::Live, spec: &FilterSpec, detail: Detail) -> Result<Begun> {
    if live.verbose {
        env_logger::Builder::new()
            .filter_module("tcpstate", log::LevelFilter::Debug)
            .init();
    }
    Ok(Begun::open(&Request {
        filter: spec.kernel_filter(),
        ring_bytes: limits(live).ring_bytes,
        accept_by_syscall: !live.no_accept_syscalls,
        hooks: live.hooks,
        capture: detail.capture,
        last_looks: detail.last_looks,
        verbose: live.verbose,
    })?)
}

fn run(
    live: &cli::Live,
    session: Begun,
    pipeline: Pipeline,
    tape: Option<Writer>,
) -> Result<EndInfo> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { Live::new(session, pipeline, tape)?.run(live.duration).await })
}
