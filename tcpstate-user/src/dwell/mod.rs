//! How long sockets stay in each state: distributions of the times that
//! [`Change`]s tell, and what is open at the time of a report.
//!
//! Pure: time comes in the values, it reads no clock and writes nothing. It
//! knows no filters but the states that were asked for, and remembers no
//! connections.
//!
//! Every stay in a state is counted in one place of its group:
//!
//! - `count`: begin and end were seen. Sum, least and greatest are exact, the
//!   quantiles as good as [`QUANTILE_ERROR`] says.
//! - `at_least`: the begin was not seen. A lower bound, in no other number.
//! - `unknown`: it is over, and nothing true can be said of its length.
//! - `open`: it is not over. At a report only.
//!
//! Nothing stays in `CLOSE`: it is where a connection begins and ends. A child's
//! `LISTEN -> SYN_RECV` is a birth as well, the listener goes on.

mod census;
mod key;
mod times;

#[cfg(test)]
mod tests;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::state::TcpState;

use crate::track::{Change, Dwell, Follows};

pub use census::Census;
pub use key::{By, Key, Keys, Peer};
pub use times::{DECADES, Exact, QUANTILE_ERROR};

use self::times::Times;

/// Groups with times of their own. One costs 110 KB when the longest stay was a
/// minute and 190 KB when it was a year, so all of them at most 200 MB. What
/// belongs to another is counted in the one that is [`Key::is_rest`] of its state.
pub const MAX_GROUPS: usize = 1 << 10;

/// States in the order of a connection's life, that of who closes first before
/// that of the other side.
pub const LIFE: [TcpState; 10] = [
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
    TcpState::CloseWait,
    TcpState::LastAck,
];

/// What is known of the times so far.
#[derive(Debug)]
pub struct Dwells {
    keys: Keys,
    /// Empty: all.
    states: Vec<TcpState>,
    follows: Follows,
    groups: HashMap<Key, Times, RandomState>,
    /// Groups that are not the rest of a state.
    named: usize,
}

/// What a report says.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What the groups differ by, besides the state.
    pub keys: Keys,
    /// Sorted by state as in [`LIFE`], then by the time spent in it altogether,
    /// the most first.
    pub rows: Vec<Row>,
    /// States of which something is not measured in this session, and what.
    pub unmeasured: Vec<(TcpState, Unmeasured)>,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Which.
    pub key: Key,
    /// Stays whose begin and end were seen.
    pub count: u64,
    /// Of these.
    pub sum_ns: u128,
    /// Of these, if there are any.
    pub exact: Option<Exact>,
    /// Of these, by the decade of their length in nanoseconds.
    pub decades: [u64; DECADES],
    /// Stays whose begin was not seen.
    pub at_least: u64,
    /// Stays of which nothing is known but that they are over.
    pub unknown: u64,
    /// Not left yet.
    pub open: u64,
    /// How long the longest of these has lasted; a lower bound as soon as one of
    /// them is one. `None` when there are none.
    pub oldest: Option<Dwell>,
    /// Lower bound of the time spent in the state altogether.
    total_ns: u128,
}

/// What is missing of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmeasured {
    /// Everything.
    All,
    /// What came after the last descriptor was closed.
    AfterClose,
}

impl Unmeasured {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::AfterClose => "after_close",
        }
    }
}

impl Report {
    /// What is not measured of a state, where something is not.
    #[must_use]
    pub fn missing(&self, state: TcpState) -> Option<Unmeasured> {
        let mut unmeasured = self.unmeasured.iter();
        let found = unmeasured.find(|(of, _)| *of == state);
        found.map(|(_, what)| *what)
    }

    /// States of which something is not measured and that have no row to say so.
    pub fn silent(&self) -> impl Iterator<Item = TcpState> {
        let states = self.unmeasured.iter().map(|(state, _)| *state);
        states.filter(|state| !self.rows.iter().any(|row| row.key.state == *state))
    }
}

impl Dwells {
    /// Nothing is known yet. `states` are those asked for, none means all;
    /// `follows` is what the session's hooks tell.
    #[must_use]
    pub fn new(by: &[By], states: &[TcpState], follows: Follows) -> Self {
        Self {
            keys: Keys::new(by),
            states: states.to_vec(),
            follows,
            groups: HashMap::default(),
            named: 0,
        }
    }

    /// Takes the time that was spent in the state that was left.
    pub fn change(&mut self, change: &Change) {
        if !self.wants(change.old) || is_birth(change) {
            return;
        }
        let key = self.keys.of_change(change);
        self.group(key).add(change.dwell);
    }

    /// Begins to count what is open now.
    #[must_use]
    pub fn census(&self) -> Census<'_> {
        Census::new(self)
    }

    fn wants(&self, state: TcpState) -> bool {
        state != TcpState::Close && (self.states.is_empty() || self.states.contains(&state))
    }

    fn group(&mut self, mut key: Key) -> &mut Times {
        if !self.groups.contains_key(&key) {
            if self.named < MAX_GROUPS {
                self.named += 1;
            } else {
                key = Key::rest(key.state);
            }
        }
        self.groups.entry(key).or_default()
    }

    /// Without begins and ends of minisockets, a connection is left at the
    /// hand-over to one.
    fn unmeasured(&self) -> Vec<(TcpState, Unmeasured)> {
        if self.follows.begins && self.follows.ends {
            return Vec::new();
        }
        let mut missing = vec![
            (TcpState::FinWait2, Unmeasured::AfterClose),
            (TcpState::TimeWait, Unmeasured::All),
        ];
        missing.retain(|(state, _)| self.wants(*state));
        missing
    }
}

/// A connection's first line, which leaves no state that it was in.
fn is_birth(change: &Change) -> bool {
    change.old == TcpState::Listen
        && change.new == TcpState::SynRecv
        && change.dwell == Dwell::Unknown
}
