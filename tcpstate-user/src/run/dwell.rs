//! `tcpstate dwell` as a report of the pipeline.

use std::io::{self, Write};

use super::view::{Moment, Report};
use crate::{
    dwell::Dwells,
    session::EndInfo,
    sink::{Heading, Reports},
    track::Change,
};

/// The times so far, and where their reports go.
pub(super) struct DwellReport<W> {
    pub(super) dwells: Dwells,
    pub(super) sink: Reports<W>,
}

impl<W: Write> Report for DwellReport<W> {
    fn start(&mut self) -> io::Result<()> {
        self.sink.start()
    }

    fn change(&mut self, change: &Change) {
        self.dwells.change(change);
    }

    fn report(&mut self, now: &Moment<'_>) -> io::Result<()> {
        let mut census = self.dwells.census();
        now.tracker.open(now.at, |open| {
            if now.filter.admits(open) {
                census.add(open);
            }
        });
        let heading = Heading {
            at: now.at,
            after_ns: now.at.since(now.began),
            last: now.last,
        };
        self.sink.dwell(&heading, &census.report())
    }

    fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        self.sink.end(end)
    }
}
