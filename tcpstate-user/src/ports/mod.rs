//! Who uses up which tuple space: ports in use by destination, how fast they
//! are used up, and when none is left.
//!
//! Pure: time comes in the values, it reads no clock and no sysctl, and writes
//! nothing. It is given every [`Change`], at a report every socket that is open
//! ([`Survey`], then [`Census`]), and [`Reading`]s of what limits them.
//!
//! - A client's port is used once in each [`Space`] (local address, remote
//!   address, remote port), from `connect()` to the end of `TIME_WAIT`: that
//!   runs out. The port of a [`Service`] is not used up by its connections,
//!   whatever state they are in.
//! - Whether a port is a service's is known from who listens, or has listened
//!   while connections of then are still there.
//! - Rates are counted from changes, what is there now from the open sockets.

mod advice;
mod census;
mod key;
mod limits;
mod makers;
mod pace;
mod report;
mod room;
mod rows;
mod services;
mod survey;

#[cfg(test)]
mod tests;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    decode::{Event, Family, KtimeNs, Record},
    track::{Cause, Change, ConnId, Dwell, Follows, Process},
};

pub use advice::{Advice, Verdict};
pub use census::Census;
pub use key::{Service, Space};
pub use limits::{Bound, Counters, Known, Limits, Queue, Reading};
pub use makers::{Held, Maker};
pub use pace::{Outlook, Rates};
pub use report::{Grown, Listener, Namespace, Report, Rest, Row, Server, TIME_WAIT_NS, Waits};
pub use room::Counts;
pub use survey::Survey;

use makers::Who;
use pace::Pace;

/// Spaces of which something is remembered between reports: 8 MB. Beyond it
/// idle ones are forgotten first, then new ones are only counted.
pub const MAX_SPACES: usize = 1 << 14;
/// Processes of which failed connects are counted, by space.
const MAX_FAILED: usize = 1 << 12;
/// Connections whose port is not known yet.
const MAX_UNBORN: usize = 1 << 12;
/// Ports that are bound or listened on.
const MAX_BOUND: usize = 1 << 16;

/// What a report is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Spaces that a process with one of these ids uses; empty: of everybody.
    pub pids: Vec<u32>,
    /// Spaces that a process with one of these names uses; empty: of everybody.
    pub comms: Vec<Vec<u8>>,
    /// Spaces of addresses of this family.
    pub family: Option<Family>,
    /// Rows of each kind; what is beyond them is summed up.
    pub top: usize,
}

/// What is known of the past.
#[derive(Debug)]
pub struct Ports {
    asked: Asked,
    follows: Follows,
    accounts: HashMap<Space, Account, RandomState>,
    /// Connects that found no port, by who asked; beyond [`MAX_FAILED`] by
    /// nobody.
    failed: HashMap<(Space, Who), u64, RandomState>,
    /// Ports that are or were listened on, or that came with an `accept`.
    served: HashSet<(u32, u16), RandomState>,
    /// Ports that were bound before `connect()`, and when that was.
    bound: HashMap<(u32, u16), KtimeNs, RandomState>,
    /// Connections of which it was told that they connect, not from which port.
    unborn: HashSet<ConnId, RandomState>,
    /// The first reading of each namespace's counters.
    baselines: HashMap<u32, Counters, RandomState>,
    /// Connects for which there was no room in `accounts`.
    unaccounted: u64,
    /// The time of the first report.
    reported: Option<KtimeNs>,
}

/// What is remembered of a space.
#[derive(Clone, Debug, Default)]
struct Account {
    pace: Pace,
    /// Ends of minisockets.
    ended: Vec<(Cause, u64)>,
    /// Whole times in `TIME_WAIT` that ran out by themselves.
    expired: u64,
    expired_ns: u64,
    /// Connects that found no port.
    failed: u64,
    failed_at: Option<KtimeNs>,
}

impl Ports {
    /// Nothing is known yet; `follows` is what the session's hooks tell.
    #[must_use]
    pub fn new(asked: Asked, follows: Follows) -> Self {
        Self {
            asked,
            follows,
            accounts: HashMap::default(),
            failed: HashMap::default(),
            served: HashSet::default(),
            bound: HashMap::default(),
            unborn: HashSet::default(),
            baselines: HashMap::default(),
            unaccounted: 0,
            reported: None,
        }
    }

    /// Takes what only a record tells: that a socket which connects has a port
    /// already, so that `bind()` gave it one and not `connect()`.
    pub fn record(&mut self, record: &Record) {
        let Event::Transition(event) = &record.event else {
            return;
        };
        let connects = (event.old, event.new) == (TcpState::Close, TcpState::SynSent);
        if connects && event.tuple.lport != 0 && self.bound.len() < MAX_BOUND {
            self.bound
                .insert((event.netns, event.tuple.lport), record.at);
        }
    }

