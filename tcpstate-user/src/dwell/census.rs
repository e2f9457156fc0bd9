//! What is open at the time of a report, and the report.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Dwells, Key, LIFE, MAX_GROUPS, Report, Row, times::Times};
use crate::track::{Dwell, Open};

/// Groups of open sockets that are looked at before it is decided which are the
/// largest: 8 MB.
const CANDIDATES: usize = 1 << 16;

/// Sockets that are in a state now.
#[derive(Debug)]
pub struct Census<'a> {
    dwells: &'a Dwells,
    open: HashMap<Key, Still, RandomState>,
}

/// Those of one group.
#[derive(Clone, Copy, Debug, Default)]
struct Still {
    count: u64,
    total_ns: u128,
    longest_ns: u64,
    /// Of how many the begin is known, and of how many a bound of it.
    exact: u64,
    at_least: u64,
}

impl<'a> Census<'a> {
    pub(super) fn new(dwells: &'a Dwells) -> Self {
        Self {
            dwells,
            open: HashMap::default(),
        }
    }

    /// Counts one that was asked for.
    pub fn add(&mut self, open: &Open) {
        if !self.dwells.wants(open.state) {
            return;
        }
        let mut key = self.dwells.keys.of_open(open);
        if self.open.len() >= CANDIDATES && !self.open.contains_key(&key) {
            key = Key::rest(open.state);
        }
        self.open.entry(key).or_default().add(open.so_far);
    }

    /// The report, with what was counted. Of the groups that have only open
    /// sockets the largest get the room that is left.
    #[must_use]
    pub fn report(mut self) -> Report {
        let dwells = self.dwells;
        let mut rows = Vec::with_capacity(dwells.groups.len());
        for (key, times) in &dwells.groups {
            if !key.is_rest {
                let still = self.open.remove(key).unwrap_or_default();
                rows.push(Row::new(*key, Some(times), still));
            }
        }
        let (mut rest, mut open): (Vec<_>, Vec<_>) =
            self.open.drain().partition(|(key, _)| key.is_rest);
        open.sort_unstable_by_key(|(key, still)| (Reverse(still.count), life(key), key.order()));
        let room = MAX_GROUPS.saturating_sub(dwells.named).min(open.len());
        rest.extend(open.drain(room..));
        rows.extend(
            open.into_iter()
                .map(|(key, still)| Row::new(key, None, still)),
        );
        for state in LIFE {
            let key = Key::rest(state);
            let folded = rest.iter().filter(|(key, _)| key.state == state);
            let still = folded.fold(Still::default(), |sum, (_, it)| sum.and(it));
            let times = dwells.groups.get(&key);
            if times.is_some() || still.count > 0 {
                rows.push(Row::new(key, times, still));
            }
        }
        rows.sort_unstable_by_key(|row| {
            let key = &row.key;
            (life(key), key.is_rest, Reverse(row.total_ns), key.order())
        });
        Report {
            keys: dwells.keys,
            rows,
            unmeasured: dwells.unmeasured(),
        }
    }
}

impl Still {
    fn add(&mut self, so_far: Dwell) {
        self.count += 1;
        match so_far {
            Dwell::Exact(_) => self.exact += 1,
            Dwell::AtLeast(_) => self.at_least += 1,
            Dwell::Unknown => {}
        }
        if let Dwell::Exact(ns) | Dwell::AtLeast(ns) = so_far {
            self.total_ns += u128::from(ns);
            self.longest_ns = self.longest_ns.max(ns);
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            total_ns: self.total_ns + other.total_ns,
            longest_ns: self.longest_ns.max(other.longest_ns),
            exact: self.exact + other.exact,
            at_least: self.at_least + other.at_least,
        }
    }

    /// The longest of all is exact only if every one is.
    fn oldest(&self) -> Option<Dwell> {
        match *self {
            Self { count: 0, .. } => None,
            Self { count, exact, .. } if count == exact => Some(Dwell::Exact(self.longest_ns)),
            Self {
                exact, at_least, ..
            } if exact + at_least > 0 => Some(Dwell::AtLeast(self.longest_ns)),
            _ => Some(Dwell::Unknown),
        }
    }
}

impl Row {
    fn new(key: Key, times: Option<&Times>, still: Still) -> Self {
        let over = |number: fn(&Times) -> u64| times.map_or(0, number);
        let sum_ns = times.map_or(0, |times| times.sum_ns);
        let bounds = times.map_or(0, |times| times.at_least_sum_ns);
        Self {
            key,
            count: over(|times| times.count),
            sum_ns,
            exact: times.and_then(Times::exact),
            decades: times.map_or_else(Default::default, |times| times.decades),
            at_least: over(|times| times.at_least),
            unknown: over(|times| times.unknown),
            open: still.count,
            oldest: still.oldest(),
            total_ns: sum_ns + bounds + still.total_ns,
        }
    }
}

/// Where in a connection's life.
fn life(key: &Key) -> usize {
    let place = LIFE.iter().position(|state| *state == key.state);
    place.unwrap_or(LIFE.len())
}
