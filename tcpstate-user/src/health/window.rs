//! What changes of connections say of an interval, and whose they were.
//!
//! A change is told some milliseconds after it happened (a held line, a full
//! ring), so that its own time decides where it is counted. One that is told
//! only after its interval's line is counted in the next: in one line it always
//! is, and in the final one it is where it belongs.

use std::collections::{HashMap, HashSet};

use tcpstate_common::state::TcpState;

use super::Tally;
use crate::{
    decode::KtimeNs,
    track::{Change, ConnId, Process},
};

/// Processes told apart in an interval.
const PROCESSES: usize = 1024;
/// Of these, how many are in the line.
const NAMED: usize = 10;
/// Sockets in a simultaneous open at the same time, of which one takes no longer
/// than a round trip.
const MEETINGS: usize = 1024;

/// What several processes did together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many they are, at least.
    pub processes: usize,
    /// What they did.
    pub tally: Tally,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub(super) all: Tally,
    by: HashMap<Process, Tally>,
    /// Of processes for which there was no room.
    rest: Tally,
}

impl Window {
    fn note(&mut self, process: Option<Process>, tally: &Tally) {
        self.all.add(tally);
        if let Some(process) = process {
            self.note_of(process, tally);
        }
    }

    fn note_of(&mut self, process: Process, tally: &Tally) {
        if self.by.len() < PROCESSES || self.by.contains_key(&process) {
            self.by.entry(process).or_default().add(tally);
        } else {
            self.rest.add(tally);
        }
    }

    fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        self.rest.add(&other.rest);
        for (process, tally) in &other.by {
            self.note_of(*process, tally);
        }
    }

    /// The busiest processes, and what the others did.
    pub(super) fn busiest(&self) -> (Vec<(Process, Tally)>, Option<Share>) {
        let mut all: Vec<_> = self.by.iter().map(|(who, did)| (*who, *did)).collect();
        all.sort_by_key(|(who, did)| (std::cmp::Reverse(did.sum()), who.pid, who.comm));
        let mut others = Share {
            processes: all.len().saturating_sub(NAMED),
            tally: self.rest,
        };
        let named = all.len().min(NAMED);
        for (_, did) in all.drain(named..) {
            others.tally.add(&did);
        }
        let is_any = others != Share::default();
        (all, is_any.then_some(others))
    }
}

/// What is counted, and where.
#[derive(Debug, Default)]
pub(super) struct Events {
    from: KtimeNs,
    /// The end of the interval, once it is known.
    to: Option<KtimeNs>,
    interval: Window,
    next: Window,
    session: Window,
    /// Connects that have met: they are in `SYN_RECV` and have no listener.
    meetings: HashSet<ConnId>,
}

impl Events {
    pub(super) fn begin(&mut self, from: KtimeNs) {
        self.from = from;
    }

    /// The interval ends at `to`.
    pub(super) fn end(&mut self, to: KtimeNs) {
        let next = std::mem::take(&mut self.next);
        self.interval.add(&next);
        self.to = Some(to);
    }

    pub(super) fn change(&mut self, change: &Change) {
        let states = (change.old, change.new);
        if states == (TcpState::SynSent, TcpState::SynRecv) && self.meetings.len() < MEETINGS {
            self.meetings.insert(change.conn);
        }
        let has_met = change.old == TcpState::SynRecv && self.meetings.remove(&change.conn);
        let tally = Tally::of(change, !has_met);
        self.note(change.at, change.origin, &tally);
    }

    pub(super) fn accepted(&mut self, at: KtimeNs, process: Process) {
        self.note(at, Some(process), &Tally::accept());
    }

    fn note(&mut self, at: KtimeNs, process: Option<Process>, tally: &Tally) {
        if at <= self.from || *tally == Tally::default() {
            return;
        }
        match self.to {
            Some(to) if at > to => self.next.note(process, tally),
            _ => self.interval.note(process, tally),
        }
    }

    /// What the interval had, or the whole session.
    pub(super) fn take(&mut self, is_final: bool) -> Window {
        let interval = std::mem::take(&mut self.interval);
        self.session.add(&interval);
        self.interval = std::mem::take(&mut self.next);
        self.to = None;
        if is_final {
            std::mem::take(&mut self.session)
        } else {
            interval
        }
    }
}
