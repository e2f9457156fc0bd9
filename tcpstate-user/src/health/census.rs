//! How many sockets are in each state now.

use tcpstate_common::state::TcpState;

use crate::track::{Follows, Open};

/// The number of sockets in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    states: [u64; TcpState::ALL.len()],
    /// Whether minisockets are among them.
    minisockets: bool,
}

impl Census {
    /// Nobody yet, by a tracker that is given these records.
    #[must_use]
    pub fn new(follows: Follows) -> Self {
        Self {
            states: [0; TcpState::ALL.len()],
            minisockets: follows.begins && follows.ends,
        }
    }

    /// Counts a socket.
    pub fn add(&mut self, open: &Open) {
        let at = TcpState::ALL.iter().position(|state| *state == open.state);
        if let Some(count) = at.and_then(|at| self.states.get_mut(at)) {
            *count += 1;
        }
    }

    /// How many are in a state; `None` where that is not known: of a request
    /// nothing tells before it ends, and minisockets have no hook everywhere.
    #[must_use]
    pub fn of(&self, state: TcpState) -> Option<u64> {
        let at = TcpState::ALL.iter().position(|it| *it == state)?;
        match state {
            TcpState::SynRecv => None,
            TcpState::TimeWait | TcpState::FinWait2 if !self.minisockets => None,
            _ => self.states.get(at).copied(),
        }
    }
}
