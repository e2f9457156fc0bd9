//! What of an interval is out of the ordinary, and where to look next.
//!
//! A mark is not an alarm: it says what was seen, in numbers, and which view
//! tells more. The limits are below, each with its reason; a few of anything are
//! no mark, except of what should never happen at all.

use std::collections::VecDeque;

use tcpstate_common::state::TcpState;

use super::{Line, words};
use crate::counters::{Absent, Counter, Gauge};

/// One in 200: paths that lose no packets stay below, and from here on it is felt.
const RETRANSMITTED: f64 = 0.005;
/// Fewer segments sent again are chance, whatever their share.
const FEW_SEGMENTS: u64 = 5;
/// Fewer failed attempts are somebody's typing error.
const FEW_FAILURES: u64 = 3;
/// One of this many attempts may fail.
const FAILED_OF: u64 = 20;
/// Programs abort connections now and then, as with `SO_LINGER`.
const FEW_RESETS: u64 = 10;
/// One of this many connections may be reset.
const RESET_OF: u64 = 10;
/// One of this many segments may be bad.
const BAD_OF: u64 = 1000;
/// As many more sockets as a few clients that come at the same time.
const GROWN: u64 = 10;
/// Three intervals of growth one after the other.
const READINGS: usize = 4;

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// The network namespace is not there any more.
    NamespaceGone,
    /// Connects that found no port.
    NoPort,
    /// Accept queues were full.
    ListenOverflow,
    /// Listeners dropped what came for another reason.
    ListenDrop,
    /// Minisockets were refused, or nearly.
    TimeWaitLimit,
    /// TCP's memory is under pressure.
    MemoryPressure,
    /// Orphans were reset because there were too many, or no memory.
    OrphansReset,
    /// Their number grows, or is near the limit.
    Orphans,
    /// Many segments were sent again.
    Retransmissions,
    /// Many segments were bad.
    BadSegments,
    /// Attempts to connect failed.
    AttemptsFailed,
    /// Established connections were reset.
    Resets,
    /// Sockets that the peer has closed and the application has not.
    CloseWait,
}

impl Name {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NamespaceGone => "namespace_gone",
            Self::NoPort => "no_port",
            Self::ListenOverflow => "listen_overflow",
            Self::ListenDrop => "listen_drop",
            Self::TimeWaitLimit => "timewait_limit",
            Self::MemoryPressure => "memory_pressure",
            Self::OrphansReset => "orphans_reset",
            Self::Orphans => "orphans",
            Self::Retransmissions => "retransmissions",
            Self::BadSegments => "bad_segments",
            Self::AttemptsFailed => "attempts_failed",
            Self::Resets => "resets",
            Self::CloseWait => "close_wait",
        }
    }

    /// The command that tells more.
    const fn next(self) -> Option<&'static str> {
        match self {
            Self::NoPort | Self::ListenOverflow | Self::ListenDrop | Self::TimeWaitLimit => {
                Some("tcpstate ports")
            }
            Self::MemoryPressure | Self::CloseWait => Some("tcpstate leaks"),
            Self::OrphansReset | Self::Orphans => Some("tcpstate dwell --by process"),
            Self::Retransmissions | Self::AttemptsFailed | Self::Resets => {
                Some("tcpstate trace --connections")
            }
            Self::NamespaceGone | Self::BadSegments => None,
        }
    }
}

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What.
    pub name: Name,
    /// The same in a sentence, with numbers. Names of processes are in it as
    /// they are: any characters.
    pub message: String,
    /// The command that tells more.
    pub next: Option<&'static str>,
}

/// The last readings of what can grow.
#[derive(Debug, Default)]
pub(super) struct Trail {
    orphans: Series,
    close_wait: Series,
}

#[derive(Debug, Default)]
struct Series {
    first: Option<u64>,
    highest: u64,
    last: VecDeque<u64>,
}

impl Trail {
    pub(super) fn note(&mut self, line: &Line) {
        self.orphans.note(line.reading.gauge(Gauge::Orphans).ok());
        self.close_wait.note(line.sockets.of(TcpState::CloseWait));
    }
}

impl Series {
    fn note(&mut self, value: Option<u64>) {
        let Some(value) = value else {
            self.last.clear();
            return;
        };
        self.first.get_or_insert(value);
        self.highest = self.highest.max(value);
        if self.last.len() == READINGS {
            self.last.pop_front();
        }
        self.last.push_back(value);
    }

    /// From how many it has grown to how many: in each of the last intervals, or
    /// over the whole session and never more than at its end.
    fn grown(&self, is_final: bool) -> Option<(u64, u64)> {
        let now = *self.last.back()?;
        let then = if is_final {
            self.first.filter(|_| now == self.highest)?
        } else {
            let steps = self.last.iter().zip(self.last.iter().skip(1));
            let grows = steps.clone().count() + 1 == READINGS && steps.clone().all(|(a, b)| a < b);
            self.last.front().copied().filter(|_| grows)?
        };
        (now >= then + GROWN).then_some((then, now))
    }
}

