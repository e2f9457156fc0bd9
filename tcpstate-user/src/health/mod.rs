//! Whether TCP is well: what happened in each interval, and what of it is out of
//! the ordinary.
//!
//! Pure: it is given readings of the kernel's counters and changes of
//! connections, each with its time, and says what lies between two readings. It
//! reads no file and no clock.
//!
//! What both count must agree; where the kernel counts something else than its
//! name says, [`Tally`] follows the kernel.

mod census;
mod marks;
mod tally;
mod window;
mod words;

#[cfg(test)]
mod tests;

use crate::{
    counters::{Absent, Counter, Reading, Value},
    decode::KtimeNs,
    track::{Change, Process},
};
use marks::Trail;
use window::Events;

pub use census::Census;
pub use marks::{Mark, Name};
pub use tally::{Failure, Tally};
pub use window::Share;

/// All that happened in an interval, or in the whole session.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When it began.
    pub from: KtimeNs,
    /// When it ended.
    pub to: KtimeNs,
    /// Whether it is the whole session.
    pub is_final: bool,
    counts: [Value; Counter::ALL.len()],
    /// What the kernel said at its end.
    pub reading: Reading,
    /// What the changes of connections say of it.
    pub events: Tally,
    /// Of these, whose they were: the busiest processes first.
    pub processes: Vec<(Process, Tally)>,
    /// What other processes did, if there are more.
    pub others: Option<Share>,
    /// The sockets at its end.
    pub sockets: Census,
    /// What is out of the ordinary, the worst first.
    pub marks: Vec<Mark>,
}

impl Line {
    /// How often the kernel has counted it.
    ///
    /// # Errors
    ///
    /// Why that is not known.
    pub const fn count(&self, counter: Counter) -> Value {
        self.counts[counter as usize]
    }

    /// The same for a second; `None` too when no time has passed.
    #[must_use]
    pub fn per_second(&self, counter: Counter) -> Option<f64> {
        let ns = self.to.since(self.from);
        let count = self.count(counter).ok().filter(|_| ns > 0)?;
        Some(float(count) * 1e9 / float(ns))
    }

    /// Of the segments sent, how many were sent again.
    #[must_use]
    pub fn retransmitted(&self) -> Option<f64> {
        let sent = self.count(Counter::OutSegs).ok().filter(|sent| *sent > 0)?;
        Some(float(self.count(Counter::RetransSegs).ok()?) / float(sent))
    }
}

/// A session, from its first reading on.
#[derive(Debug)]
pub struct Health {
    first: Option<Reading>,
    /// The reading before which every line so far has ended.
    before: Option<Reading>,
    /// The reading that the next line ends with.
    now: Option<Reading>,
    /// The last number known of each counter, and whether it ever went back.
    known: [(Option<u64>, bool); Counter::ALL.len()],
    events: Events,
    trail: Trail,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            first: None,
            before: None,
            now: None,
            known: [(None, false); Counter::ALL.len()],
            events: Events::default(),
            trail: Trail::default(),
        }
    }
}

impl Health {
    /// Takes the reading with which the session begins. What happened before is
    /// not counted.
    pub fn begin(&mut self, reading: Reading) {
        self.events.begin(reading.at);
        self.know(&reading);
        self.first = Some(reading);
        self.before = Some(reading);
    }

    /// Takes the reading with which the next line ends. What happens later goes
    /// into the line after it, whenever it is told.
    pub fn read(&mut self, reading: Reading) {
        self.events.end(reading.at);
        self.know(&reading);
        self.now = Some(reading);
    }

    /// Takes a change of a connection.
    pub fn change(&mut self, change: &Change) {
        self.events.change(change);
    }

    /// Takes a return of `accept` with a connection.
    pub fn accepted(&mut self, at: KtimeNs, process: Process) {
        self.events.accepted(at, process);
    }

    /// What happened since the last line; of the whole session when none
    /// follows. `from` and `to` say when, where there is no reading.
    pub fn line(&mut self, span: (KtimeNs, KtimeNs), sockets: Census, is_final: bool) -> Line {
        let none = |at| Reading::absent(at, Absent::Replay);
        let now = self.now.take().unwrap_or_else(|| none(span.1));
        let earlier = if is_final { self.first } else { self.before };
        let earlier = earlier.unwrap_or_else(|| none(span.0));
        let window = self.events.take(is_final);
        let (processes, others) = window.busiest();
        let mut line = Line {
            from: earlier.at,
            to: now.at,
            is_final,
            counts: Counter::ALL.map(|counter| self.between(&earlier, &now, counter, is_final)),
            reading: now,
            events: window.all,
            processes,
            others,
            sockets,
            marks: Vec::new(),
        };
        self.trail.note(&line);
        line.marks = marks::of(&line, &self.trail);
        self.before = Some(now);
        line
    }

    fn between(&self, earlier: &Reading, now: &Reading, counter: Counter, is_final: bool) -> Value {
        let (_, went_back) = self.known[counter as usize];
        match now.since(earlier, counter) {
            // It may have passed its old value again meanwhile.
            Ok(_) if is_final && went_back => Err(Absent::WentBack),
            value => value,
        }
    }

    fn know(&mut self, reading: &Reading) {
        for (counter, (known, went_back)) in Counter::ALL.into_iter().zip(&mut self.known) {
            if let Ok(value) = reading.counter(counter) {
                *went_back |= known.is_some_and(|known| value < known);
                *known = Some(value);
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate has fewer digits than a count"
)]
const fn float(count: u64) -> f64 {
    count as f64
}
