//! What becomes of the changes that the tracker gives: lines as they come, a
//! report every now and then, or nothing.
//!
//! It does not know where records come from, nor when a report is due.

use std::{
    io::{self, Stdout},
    time::Duration,
};

use super::connections::Gathering;
use crate::{
    decode::{KtimeNs, Record, SockAddr64},
    session::EndInfo,
    sink::Sink,
    track::{Change, Tracker},
    view::Filter,
};

/// A view that says everything anew each time.
pub(super) trait Report {
    /// Writes what stands before the first report.
    fn start(&mut self) -> io::Result<()>;
    /// Takes a change that was asked for.
    fn change(&mut self, change: &Change);
    /// Takes a record, with its bytes, for what the tracker does not keep.
    fn record(&mut self, _record: &Record, _bytes: &[u8]) {}
    /// Says which sockets have to be inspected before the next report.
    fn prepare(&mut self, _now: &Moment<'_>, _wanted: &mut Vec<SockAddr64>) {}
    /// Writes what has become ready since.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// Writes a report. The ring, which holds 233,000 transitions, fills
    /// meanwhile: this must not take long. Measured for `dwell` on two cores with
    /// other work to do: a million open sockets take 0.1 s, in 60,000 groups
    /// 0.35 s, and a thousand groups of times 0.08 s.
    fn report(&mut self, now: &Moment<'_>) -> io::Result<()>;
    /// Whether a live session has nothing left to wait for.
    fn is_done(&self) -> bool {
        false
    }
    /// Writes what stands after the last one.
    fn end(&mut self, end: &EndInfo) -> io::Result<()>;
}

/// The time of a report, and what was there then.
pub(super) struct Moment<'a> {
    /// By the records' clock.
    pub(super) at: KtimeNs,
    /// When the session began.
    pub(super) began: KtimeNs,
    /// Every socket.
    pub(super) tracker: &'a Tracker,
    /// Those that were asked for.
    pub(super) filter: &'a Filter,
    /// Nothing follows.
    pub(super) last: bool,
}

/// Where changes go.
pub(super) enum View {
    /// Nowhere: a recording keeps the records themselves.
    Nothing,
    /// One line for each.
    Lines(Filter, Sink<Stdout>),
    /// One line for each connection that is over.
    Connections(Box<Gathering>),
    /// Into a report, which is due this often while a live session lasts.
    Report(Filter, Box<dyn Report>, Duration),
}

impl View {
    pub(super) fn start(&mut self) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Lines(_, sink) => sink.start(),
            Self::Connections(all) => all.start(),
            Self::Report(_, report, _) => report.start(),
        }
    }

    /// Takes `changes`; stops at the first that cannot be written.
    pub(super) fn changes(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut done = Ok(());
        match self {
            Self::Nothing => {}
            Self::Lines(filter, sink) => {
                for change in changes {
                    filter.pass(change, &mut |passed| {
                        if done.is_ok() {
                            done = sink.change(passed);
                        }
                    });
                }
            }
            Self::Connections(all) => done = all.changes(changes),
            Self::Report(filter, report, _) => {
                for change in changes {
                    filter.pass(change, &mut |passed| report.change(passed));
                }
            }
        }
        done
    }

    /// Every change until `now` has been taken.
    pub(super) fn settle(&mut self, now: KtimeNs, tracker: &Tracker) -> io::Result<()> {
        match self {
            Self::Connections(all) => all.settle(now, tracker),
            _ => Ok(()),
        }
    }

    /// Takes a record for what a report wants of it.
    pub(super) fn record(&mut self, record: &Record, bytes: &[u8]) {
        if let Self::Report(_, report, _) = self {
            report.record(record, bytes);
        }
    }

    /// Which sockets have to be inspected before the report of `at`.
    pub(super) fn prepare(
        &mut self,
        at: KtimeNs,
        began: KtimeNs,
        tracker: &Tracker,
        wanted: &mut Vec<SockAddr64>,
    ) {
        if let Self::Report(filter, report, _) = self {
            let moment = Moment {
                at,
                began,
                tracker,
                filter,
                last: false,
            };
            report.prepare(&moment, wanted);
        }
    }

    /// How often a report is due, if there are any.
    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Report(_, _, interval) => Some(*interval),
            _ => None,
        }
    }

    pub(super) fn report(
        &mut self,
        at: KtimeNs,
        began: KtimeNs,
        tracker: &Tracker,
        last: bool,
    ) -> io::Result<()> {
        let Self::Report(filter, report, _) = self else {
            return Ok(());
        };
        if filter.held() > 0 {
            tracker.open(at, |open| {
                filter.learn(open, &mut |passed| report.change(passed));
            });
        }
        report.report(&Moment {
            at,
            began,
            tracker,
            filter,
            last,
        })
    }

    /// Whether a live session has nothing left to wait for.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Report(_, report, _) if report.is_done())
    }

    /// Hands what was written to the operating system.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Lines(_, sink) => sink.flush(),
            Self::Connections(all) => all.flush(),
            Self::Report(_, report, _) => report.flush(),
            Self::Nothing => Ok(()),
        }
    }

    pub(super) fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Lines(_, sink) => sink.end(end),
            Self::Connections(all) => all.end(end),
            Self::Report(_, report, _) => report.end(end),
        }
    }

    /// Changes that their connection's line leaves out because there were too many.
    pub(super) fn dropped(&self) -> u64 {
        match self {
            Self::Connections(all) => all.dropped(),
            _ => 0,
        }
    }

    /// Changes that were left out because too many waited for their process.
    pub(super) fn overflowed(&self) -> u64 {
        match self {
            Self::Nothing | Self::Connections(_) => 0,
            Self::Lines(filter, _) | Self::Report(filter, ..) => filter.overflowed(),
        }
    }
}
