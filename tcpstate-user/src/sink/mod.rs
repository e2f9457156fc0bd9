//! Lines of a trace, and reports, as bytes: a table, CSV or JSON.
//!
//! Pure but for the `Write` it is given: values in, bytes out. It does not know
//! where a change came from, and leaves standard error to its caller: a caller
//! of the table and CSV formats must say there what was lost ([`report::end`]).

pub(crate) mod address;
mod clock;
mod connections;
mod csv;
mod digits;
pub(crate) mod duration;
mod dwell;
pub mod explain;
pub mod folded;
pub mod health;
mod json;
pub mod leaks;
mod name;
pub mod report;
mod reports;
mod table;
mod untrusted;

#[cfg(test)]
mod flushing;
#[cfg(test)]
mod golden;

use std::{io, io::Write};

use jiff::tz::TimeZone;

use crate::{
    connection::Connection,
    session::{EndInfo, SessionInfo},
    track::Change,
};
use clock::Clock;
use name::ResetReasons;
pub use reports::{Heading, Reports};
pub use untrusted::Untrusted;

/// Written out at the latest when this many bytes have come together.
const FULL: usize = 64 << 10;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people, 100 columns
    Table,
    /// For people, everything that is known
    Wide,
    /// One JSON object per line
    Json,
    /// Comma-separated values (RFC 4180)
    Csv,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// For people
    Table,
    /// JSON, one object per line
    Json,
}

/// Writes a session in one [`Format`].
#[derive(Debug)]
pub struct Sink<W> {
    format: Format,
    style: Style,
    writer: W,
    /// What has not been written yet.
    pending: Vec<u8>,
}

/// What a line needs besides the change.
#[derive(Debug)]
struct Style {
    clock: Clock,
    color: bool,
    reasons: ResetReasons,
    /// Room for a cell whose width must be known before it is written.
    cell: Vec<u8>,
}

impl Style {
    fn new(info: &SessionInfo, color: bool, zone: TimeZone) -> Self {
        Self {
            clock: Clock::new(info.clock_offset_ns, zone),
            color,
            reasons: ResetReasons::new(info),
            cell: Vec::new(),
        }
    }
}

impl<W: Write> Sink<W> {
    /// A sink that shows local time in the system's time zone.
    pub fn new(format: Format, writer: W, color: bool, info: &SessionInfo) -> Self {
        Self::with_zone(format, writer, color, info, TimeZone::system())
    }

    /// As [`Self::new`], for whole connections.
    pub fn of_connections(format: Format, writer: W, color: bool, info: &SessionInfo) -> Self {
        Self::of_connections_in(format, writer, color, info, TimeZone::system())
    }

    fn of_connections_in(
        format: Format,
        writer: W,
        color: bool,
        info: &SessionInfo,
        zone: TimeZone,
    ) -> Self {
        let mut sink = Self::with_zone(format, writer, color, info, zone);
        sink.pending.clear();
        connections::head(format, info, &mut sink.pending);
        sink
    }

    fn with_zone(
        format: Format,
        writer: W,
        color: bool,
        info: &SessionInfo,
        zone: TimeZone,
    ) -> Self {
        let zone = match format {
            Format::Table | Format::Wide => zone,
            Format::Json | Format::Csv => TimeZone::UTC,
        };
        let mut pending = Vec::with_capacity(FULL + FULL / 4);
        match format {
            Format::Table => table::head(&mut pending),
            Format::Wide => table::wide::head(&mut pending),
            Format::Json => json::start(info, &mut pending),
            Format::Csv => csv::head(&mut pending),
        }
        Self {
            format,
            style: Style::new(info, color, zone),
            writer,
            pending,
        }
    }

    /// Writes the first line: whoever has read it knows that from now on
    /// nothing is missed.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn start(&mut self) -> io::Result<()> {
        self.flush()
    }

    /// Adds one line; it is written with the next flush.
    ///
    /// # Errors
    ///
    /// The writer's, when so much has come together that it is written.
    pub fn change(&mut self, change: &Change) -> io::Result<()> {
        let out = &mut self.pending;
        match self.format {
            Format::Table => table::row(change, &mut self.style, out),
            Format::Wide => table::wide::row(change, &mut self.style, out),
            Format::Json => json::transition(change, &mut self.style, out),
            Format::Csv => csv::row(change, &mut self.style, out),
        }
        self.flush_if_full()
    }

    /// As [`Self::change`], of a connection that is over.
    ///
    /// # Errors
    ///
    /// As [`Self::change`].
    pub fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        let (style, out) = (&mut self.style, &mut self.pending);
        connections::write(self.format, connection, style, out);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.pending.len() >= FULL {
            return self.flush();
        }
        Ok(())
    }

    /// Writes the last line, which only JSON has, and everything pending.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn end(&mut self, info: &EndInfo) -> io::Result<()> {
        if self.format == Format::Json {
            json::end(info, &mut self.pending);
        }
        self.flush()
    }

    /// Writes everything pending at once. What an error cut short is not
    /// written again: a line must not appear twice.
    ///
    /// # Errors
    ///
    /// The writer's.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.writer.write_all(&self.pending);
        self.pending.clear();
        written?;
        self.writer.flush()
    }

    /// Whether something waits for a flush.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }
}