/// The marks of a line, the worst first.
pub(super) fn of(line: &Line, trail: &Trail) -> Vec<Mark> {
    let found = [
        gone(line).map(|words| (Name::NamespaceGone, words)),
        no_port(line).map(|words| (Name::NoPort, words)),
        overflow(line).map(|words| (Name::ListenOverflow, words)),
        dropped(line).map(|words| (Name::ListenDrop, words)),
        timewait(line).map(|words| (Name::TimeWaitLimit, words)),
        memory(line).map(|words| (Name::MemoryPressure, words)),
        orphans_reset(line).map(|words| (Name::OrphansReset, words)),
        orphans(line, trail).map(|words| (Name::Orphans, words)),
        retransmitted(line).map(|words| (Name::Retransmissions, words)),
        bad(line).map(|words| (Name::BadSegments, words)),
        failed(line).map(|words| (Name::AttemptsFailed, words)),
        reset(line).map(|words| (Name::Resets, words)),
        close_wait(line, trail).map(|words| (Name::CloseWait, words)),
    ];
    let marks = found.into_iter().flatten();
    marks
        .map(|(name, message)| Mark {
            name,
            message,
            next: name.next(),
        })
        .collect()
}

/// How often, if at all.
fn any(line: &Line, counter: Counter) -> Option<u64> {
    line.count(counter).ok().filter(|count| *count > 0)
}

fn gone(line: &Line) -> Option<String> {
    let is_gone = line.reading.counter(Counter::InSegs) == Err(Absent::Gone);
    is_gone.then(|| "the network namespace has gone: its counters with it".to_owned())
}

fn no_port(line: &Line) -> Option<String> {
    (line.events.no_port > 0).then(|| words::no_port(line))
}

fn overflow(line: &Line) -> Option<String> {
    any(line, Counter::ListenOverflows).map(words::overflow)
}

fn dropped(line: &Line) -> Option<String> {
    let overflows = line.count(Counter::ListenOverflows).unwrap_or(0);
    let drops = line.count(Counter::ListenDrops).unwrap_or(0);
    let others = drops.saturating_sub(overflows);
    let queue = any(line, Counter::ReqQFullDrop);
    let cookies = any(line, Counter::ReqQFullDoCookies);
    let is_any = others > 0 || queue.is_some() || cookies.is_some();
    is_any.then(|| words::dropped(others, queue, cookies))
}

fn timewait(line: &Line) -> Option<String> {
    let max = line.reading.gauge(Gauge::MaxTimeWait);
    if let Some(refused) = any(line, Counter::TimeWaitOverflow) {
        return Some(words::timewait_refused(refused, max));
    }
    let (now, max) = (line.reading.gauge(Gauge::TimeWait).ok()?, max.ok()?);
    (max > 0 && now >= max / 10 * 9).then(|| words::timewait_near(now, max))
}

fn memory(line: &Line) -> Option<String> {
    let pressure = line.reading.gauge(Gauge::PressurePages).ok();
    let pages = line.reading.gauge(Gauge::MemoryPages).ok();
    let times = any(line, Counter::MemoryPressures);
    let over = pages.zip(pressure).is_some_and(|(now, at)| now >= at);
    (over || times.is_some()).then(|| words::memory(pages, pressure, times))
}

fn orphans_reset(line: &Line) -> Option<String> {
    any(line, Counter::AbortOnMemory).map(words::orphans_reset)
}

fn orphans(line: &Line, trail: &Trail) -> Option<String> {
    let now = line.reading.gauge(Gauge::Orphans).ok()?;
    let max = line.reading.gauge(Gauge::MaxOrphans).ok();
    if let Some(max) = max.filter(|max| now >= *max / 2 && now > 0) {
        return Some(words::orphans_near(now, max));
    }
    let (then, now) = trail.orphans.grown(line.is_final)?;
    Some(words::orphans_grow(then, now))
}

fn retransmitted(line: &Line) -> Option<String> {
    let again = any(line, Counter::RetransSegs).filter(|again| *again >= FEW_SEGMENTS)?;
    let share = line.retransmitted()?;
    let sent = line.count(Counter::OutSegs).ok()?;
    (share > RETRANSMITTED).then(|| words::retransmitted(again, sent, share))
}

fn bad(line: &Line) -> Option<String> {
    let bad = any(line, Counter::InErrs)?;
    let all = line.count(Counter::InSegs).unwrap_or(0);
    let checksum = any(line, Counter::InCsumErrors);
    (bad * BAD_OF >= all).then(|| words::bad(bad, all, checksum))
}

fn failed(line: &Line) -> Option<String> {
    let failed = line.count(Counter::AttemptFails);
    let failed = failed.unwrap_or_else(|_absent| line.events.failed());
    let opens = |counter, seen| line.count(counter).unwrap_or(seen);
    let attempts = opens(Counter::ActiveOpens, line.events.active())
        + opens(Counter::PassiveOpens, line.events.passive);
    (failed >= FEW_FAILURES && failed.saturating_mul(FAILED_OF) >= attempts)
        .then(|| words::failed(failed, line))
}

fn reset(line: &Line) -> Option<String> {
    let resets = line.count(Counter::EstabResets);
    let resets = resets.unwrap_or(line.events.resets);
    let opens = |counter, seen| line.count(counter).unwrap_or(seen);
    let opened = opens(Counter::ActiveOpens, line.events.active())
        + opens(Counter::PassiveOpens, line.events.passive);
    (resets >= FEW_RESETS && resets.saturating_mul(RESET_OF) >= opened)
        .then(|| words::reset(resets, line))
}

fn close_wait(line: &Line, trail: &Trail) -> Option<String> {
    let (then, now) = trail.close_wait.grown(line.is_final)?;
    Some(words::close_wait(then, now))
}
