//! `tcpstate ports` as a report of the pipeline.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::Result;

use super::{
    Detail, account, follows,
    view::{Moment, Report, View},
    watch,
};
use crate::{
    cli::{self, FilterSpec},
    decode::Record,
    limits::Reader,
    ports::{Asked, Ports},
    session::EndInfo,
    sink::{Heading, ReportFormat, Reports, ports::Told},
    track::Change,
    view::Filter,
};

/// What is known of the past, and where reports go.
struct PortsReport<W> {
    ports: Ports,
    /// `None` of a recording, which has no limits in it.
    reader: Option<Reader>,
    interval: Duration,
    sink: Reports<W>,
}

/// Runs it.
pub(super) fn ports(asked: &cli::Ports) -> Result<u8> {
    let spec = asked.watch.resolve()?;
    // Ports are used by whoever uses them: processes and families choose what
    // is shown, not what is counted.
    let everybodys = FilterSpec {
        pids: Vec::new(),
        comms: Vec::new(),
        family: None,
        ..spec.clone()
    };
    let reader = match asked.watch.replay {
        None => Some(Reader::start(spec.netns)?),
        Some(_) => None,
    };
    let shown = Asked {
        pids: spec.pids,
        comms: spec.comms,
        family: spec.family,
        top: asked.top,
    };
    let end = watch(&asked.watch, &everybodys, Detail::default(), |info| {
        let out = io::stdout();
        let color = asked.watch.color.for_output(&out);
        let report = PortsReport {
            ports: Ports::new(shown, follows(info)),
            reader,
            interval: asked.interval,
            sink: Reports::new(asked.output, out, color, info),
        };
        View::Report(Filter::new(&everybodys), Box::new(report), asked.interval)
    })?;
    Ok(account(&end, asked.output == ReportFormat::Json))
}

impl<W: Write> Report for PortsReport<W> {
    fn start(&mut self) -> io::Result<()> {
        if let Some(reader) = &mut self.reader {
            reader.ask_ahead(self.interval);
        }
        self.sink.start()
    }

    fn change(&mut self, change: &Change) {
        self.ports.change(change);
    }

    fn record(&mut self, record: &Record, _bytes: &[u8]) {
        self.ports.record(record);
    }

    fn report(&mut self, now: &Moment<'_>) -> io::Result<()> {
        let mut reading = None;
        if let Some(reader) = &mut self.reader {
            if now.last {
                reader.read_now();
            }
            reading = reader.latest().cloned();
            reader.ask_ahead(self.interval);
        }
        let mut survey = self.ports.survey(reading.as_ref());
        now.tracker.open(now.at, |open| survey.look(open));
        let mut census = survey.census();
        now.tracker.open(now.at, |open| {
            if now.filter.admits(open) {
                census.add(open);
            }
        });
        let report = census.report(now.at);
        let heading = Heading {
            at: now.at,
            after_ns: now.at.since(now.began),
            last: now.last,
        };
        let told = Told {
            report: &report,
            live: self.reader.is_some(),
            gaps: now.tracker.counters().gaps,
        };
        self.sink.ports(&heading, &told)
    }

    fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        self.sink.end(end)
    }
}
