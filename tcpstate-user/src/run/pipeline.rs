//! One record's way through decoder, tracker and view.

use std::{io, time::Duration};

use super::{exit::complain, view::View};
use crate::{
    decode::{DecodeError, Event, KtimeNs, SockAddr64, decode, records, subject},
    session::EndInfo,
    track::{Change, LEAD, Tracker},
};

/// Longer than a batch takes from the ring to the file, in nanoseconds.
const RECORDED_TOGETHER: u64 = 1_000_000_000;

/// Bytes of the ring that wait at most, for those behind them to be seen first:
/// some hundred records, so that the first [`LEAD`] of them matter little.
const WAITING: usize = 16 << 10;

/// Longer ones do not wait: copying them takes longer than anything could for want
/// of being foreseen.
const SHORT: usize = 128;

/// The stages behind the source, and what is counted between them.
pub(super) struct Pipeline {
    tracker: Tracker,
    view: View,
    changes: Vec<Change>,
    /// Records of the ring that are not taken yet.
    waiting: Vec<u8>,
    delivered: u64,
    undecodable: u64,
    transitions: u64,
    /// The time of the first record: a walk's begin.
    began: Option<KtimeNs>,
    last_at: KtimeNs,
    last_error: Option<DecodeError>,
    /// The first time the output refused a line; told at the next flush.
    broken: io::Result<()>,
}

impl Pipeline {
    pub(super) fn new(tracker: Tracker, view: View) -> Self {
        Self {
            tracker,
            view,
            changes: Vec::with_capacity(64),
            waiting: Vec::new(),
            delivered: 0,
            undecodable: 0,
            transitions: 0,
            began: None,
            last_at: KtimeNs(0),
            last_error: None,
            broken: Ok(()),
        }
    }

