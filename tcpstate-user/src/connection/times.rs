//! The time that one connection spent in each state.

use tcpstate_common::state::TcpState;

use crate::{dwell::LIFE, track::Dwell};

/// How many states there are, and 0, which is none.
const STATES: usize = 12;

/// What is known of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Exactly,
    AtLeast,
    Visited,
}

/// Time in each state: the sum of its stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateTimes {
    ns: [u64; STATES],
    known: [Known; STATES],
}

impl StateTimes {
    /// Time in `state`; `None` when it was not seen there.
    #[must_use]
    pub fn get(&self, state: TcpState) -> Option<Dwell> {
        let place = state as usize;
        let ns = self.ns.get(place).copied()?;
        match self.known.get(place)? {
            Known::Nothing => None,
            Known::Exactly => Some(Dwell::Exact(ns)),
            Known::AtLeast => Some(Dwell::AtLeast(ns)),
            Known::Visited => Some(Dwell::Unknown),
        }
    }

    /// The states it was in, in the order of a connection's life, and for how
    /// long.
    pub fn iter(&self) -> impl Iterator<Item = (TcpState, Dwell)> {
        LIFE.into_iter()
            .filter_map(|state| Some((state, self.get(state)?)))
    }

    /// The time in all of them; `None` when it was seen in none.
    pub(super) fn total(&self) -> Option<Dwell> {
        self.iter().map(|(_, dwell)| dwell).reduce(sum)
    }

    /// Adds a stay.
    pub(super) fn add(&mut self, state: TcpState, dwell: Dwell) {
        let place = state as usize;
        let sum = self.get(state).map_or(dwell, |before| sum(before, dwell));
        let (known, ns) = match sum {
            Dwell::Exact(ns) => (Known::Exactly, ns),
            Dwell::AtLeast(ns) => (Known::AtLeast, ns),
            Dwell::Unknown => (Known::Visited, 0),
        };
        if let (Some(its), Some(time)) = (self.known.get_mut(place), self.ns.get_mut(place)) {
            (*its, *time) = (known, ns);
        }
    }
}

/// Both stays, as exactly as both are known.
fn sum(one: Dwell, other: Dwell) -> Dwell {
    let ns = |dwell| match dwell {
        Dwell::Exact(ns) | Dwell::AtLeast(ns) => Some(ns),
        Dwell::Unknown => None,
    };
    match (one, other) {
        (Dwell::Exact(one), Dwell::Exact(other)) => Dwell::Exact(one.saturating_add(other)),
        _ => match (ns(one), ns(other)) {
            (None, None) => Dwell::Unknown,
            (one, other) => Dwell::AtLeast(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_as_exact_as_its_parts() {
        let mut times = StateTimes::default();
        assert_eq!(times.total(), None);
        times.add(TcpState::Established, Dwell::Exact(5));
        times.add(TcpState::FinWait1, Dwell::Exact(2));
        assert_eq!(times.total(), Some(Dwell::Exact(7)));
        times.add(TcpState::FinWait2, Dwell::Unknown);
        assert_eq!(times.get(TcpState::FinWait2), Some(Dwell::Unknown));
        assert_eq!(times.total(), Some(Dwell::AtLeast(7)));
        times.add(TcpState::FinWait2, Dwell::AtLeast(3));
        assert_eq!(times.get(TcpState::FinWait2), Some(Dwell::AtLeast(3)));
        assert_eq!(times.get(TcpState::Closing), None);
    }

    #[test]
    fn the_states_come_in_the_order_of_a_life() {
        let mut times = StateTimes::default();
        for state in [TcpState::LastAck, TcpState::SynRecv, TcpState::CloseWait] {
            times.add(state, Dwell::Exact(1));
        }
        let states: Vec<_> = times.iter().map(|(state, _)| state).collect();
        assert_eq!(
            states,
            [TcpState::SynRecv, TcpState::CloseWait, TcpState::LastAck]
        );
    }
}
