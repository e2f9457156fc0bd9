//! Reports that are written anew every now and then, the last one at the end.
//!
//! Each is one write, so that no reader sees half of one.

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use jiff::tz::TimeZone;

use super::{
    ReportFormat, Style, dwell, explain, health, json,
    leaks::{self, Told},
    table,
};
use crate::{
    decode::KtimeNs,
    dwell::Report,
    explain::Explanation,
    session::{EndInfo, SessionInfo},
};

/// Writes the reports of a session.
#[derive(Debug)]
pub struct Reports<W> {
    format: ReportFormat,
    style: Style,
    writer: W,
    /// What has not been written yet.
    pending: Vec<u8>,
    /// A report has been written.
    again: bool,
}

/// What stands over a report.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    /// The time that it is of.
    pub at: KtimeNs,
    /// How long the session had lasted by then.
    pub after_ns: u64,
    /// No other follows.
    pub last: bool,
}

impl<W: Write> Reports<W> {
    /// Tables show local time in the system's time zone.
    pub fn new(format: ReportFormat, writer: W, color: bool, info: &SessionInfo) -> Self {
        Self::with_zone(format, writer, color, info, TimeZone::system())
    }

    pub(super) fn with_zone(
        format: ReportFormat,
        writer: W,
        color: bool,
        info: &SessionInfo,
        zone: TimeZone,
    ) -> Self {
        let mut pending = Vec::new();
        let zone = match format {
            ReportFormat::Table => zone,
            ReportFormat::Json => {
                json::start(info, &mut pending);
                TimeZone::UTC
            }
        };
        Self {
            format,
            style: Style::new(info, color, zone),
            writer,
            pending,
            again: false,
        }
    }

    /// Writes the first line, which only JSON has: whoever has read it knows
    /// that from now on nothing is missed.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn start(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Writes a report of `dwell`.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn dwell(&mut self, heading: &Heading, report: &Report) -> io::Result<()> {
        let out = &mut self.pending;
        match self.format {
            ReportFormat::Table => {
                if self.again {
                    out.push(b'\n');
                }
                table::dwell::write(heading, report, &mut self.style, out);
            }
            ReportFormat::Json => dwell::write(heading, report, &mut self.style, out),
        }
        self.again = true;
        self.flush()
    }

    /// Writes a report on leaked sockets.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn leaks(&mut self, heading: &Heading, told: &Told<'_>) -> io::Result<()> {
        let out = &mut self.pending;
        match self.format {
            ReportFormat::Table => {
                if self.again {
                    out.push(b'\n');
                }
                let mut at = Vec::new();
                table::dwell::head(heading, &mut self.style, &mut at);
                let at = String::from_utf8_lossy(&at);
                out.extend(leaks::table(told, at.trim_end(), self.style.color));
            }
            ReportFormat::Json => {
                let mut ts = Vec::new();
                self.style.clock.at(heading.at).write(&mut ts);
                let ts = String::from_utf8_lossy(&ts);
                out.extend(leaks::json(told, &ts, heading.at.0));
            }
        }
        self.again = true;
        self.flush()
    }

    /// Writes the story of a connection, or of at most `most`; `asked` is what
    /// was asked for, as it was given.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn explain(
        &mut self,
        heading: &Heading,
        told: &Explanation,
        asked: Option<&str>,
        most: usize,
    ) -> io::Result<()> {
        let (style, out) = (&mut self.style, &mut self.pending);
        match self.format {
            ReportFormat::Table => table::explain::write(told, asked, most, style, out),
            ReportFormat::Json => explain::write(heading, told, asked, most, style, out),
        }
        self.flush()
    }

    /// Writes what stands before the first line of `health`.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn health_head(&mut self, scope: &health::Scope) -> io::Result<()> {
        if self.format == ReportFormat::Table {
            table::health::head(scope, &mut self.pending);
        }
        self.flush()
    }

    /// Writes a line of `health`.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn health(&mut self, told: &health::Told<'_>) -> io::Result<()> {
        let out = &mut self.pending;
        match self.format {
            ReportFormat::Table => table::health::write(told, &mut self.style, out),
            ReportFormat::Json => health::write(told, &mut self.style, out),
        }
        self.flush()
    }

    /// Writes the last line, which only JSON has.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn end(&mut self, info: &EndInfo) -> io::Result<()> {
        if self.format == ReportFormat::Json {
            json::end(info, &mut self.pending);
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(&self.pending);
        self.pending.clear();
        written?;
        self.writer.flush()
    }
}