    /// Writes what stands before the first line.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.view.start()
    }

    /// One record that came through the ring. It may wait for others, until
    /// [`Self::drained`].
    pub(super) fn delivered(&mut self, bytes: &[u8]) {
        self.delivered += 1;
        if !self.tracker.foresees() || bytes.len() > SHORT || !is_record(bytes) {
            self.drained();
            return self.feed(bytes);
        }
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WAITING {
            self.drained();
        }
    }

    /// Takes what was delivered and waits: for now, no more comes.
    pub(super) fn drained(&mut self) {
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.walked(&waiting);
            self.waiting = waiting;
            self.waiting.clear();
        }
    }

    /// Records that lie one behind the other: a walk over the socket tables, or a
    /// part of a recording.
    pub(super) fn walked(&mut self, bytes: &[u8]) {
        let mut ahead = records(bytes).map_while(Result::ok);
        let lead = if self.tracker.foresees() { LEAD } else { 0 };
        for record in ahead.by_ref().take(lead) {
            self.tracker.foresee(subject(record));
        }
        for record in records(bytes) {
            if self.tracker.foresees()
                && let Some(later) = ahead.next()
            {
                self.tracker.foresee(subject(later));
            }
            match record {
                Ok(record) => self.feed(record),
                Err(error) => self.refuse(error),
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        // Where it lies: to move it takes as long as to decode it.
        match &decode(bytes) {
            Ok(record) => {
                self.began.get_or_insert(record.at);
                if matches!(record.event, Event::Transition(_)) {
                    self.transitions += 1;
                }
                // A walk's stamps run ahead of the ring.
                if !matches!(record.event, Event::Snapshot(_) | Event::Sweep(_)) {
                    self.last_at = self.last_at.max(record.at);
                }
                self.tracker.apply(record, &mut self.changes);
                self.write_changes();
                self.view.record(record, bytes);
            }
            Err(error) => self.refuse(*error),
        }
    }

    fn refuse(&mut self, error: DecodeError) {
        self.undecodable += 1;
        self.last_error = Some(error);
    }

    fn write_changes(&mut self) {
        if self.broken.is_ok() {
            self.broken = self.view.changes(&self.changes);
        }
        self.changes.clear();
    }

    /// Lets go of lines that waited long enough for what would complete them.
    pub(super) fn settle(&mut self, now: KtimeNs) {
        self.tracker.settle(now, &mut self.changes);
        self.write_changes();
        if self.broken.is_ok() {
            self.broken = self.view.settle(now, &self.tracker);
        }
    }

    /// As [`Self::settle`], for records out of a file, by their own clock: they
    /// were taken in batches, and what completes a line may come in the next.
    pub(super) fn settle_recorded(&mut self) {
        self.settle(KtimeNs(self.last_at.0.saturating_sub(RECORDED_TOGETHER)));
    }

    /// What the kernel side has lost so far, when the ring was found empty.
    pub(super) fn note_lost(&mut self, ring_full: u64) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a record's header has the low bits"
        )]
        self.tracker.note_lost(ring_full as u16);
    }

    /// Sockets whose lines wait for something that only a look at them tells.
    pub(super) fn wanted(&mut self, sockets: &mut Vec<SockAddr64>) {
        self.tracker.wanted(sockets);
    }

    /// Sockets that a walk wants looked at before its end.
    pub(super) fn doubted(&mut self, sockets: &mut Vec<SockAddr64>) {
        self.tracker.doubted(sockets);
    }

    /// Records were lost that left no mark in the stream.
    pub(super) fn gap(&mut self) {
        self.tracker.gap();
    }

    /// Whether a walk over the socket tables should repair what a loss broke.
    pub(super) fn wants_sweep(&self) -> bool {
        self.tracker.wants_sweep()
    }

    /// Hands what was written to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        std::mem::replace(&mut self.broken, Ok(()))?;
        self.view.flush()
    }

    /// How often [`Self::report`] should be called, if at all.
    pub(super) fn interval(&self) -> Option<Duration> {
        self.view.interval()
    }

    /// Whether a live session has nothing left to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.view.is_done()
    }

    /// Which sockets have to be inspected before [`Self::report`].
    pub(super) fn prepare(&mut self, now: KtimeNs, wanted: &mut Vec<SockAddr64>) {
        let began = self.began.unwrap_or(now);
        self.view.prepare(now, began, &self.tracker, wanted);
    }

    /// Writes a report of what was there at `now`, for a view that has them.
    pub(super) fn report(&mut self, now: KtimeNs) -> io::Result<()> {
        self.report_at(now, false)
    }

    fn report_at(&mut self, now: KtimeNs, last: bool) -> io::Result<()> {
        let began = self.began.unwrap_or(now);
        self.view.report(now, began, &self.tracker, last)
    }

    /// Records taken so far.
    pub(super) const fn count(&self) -> u64 {
        self.delivered
    }

    /// The time of the last record, for which a recording was followed.
    pub(super) const fn last_at(&self) -> KtimeNs {
        self.last_at
    }

    /// Ends the session, which was followed until `now`: lets go of every line,
    /// writes the last report, and fills in this side's counts.
    pub(super) fn finish(&mut self, now: KtimeNs, end: &mut EndInfo) -> io::Result<()> {
        self.tracker.finish(&mut self.changes);
        self.write_changes();
        std::mem::replace(&mut self.broken, Ok(()))?;
        if let Some(error) = self.last_error {
            complain(&format!(
                "{} records could not be decoded; the last one: {error}",
                self.undecodable
            ));
        }
        let overflowed = self.view.overflowed();
        if overflowed > 0 {
            complain(&format!(
                "{overflowed} changes of connections whose process was not known yet are missing"
            ));
        }
        let dropped = self.view.dropped();
        if dropped > 0 {
            complain(&format!(
                "{dropped} changes of connections are missing in their lines: there were too many \
                 at a time"
            ));
        }
        self.report_at(now, true)?;
        end.undecodable = self.undecodable;
        end.transitions = self.transitions;
        end.connections = self.tracker.counters().connections;
        // A recording has what there was no room for here.
        if !matches!(self.view, View::Nothing) {
            end.no_room = self.tracker.counters().refused;
        }
        self.view.end(end)
    }
}

/// Whether it is one record and says so, so that it can be told from what lies
/// behind it.
fn is_record(bytes: &[u8]) -> bool {
    matches!(records(bytes).next(), Some(Ok(record)) if record.len() == bytes.len())
}