    /// Takes a change of any socket.
    pub fn change(&mut self, change: &Change) {
        let tuple = &change.tuple;
        // The tracker does not wait for ever for a port that it was not told.
        if !self.unborn.is_empty() && self.unborn.remove(&change.conn) && tuple.lport != 0 {
            self.opened(change);
        }
        match (change.old, change.new) {
            (_, TcpState::Listen) | (TcpState::Listen, TcpState::SynRecv) => {
                self.serve(change.netns, tuple.lport);
            }
            (TcpState::Listen, _) => {}
            (TcpState::SynSent, TcpState::Close) if change.cause == Some(Cause::NoPort) => {
                self.failed(change);
            }
            (TcpState::Close, TcpState::SynSent) if tuple.lport != 0 => self.opened(change),
            (TcpState::Close, TcpState::SynSent) if self.unborn.len() < MAX_UNBORN => {
                self.unborn.insert(change.conn);
            }
            _ if tuple.lport == 0 || self.is_served(change.netns, tuple.lport) => {}
            (old, new) => {
                let space = Space::of(change.netns, tuple);
                if let Some(account) = self.accounts.get_mut(&space) {
                    account.moved(old, new, change);
                }
            }
        }
    }

    fn opened(&mut self, change: &Change) {
        // connect() has chosen a port that was bound once: it is not any more.
        let key = (change.netns, change.tuple.lport);
        if self.bound.get(&key).is_some_and(|at| *at < change.at) {
            self.bound.remove(&key);
        }
        match self.account(change.netns, &change.tuple) {
            Some(account) => account.pace.opened(change.at),
            None => self.unaccounted += 1,
        }
    }

    fn failed(&mut self, change: &Change) {
        let space = Space::of(change.netns, &change.tuple);
        let Some(account) = self.account(change.netns, &change.tuple) else {
            self.unaccounted += 1;
            return;
        };
        account.failed += 1;
        account.failed_at = account.failed_at.max(Some(change.at));
        let mut key = (space, Who::of(change.origin));
        if self.failed.len() >= MAX_FAILED && !self.failed.contains_key(&key) {
            key.1 = Who::Others;
        }
        *self.failed.entry(key).or_default() += 1;
    }

    /// That of the space of `tuple`, if there is room for it.
    fn account(&mut self, netns: u32, tuple: &Tuple) -> Option<&mut Account> {
        let space = Space::of(netns, tuple);
        if self.accounts.len() >= MAX_SPACES && !self.accounts.contains_key(&space) {
            return None;
        }
        Some(self.accounts.entry(space).or_default())
    }

    fn serve(&mut self, netns: u32, port: u16) {
        if port != 0 && self.served.len() < MAX_BOUND {
            self.served.insert((netns, port));
        }
    }

    fn is_served(&self, netns: u32, port: u16) -> bool {
        self.served.contains(&(netns, port))
    }

    /// Begins a report: what is listened on, and what is bound.
    #[must_use]
    pub fn survey<'a>(&'a mut self, reading: Option<&'a Reading>) -> Survey<'a> {
        Survey::new(self, reading)
    }

    /// Makes room where little is left: spaces in which nothing happens and of
    /// which there is nothing to tell.
    fn forget_idle(&mut self, now: KtimeNs) {
        if self.accounts.len() > MAX_SPACES / 2 {
            self.accounts
                .retain(|_, account| !account.pace.is_idle(now) || account.failed > 0);
        }
    }
}

impl Account {
    fn moved(&mut self, old: TcpState, new: TcpState, change: &Change) {
        let totals = &mut self.pace.totals;
        match (old, new) {
            (_, TcpState::TimeWait) => totals.waits += 1,
            (TcpState::TimeWait, TcpState::Close) => totals.waited += 1,
            (_, TcpState::Close) => totals.closed += 1,
            _ => {}
        }
        if new != TcpState::Close || change.kind != crate::decode::SocketKind::Minisocket {
            return;
        }
        if let Some(cause) = change.cause {
            match self.ended.iter_mut().find(|(known, _)| *known == cause) {
                Some((_, count)) => *count += 1,
                None => self.ended.push((cause, 1)),
            }
        }
        if let (Some(Cause::Expired), Dwell::Exact(ns)) = (change.cause, change.dwell) {
            self.expired += 1;
            self.expired_ns = self.expired_ns.saturating_add(ns);
        }
    }
}

impl Asked {
    fn wants(&self, process: &Process) -> bool {
        (self.pids.is_empty() || self.pids.contains(&process.pid)) && self.names(&process.comm)
    }

    fn names(&self, comm: &[u8; 16]) -> bool {
        let end = comm.iter().position(|&byte| byte == 0);
        let name = &comm[..end.unwrap_or(comm.len())];
        self.comms.is_empty() || self.comms.iter().any(|comm| comm == name)
    }

    const fn is_of_processes(&self) -> bool {
        !self.pids.is_empty() || !self.comms.is_empty()
    }
}
