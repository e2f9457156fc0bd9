//! `tcpstate explain` as a report of the pipeline: the only one comes at the end.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::view::{Moment, Report};
use crate::{
    explain::Stories,
    session::EndInfo,
    sink::{Heading, Reports},
    track::Change,
};

/// The stories so far, and where they go.
pub(super) struct ExplainReport<W> {
    pub(super) stories: Stories,
    /// As it was given.
    pub(super) asked: Option<String>,
    /// So many are told.
    pub(super) most: usize,
    /// Nothing is left to wait for.
    pub(super) done: bool,
    pub(super) sink: Reports<W>,
}

impl<W: Write> Report for ExplainReport<W> {
    fn start(&mut self) -> io::Result<()> {
        self.sink.start()
    }

    fn change(&mut self, change: &Change) {
        self.stories.change(change);
    }

    fn report(&mut self, now: &Moment<'_>) -> io::Result<()> {
        if !now.last && !self.stories.are_over() {
            return Ok(());
        }
        // One that was there already may not have changed since.
        let mut open = HashMap::new();
        now.tracker.open(now.at, |it| {
            if now.filter.admits(it) && self.stories.open(it) {
                open.insert(it.conn, *it);
            }
        });
        if !now.last {
            self.done = self.stories.are_over();
            return Ok(());
        }
        let heading = Heading {
            at: now.at,
            after_ns: now.at.since(now.began),
            last: true,
        };
        let told = self.stories.explain(&open);
        self.sink
            .explain(&heading, &told, self.asked.as_deref(), self.most)
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        self.sink.end(end)
    }
}
