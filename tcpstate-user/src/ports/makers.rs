//! Who made the sockets of a tuple space: processes, those of one name together
//! where there are many.

use std::cmp::Reverse;

use hashbrown::HashMap;
use tcpstate_common::state::TcpState;

use crate::track::Process;

/// Rows for one space; what is beyond them is in the last.
const MOST: usize = 8;
/// Processes of one name that have rows of their own.
const ALIKE: usize = 4;

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Its origin.
    Process(Process),
    /// The origin is not known.
    Unknown,
    /// There was no room for whose.
    Others,
}

/// What somebody has in a space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Sockets in `TIME_WAIT`.
    pub time_wait: u64,
    /// Closed sockets in `FIN_WAIT2`.
    pub fin_wait2: u64,
    /// All others.
    pub open: u64,
    /// Connects that found no port.
    pub failed: u64,
}

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maker {
    /// The process, if it is one.
    pub pid: Option<u32>,
    /// Its name; `None` of those that are not known and of the rest.
    pub comm: Option<[u8; 16]>,
    /// How many processes it stands for; 0 when that is not known.
    pub processes: u64,
    /// What they have.
    pub held: Held,
}

impl Who {
    pub(super) fn of(origin: Option<Process>) -> Self {
        origin.map_or(Self::Unknown, Self::Process)
    }
}

impl Held {
    pub(super) fn add(&mut self, state: TcpState, minisocket: bool) {
        match state {
            TcpState::TimeWait => self.time_wait += 1,
            TcpState::FinWait2 if minisocket => self.fin_wait2 += 1,
            _ => self.open += 1,
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            time_wait: self.time_wait + other.time_wait,
            fin_wait2: self.fin_wait2 + other.fin_wait2,
            open: self.open + other.open,
            failed: self.failed + other.failed,
        }
    }

    /// What a row is ranked by.
    const fn weight(&self) -> u64 {
        self.time_wait + self.fin_wait2 + self.open + self.failed
    }
}

/// At most [`MOST`] rows, the most first.
pub(super) fn ranked(all: &[(Who, Held)]) -> Vec<Maker> {
    let mut by_name: HashMap<[u8; 16], Vec<Maker>> = HashMap::new();
    let mut rows = Vec::new();
    let mut nameless = Held::default();
    for (who, held) in all {
        match who {
            Who::Process(process) => by_name.entry(process.comm).or_default().push(Maker {
                pid: Some(process.pid),
                comm: Some(process.comm),
                processes: 1,
                held: *held,
            }),
            Who::Unknown | Who::Others => nameless = nameless.and(held),
        }
    }
    for (comm, alike) in by_name {
        match alike.len() {
            ..=ALIKE => rows.extend(alike),
            _ => rows.push(Maker {
                comm: Some(comm),
                ..together(&alike)
            }),
        }
    }
    rows.sort_unstable_by_key(|row| (Reverse(row.held.weight()), row.comm, row.pid));
    if nameless.weight() > 0 {
        rows.push(Maker {
            pid: None,
            comm: None,
            processes: 0,
            held: nameless,
        });
    }
    if rows.len() > MOST {
        let rest = together(&rows.split_off(MOST - 1));
        rows.push(rest);
    }
    rows
}

fn together(rows: &[Maker]) -> Maker {
    Maker {
        pid: None,
        comm: None,
        processes: rows.iter().map(|row| row.processes).sum(),
        held: rows
            .iter()
            .fold(Held::default(), |sum, row| sum.and(&row.held)),
    }
}
