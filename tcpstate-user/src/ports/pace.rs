//! How fast a tuple space is used up, and when nothing will be left of it.
//!
//! Counts only: it knows no sockets and no limits.

use std::collections::VecDeque;

use crate::decode::KtimeNs;

/// Rates are those of the last so many nanoseconds, or of the last interval
/// between two reports where that is longer.
const WINDOW: u64 = 10_000_000_000;
/// So many marks of a space are kept.
const MARKS: u64 = 8;
/// After so long without a connect the next one begins a load of its own: what
/// was before says nothing of how fast that goes.
const QUIET: u64 = 2_000_000_000;
/// What happened in less time is no rate yet.
const SHORTEST: u64 = 500_000_000;
/// Nothing is said of what is farther away.
const HORIZON: u64 = 24 * 3600 * 1_000_000_000;

/// What has happened since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Connects that got a port.
    pub(super) opened: u64,
    /// Of these, gone into `TIME_WAIT`.
    pub(super) waits: u64,
    /// Ends of `TIME_WAIT`.
    pub(super) waited: u64,
    /// Ends out of other states.
    pub(super) closed: u64,
}

/// What happens each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Connects that get a port.
    pub opened: f64,
    /// Ports that are given back.
    pub freed: f64,
    /// Connections that go into `TIME_WAIT`.
    pub(super) waits: f64,
    /// Ends of `TIME_WAIT`.
    pub(super) waited: f64,
    /// For how long it was counted, ns.
    pub over_ns: u64,
}

/// Counts of one space, and what they were before.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    pub(super) totals: Totals,
    marks: VecDeque<(KtimeNs, Totals)>,
    last: Option<KtimeNs>,
}

/// When nothing will be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is left.
    Now,
    /// In so many nanoseconds, if it goes on like this.
    In(u64),
    /// Not within a day, if it goes on like this.
    NotAtThisRate,
    /// Too early to say, or something that it needs is not known.
    Unknown,
}

/// What a space is like now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Ports left.
    pub(super) left: u64,
    /// Sockets in `TIME_WAIT` that keep their port.
    pub(super) waiting: u64,
    /// How long one of these keeps it, ns.
    pub(super) hold_ns: u64,
    /// It is given back by a later `connect()`, not by the end of `TIME_WAIT`.
    pub(super) reused: bool,
}

impl Pace {
    /// A connect got a port.
    pub(super) fn opened(&mut self, at: KtimeNs) {
        if self.last.is_none_or(|last| at.since(last) > QUIET) {
            self.marks.clear();
            self.marks.push_back((at, self.totals));
        }
        self.last = self.last.max(Some(at));
        self.totals.opened += 1;
    }

    /// Whether nothing has been opened in the window.
    pub(super) fn is_idle(&self, now: KtimeNs) -> bool {
        self.last.is_none_or(|last| now.since(last) > WINDOW)
    }

    /// Remembers a report's time, for the rates of later ones.
    pub(super) fn mark(&mut self, now: KtimeNs) {
        let due = |(at, _): &(KtimeNs, Totals)| now.since(*at) >= WINDOW / MARKS;
        if self.marks.back().is_none_or(due) {
            self.marks.push_back((now, self.totals));
        }
        while self.marks.len() > 1 && now.since(self.marks[1].0) >= WINDOW {
            self.marks.pop_front();
        }
    }

    /// Of late; `None` when it is too early to say.
    #[expect(clippy::cast_precision_loss, reason = "rates, of a few digits")]
    pub(super) fn rates(&self, now: KtimeNs) -> Option<Rates> {
        let (since, then) = self.marks.front()?;
        let over_ns = now.since(*since);
        let per_second =
            |now: u64, then: u64| now.saturating_sub(then) as f64 * 1e9 / over_ns as f64;
        let totals = &self.totals;
        let waited = per_second(totals.waited, then.waited);
        (over_ns >= SHORTEST).then(|| Rates {
            opened: per_second(totals.opened, then.opened),
            freed: waited + per_second(totals.closed, then.closed),
            waits: per_second(totals.waits, then.waits),
            waited,
            over_ns,
        })
    }
}

/// Follows two parts. Those in `TIME_WAIT` grow until as many leave it as come,
/// which is what comes in the time that one stays; all others just grow as they
/// do: nothing says that they end.
#[expect(clippy::cast_precision_loss, reason = "an estimate, of a few digits")]
pub(super) fn outlook(now: &Now, rates: Option<&Rates>) -> Outlook {
    if now.left == 0 {
        return Outlook::Now;
    }
    let Some(rates) = rates else {
        return Outlook::Unknown;
    };
    let left = now.left as f64;
    let waited = if now.reused { 0.0 } else { rates.waited };
    let others = rates.opened - rates.waits - (rates.freed - rates.waited);
    let waiting = rates.waits - waited;
    let until_level = rates.waits * now.hold_ns as f64 / 1e9 - now.waiting as f64;
    let rising = if waiting > 0.0 {
        (until_level / waiting).max(0.0)
    } else {
        0.0
    };
    let both = others + waiting;
    let first = left / both;
    if both > 0.0 && first <= rising {
        return within_horizon(first);
    }
    if others <= 0.0 {
        return Outlook::NotAtThisRate;
    }
    within_horizon(rising + (left - both * rising) / others)
}

fn within_horizon(seconds: f64) -> Outlook {
    let ns = seconds * 1e9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "not negative, and below the horizon"
    )]
    if ns < HORIZON as f64 {
        Outlook::In(ns.max(0.0) as u64)
    } else {
        Outlook::NotAtThisRate
    }
}
