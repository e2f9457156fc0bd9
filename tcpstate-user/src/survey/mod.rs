//! Everything that a report on leaks needs, gathered at one moment: what the
//! tracker knows, what the kernel says of each socket, and who has it.
//!
//! It reads `/proc` and blocks, so it runs beside the reader of the ring, on
//! values that were copied for it. It neither judges (`leak` does) nor writes.

mod alike;
mod glance;
mod listeners;
mod surveyor;
mod unnamed;
mod waiting;

use std::collections::{HashMap, HashSet};

use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    cli::Comm,
    decode::{Inspection, SockAddr64},
    holders::{Holders, ProcessFacts, process, scan},
    leak::{self, Class, Report, Socket},
    stack::StackId,
    track::{Dwell, Open, Opened},
};

use self::{glance::Glance, listeners::Listeners};
pub use self::{
    surveyor::{Answer, NamedStack, Question, Surveyor},
    unnamed::has_address,
    waiting::{Doings, Waiting},
};

/// A socket that may be a suspect, as the stream of events has it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// As the tracker knows it.
    pub open: Open,
    /// Where it was opened.
    pub origin_stack: Option<StackId>,
    /// Where end-of-file was read.
    pub eof_stack: Option<StackId>,
}

/// What a report is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Younger than this is too early to say, ns.
    pub min_age_ns: u64,
    /// For how long the trace has been running, ns.
    pub traced_ns: u64,
    /// Only sockets that one of these opened or has; empty: of everybody.
    pub pids: Vec<u32>,
    /// Only sockets of processes with one of these names; empty: of everybody.
    pub comms: Vec<Comm>,
    /// Only sockets in these states; empty: in any.
    pub states: Vec<TcpState>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// The suspects.
    pub report: Report,
    /// The processes that it names.
    pub processes: HashMap<u32, ProcessFacts>,
    /// What the threads of those are doing that do not look at their sockets.
    pub threads: HashMap<u32, Doings>,
    /// Processes whose descriptors could not be looked at.
    pub denied: usize,
    /// Why holders could not be looked for at all.
    pub failed: Option<String>,
}

/// Whether a report could be about a socket in this state, or needs it: a
/// listener, because of what waits in its queue.
#[must_use]
pub const fn concerns(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::CloseWait | TcpState::FinWait2 | TcpState::Close | TcpState::Listen
    )
}

/// Puts together what is known of `candidates`, listeners among them, and of
/// which the kernel said `seen`.
fn survey(
    candidates: &[Candidate],
    seen: &HashMap<SockAddr64, Inspection>,
    asked: &Asked,
    glance: &mut Glance<'_>,
) -> Survey {
    let known: Vec<_> = candidates
        .iter()
        .filter_map(|it| Some((it, still(it, seen.get(&it.open.conn.sk)?)?)))
        .collect();
    let inodes: HashSet<u64> = known.iter().map(|(_, now)| now.inode).collect();
    let (holders, failed) = match scan(&inodes) {
        Ok(holders) => (holders, None),
        Err(error) => (Holders::default(), Some(error.to_string())),
    };
    let listeners = Listeners::new(&known, &holders);
    let sockets: Vec<_> = known
        .iter()
        .filter(|(it, _)| it.open.state != TcpState::Listen)
        .map(|(it, now)| socket(it, now, &holders, &listeners))
        .filter(|socket| asked.wants(socket))
        .collect();
    let report = leak::group(&sockets, asked.min_age_ns, asked.traced_ns);
    let named = pids(&report);
    Survey {
        processes: named
            .iter()
            .filter_map(|&pid| Some((pid, process(pid)?)))
            .collect(),
        threads: waiting::of(&blamed(&report), glance),
        report,
        denied: holders.denied,
        failed,
    }
}

impl Asked {
    /// A socket that nobody has accepted is its listener's.
    fn wants(&self, socket: &Socket) -> bool {
        if !self.states.is_empty() && !self.states.contains(&socket.state) {
            return false;
        }
        if self.pids.is_empty() && self.comms.is_empty() {
            return true;
        }
        let listening = socket
            .listener
            .iter()
            .flat_map(|it| it.pids.iter().copied());
        let concerned: HashSet<u32> = socket
            .origin
            .iter()
            .map(|process| process.pid)
            .chain(socket.holders.iter().map(|it| it.pid))
            .chain(listening.filter(|_| socket.inode == 0))
            .collect();
        let by_pid = |pid: &u32| self.pids.is_empty() || self.pids.contains(pid);
        let named = |pid: &u32| {
            let facts = || process(*pid).is_some_and(|facts| self.comms.contains(&facts.comm));
            self.comms.is_empty() || facts()
        };
        concerned.iter().any(|pid| by_pid(pid) && named(pid))
    }
}

/// What the kernel says, unless the socket has moved on, or another is at its
/// address.
fn still<'a>(candidate: &Candidate, now: &'a Inspection) -> Option<&'a Inspection> {
    let open = &candidate.open;
    let same = now.state == open.state
        && now.netns == open.netns
        && (open.state == TcpState::Close || ports(&now.tuple) == ports(&open.tuple));
    same.then_some(now)
}

const fn ports(tuple: &Tuple) -> (u16, u16) {
    (tuple.lport, tuple.rport)
}

fn socket(
    candidate: &Candidate,
    now: &Inspection,
    holders: &Holders,
    listeners: &Listeners,
) -> Socket {
    let open = &candidate.open;
    // The acknowledgment in the peer's FIN is the last one unless something
    // was acknowledged since: a lower bound (tcpi_last_ack_recv).
    let quiet = u64::from(now.quiet_ms) * 1_000_000;
    let (age_ns, age_exact) = match open.so_far {
        Dwell::Exact(ns) => (ns, true),
        Dwell::AtLeast(ns) => (ns.max(quiet), false),
        Dwell::Unknown => (quiet, false),
    };
    Socket {
        conn: open.conn,
        netns: open.netns,
        family: open.family,
        tuple: open.tuple,
        state: open.state,
        age_ns,
        age_exact,
        opened: match open.opened {
            Opened::Unknown if listeners.of(open).is_some() => Opened::Accept,
            opened => opened,
        },
        origin: open.origin,
        origin_stack: candidate.origin_stack,
        eof_stack: candidate.eof_stack,
        reset: open.was_reset,
        how: now.how,
        inode: now.inode,
        unread: now.unread,
        holders: holders.of(now.inode).to_vec(),
        listener: listeners.of(open).cloned(),
    }
}

/// Every process that a report names.
fn pids(report: &Report) -> HashSet<u32> {
    let mut pids = HashSet::new();
    for group in &report.groups {
        pids.extend(group.owner.pid());
        pids.extend(group.origin.map(|process| process.pid));
        pids.extend(group.held.iter().map(|it| it.pid));
        pids.extend(group.listener.iter().flat_map(|it| &it.pids));
    }
    pids
}

/// The processes of which it matters what they are doing instead, the worst
/// first.
fn blamed(report: &Report) -> Vec<u32> {
    let busy = |class| {
        matches!(
            class,
            Class::EofNotRead | Class::UnreadData | Class::NeverAccepted
        )
    };
    let mut pids = Vec::new();
    for group in report.groups.iter().filter(|it| busy(it.class)) {
        let known = |pid: &u32| pids.contains(pid);
        pids.extend(group.owner.pid().filter(|pid| !known(pid)));
    }
    pids
}
