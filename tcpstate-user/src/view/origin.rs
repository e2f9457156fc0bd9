//! The decision about a connection's process, which on the server side comes
//! only with `accept()`: lines wait for it.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};
use tcpstate_common::state::TcpState;

use crate::{
    cli::Comm,
    track::{Change, ConnId, Process},
};

/// Lines held per connection. From birth to `accept()` a connection makes three
/// (`LISTEN`, `SYN_RECV`, `ESTABLISHED`); one that nobody accepts makes four more.
const LINES_PER_CONNECTION: usize = 8;

/// Lines held in total: at most 20 MB, when they are two per connection.
const LINES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Origins {
    pids: Vec<u32>,
    comms: Vec<Comm>,
    waiting: HashMap<ConnId, Vec<Change>, RandomState>,
    /// Sum of the lengths in `waiting`.
    held: usize,
    overflowed: u64,
}

impl Origins {
    /// `None` when every process passes.
    pub(super) fn new(pids: &[u32], comms: &[Comm]) -> Option<Self> {
        (!pids.is_empty() || !comms.is_empty()).then(|| Self {
            pids: pids.to_vec(),
            comms: comms.to_vec(),
            waiting: HashMap::default(),
            held: 0,
            overflowed: 0,
        })
    }

    pub(super) fn pass(&mut self, change: &Change, shown: bool, out: &mut impl FnMut(&Change)) {
        match change.origin {
            Some(process) => {
                self.learn(change.conn, process, out);
                if shown && self.matches(&process) {
                    out(change);
                }
            }
            None if ends(change) => drop(self.release(change.conn)),
            None if shown => self.hold(change),
            None => {}
        }
    }

    /// The process of a connection has become known.
    pub(super) fn learn(&mut self, conn: ConnId, process: Process, out: &mut impl FnMut(&Change)) {
        let held = self.release(conn);
        if self.matches(&process) {
            let origin = Some(process);
            held.into_iter()
                .for_each(|line| out(&Change { origin, ..line }));
        }
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn matches(&self, process: &Process) -> bool {
        let name = process.comm.split(|&byte| byte == 0).next();
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.comms.is_empty() || self.comms.iter().any(|comm| Some(&comm[..]) == name))
    }

    fn hold(&mut self, change: &Change) {
        let room = self.held < LINES;
        match self.waiting.entry(change.conn) {
            Entry::Occupied(mut lines) if room && lines.get().len() < LINES_PER_CONNECTION => {
                lines.get_mut().push(*change);
            }
            Entry::Vacant(slot) if room => {
                slot.insert(vec![*change]);
            }
            _ => {
                self.overflowed += 1;
                return;
            }
        }
        self.held += 1;
    }

    fn release(&mut self, conn: ConnId) -> Vec<Change> {
        let lines = self.waiting.remove(&conn).unwrap_or_default();
        self.held -= lines.len();
        lines
    }
}

/// Nobody accepts a connection that is over.
fn ends(change: &Change) -> bool {
    matches!(change.new, TcpState::Close | TcpState::TimeWait)
}
