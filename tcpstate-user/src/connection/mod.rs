//! Whole connections out of their changes: who closed first, how, and why.
//!
//! Pure: changes in, one [`Connection`] out for each that is over. It does not
//! know where changes come from, and looks at no clock: what was not seen makes
//! a time a lower bound and an end [`End::Unseen`], never a guess.

mod message;
mod value;

use std::collections::BTreeMap;

pub use message::message;
pub use value::{Connection, End, Reason, Role, StateTimes};

use crate::track::Change;

/// When a connection is told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Told {
    /// When it is over for the application: its `TIME_WAIT` is not waited for.
    #[default]
    Closed,
    /// When nothing is left of it.
    Gone,
}

/// The connections under way.
#[derive(Debug)]
pub struct Connections {
    told: Told,
    reasons: BTreeMap<u32, String>,
    max: usize,
    dropped: u64,
}

impl Connections {
    /// None yet. `reasons` are the kernel's names of `enum sk_rst_reason`; of
    /// more than `max` connections at a time, some are dropped and counted.
    #[must_use]
    pub fn new(told: Told, reasons: BTreeMap<u32, String>, max: usize) -> Self {
        Self {
            told,
            reasons,
            max,
            dropped: 0,
        }
    }

    /// Takes the next change; gives the connection if it is over by that.
    pub fn change(&mut self, _change: &Change) -> Option<Connection> {
        let _ = (self.told, &self.reasons, self.max);
        None
    }

    /// Connections there was no room for.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}
