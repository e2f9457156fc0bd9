//! Whole connections out of their changes: who closed first, how, and why.
//!
//! Pure: changes in, one [`Connection`] out for each that is over. It does not
//! know where changes come from, and looks at no clock: what was not seen makes
//! a time a lower bound and an end [`End::Unseen`], never a guess.

mod message;
mod other_end;
#[cfg(test)]
mod tests;
mod times;
mod underway;
mod value;
mod why;

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};
use tcpstate_common::state::TcpState;

pub use message::message;
pub use times::StateTimes;
pub use value::{Connection, End, Reason, Role};

use self::{other_end::OtherEnds, underway::Underway};
use crate::{
    decode::KtimeNs,
    track::{Change, ConnId},
};

/// When a connection is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Told {
    /// When both sides are done with it
    #[default]
    Closed,
    /// When its `TIME_WAIT` is over, too
    Gone,
}

/// The connections under way.
#[derive(Debug)]
pub struct Connections {
    told: Told,
    reasons: BTreeMap<u32, String>,
    max: usize,
    map: HashMap<ConnId, Underway, RandomState>,
    other_ends: OtherEnds,
    missing: usize,
    dropped: u64,
}

impl Connections {
    /// None yet. `reasons` are the kernel's names of `enum sk_rst_reason`. At
    /// most `max` connections are followed at a time, each for about 300 bytes;
    /// of those beyond that the end alone is told.
    #[must_use]
    pub fn new(told: Told, reasons: BTreeMap<u32, String>, max: usize) -> Self {
        Self {
            told,
            reasons,
            max,
            map: HashMap::default(),
            other_ends: OtherEnds::default(),
            missing: 0,
            dropped: 0,
        }
    }

    /// Takes the next change; gives the connection if it is over by that.
    pub fn change(&mut self, change: &Change) -> Option<Connection> {
        let waits = self.told == Told::Gone;
        let over = matches!(change.new, TcpState::Close | TcpState::TimeWait);
        if of_a_listener(change) || change.old == TcpState::TimeWait && !waits {
            return None;
        }
        if over && !(waits && change.new == TcpState::TimeWait) {
            let before = self.map.remove(&change.conn);
            return Some(self.finish(before, change));
        }
        let full = self.map.len() >= self.max;
        let underway = match self.map.entry(change.conn) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(_) if full => {
                self.dropped += 1;
                return None;
            }
            Entry::Vacant(slot) => slot.insert(Underway::new(change)),
        };
        underway.take(change);
        self.other_ends.tell(change, underway);
        if over {
            let told = underway.finish(change, |number| name(&self.reasons, number));
            underway.wait(told);
        }
        None
    }

    fn finish(&mut self, before: Option<Underway>, change: &Change) -> Connection {
        let mut underway = before.unwrap_or_else(|| Underway::new(change));
        underway.take(change);
        self.other_ends.tell(change, &mut underway);
        if change.old == TcpState::TimeWait
            && let Some(told) = underway.gone(change.at, change.cause)
        {
            return told;
        }
        let told = underway.finish(change, |number| name(&self.reasons, number));
        Connection {
            gone: change.cause.filter(|_| change.old == TcpState::TimeWait),
            ..told
        }
    }

    /// Says that there is a socket of this connection: part of a check.
    pub fn is_there(&mut self, conn: ConnId) {
        if let Some(underway) = self.map.get_mut(&conn) {
            underway.there = true;
        }
    }

    /// Ends a check: of a connection that two checks in a row have not found, the
    /// end went unseen. A line may wait for some time after its socket has gone,
    /// so checks must be further apart than that.
    pub fn end_missing(&mut self, now: KtimeNs, over: &mut Vec<Connection>) {
        self.missing = 0;
        let first = over.len();
        let mut missed = |conn: &ConnId, underway: &mut Underway| {
            underway.missed = match std::mem::take(&mut underway.there) {
                true => 0,
                false => underway.missed + 1,
            };
            self.missing += usize::from(underway.missed == 1);
            if underway.missed > 1 {
                let told = underway.gone(now, None);
                over.push(told.unwrap_or_else(|| underway.unseen(now, *conn)));
            }
            underway.missed > 1
        };
        self.map.retain(|conn, underway| !missed(conn, underway));
        // The order of a hash table is another in every run.
        over[first..].sort_by_key(|it| it.conn);
    }

    /// Whether the last check missed some that the one before had found.
    #[must_use]
    pub const fn has_missing(&self) -> bool {
        self.missing > 0
    }

    /// Changes of connections there was no room for.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn name(reasons: &BTreeMap<u32, String>, number: u32) -> Option<&str> {
    reasons.get(&number).map(String::as_str)
}

/// A listener is no connection; its children begin with its state.
fn of_a_listener(change: &Change) -> bool {
    change.new == TcpState::Listen
        || change.old == TcpState::Listen && change.new != TcpState::SynRecv
}
