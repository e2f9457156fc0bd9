//! What the line of one end must say, and within which bounds.

use std::collections::{BTreeMap, BTreeSet};

use super::{Closer, Connection};
use crate::{
    expect::{Step, accepted, bounds, connected, within},
    net::{Conn, Side},
    process::{own_comm, own_pid},
};

/// The expected line of one end.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Whose.
    pub side: Side,
    opened_by: &'static str,
    owner: Option<(u32, String)>,
    steps: Vec<Step>,
    role: &'static str,
    end: &'static str,
    reset_reason: Option<&'static str>,
    closed_by: Option<Closer>,
    /// In and out.
    bytes: Option<(u64, u64)>,
    retransmitted: Option<bool>,
}

/// Who closed: a process and its call.
pub(super) fn closer(pid: u32, comm: &str, call: &str) -> Closer {
    Closer {
        pid: Some(pid),
        comm: Some(comm.to_owned()),
        call: call.to_owned(),
        side: "this".to_owned(),
    }
}

/// The calling thread did, by this call.
pub(super) fn own(call: &str) -> Closer {
    closer(own_pid(), &own_comm(), call)
}

impl Expected {
    /// A connection that this thread has opened with connect.
    pub(super) fn client(conn: &Conn) -> Self {
        Self::of(conn.side, "connect", connected(conn))
    }

    /// A connection that this thread has accepted.
    pub(super) fn server(conn: &Conn) -> Self {
        Self::of(conn.side, "accept", accepted(conn))
    }

    /// A connection of this thread's with a story.
    pub(super) fn of(side: Side, opened_by: &'static str, steps: Vec<Step>) -> Self {
        Self {
            side,
            opened_by,
            owner: Some((own_pid(), own_comm())),
            steps,
            role: "none",
            end: "fin",
            reset_reason: None,
            closed_by: None,
            bytes: Some((0, 0)),
            retransmitted: Some(false),
        }
    }

    /// Somebody else's, or nobody's.
    pub(super) fn owned_by(self, owner: Option<(u32, &str)>) -> Self {
        let owner = owner.map(|(pid, comm)| (pid, comm.to_owned()));
        Self { owner, ..self }
    }

    /// More of its story.
    pub(super) fn then(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// This end closed first.
    pub(super) fn active(self, end: &'static str, by: Closer) -> Self {
        self.ended("active", end).by(by)
    }

    /// The peer closed first: who that is, is known of one on this host.
    pub(super) fn passive(self, end: &'static str, by: Closer) -> Self {
        let side = "other".to_owned();
        self.ended("passive", end).by(Closer { side, ..by })
    }

    /// Nobody closed: it was broken off.
    pub(super) fn broken(self, end: &'static str) -> Self {
        self.ended("none", end)
    }

    /// How it ended.
    pub(super) fn ended(self, role: &'static str, end: &'static str) -> Self {
        Self { role, end, ..self }
    }

    /// Who closed first.
    pub(super) fn by(self, closer: Closer) -> Self {
        let closed_by = Some(closer);
        Self { closed_by, ..self }
    }

    /// Why a reset was sent.
    pub(super) fn because(self, reason: &'static str) -> Self {
        let reset_reason = Some(reason);
        Self {
            reset_reason,
            ..self
        }
    }

    /// What the application has got and given, in bytes.
    pub(super) fn bytes(self, bytes_in: u64, bytes_out: u64) -> Self {
        Self {
            bytes: Some((bytes_in, bytes_out)),
            ..self
        }
    }

    /// Segments had to be sent again.
    pub(super) fn retransmitted(self) -> Self {
        Self {
            retransmitted: Some(true),
            ..self
        }
    }

    /// How much got out, and how often it was tried, is left open.
    pub(super) fn stuck(self) -> Self {
        Self {
            bytes: None,
            retransmitted: None,
            ..self
        }
    }

    /// Panics unless the line is this; `accepts` is whether this session sees
    /// who accepts.
    pub(super) fn assert_is(&self, line: &Connection, accepts: bool) {
        if let Err(wrong) = self.check(line, accepts) {
            panic!("{wrong}\nline: {line:#?}\nexpected: {self:#?}");
        }
    }

    fn check(&self, line: &Connection, accepts: bool) -> Result<(), String> {
        let known = self.opened_by != "accept" || accepts;
        let owner = self.owner.clone().filter(|_| known).unzip();
        same("opened_by", &line.opened_by.as_str(), &self.opened_by)?;
        same("owner", &(line.pid, line.comm.clone()), &owner)?;
        same("end", &line.end.as_str(), &self.end)?;
        same("role", &line.role.as_str(), &self.role)?;
        same("closed_by", &line.closed_by, &self.closed_by)?;
        let reason = line.reset_reason.as_deref();
        same("reset_reason", &reason, &self.reset_reason)?;
        self.amounts(line)?;
        self.message(line)?;
        self.times(line)
    }

    fn amounts(&self, line: &Connection) -> Result<(), String> {
        if let Some(bytes) = self.bytes {
            let printed = line.bytes_in.zip(line.bytes_out);
            same("bytes in and out", &printed, &Some(bytes))?;
        }
        match (self.retransmitted, line.retransmits) {
            (Some(expected), Some(count)) if expected == (count > 0) => Ok(()),
            (None, Some(_)) => Ok(()),
            (_, count) => Err(format!("{count:?} retransmissions")),
        }
    }

    /// A sentence; whoever of this end is blamed is named in it.
    fn message(&self, line: &Connection) -> Result<(), String> {
        let ours = self.closed_by.as_ref().filter(|it| it.side == "this");
        let blamed = ours.and_then(|it| it.comm.as_deref());
        let whole = !line.message.is_empty() && !line.message.contains('\n');
        match blamed {
            Some(comm) if !line.message.contains(comm) => {
                Err(format!("{comm} is not in the message"))
            }
            _ if !whole => Err("no sentence".into()),
            _ => Ok(()),
        }
    }

    fn times(&self, line: &Connection) -> Result<(), String> {
        let mut longest = BTreeMap::<_, (u64, u64)>::new();
        for pair in self.steps.windows(2) {
            let (least, most) = bounds(pair[0].at, pair[1].at);
            let sum = longest.entry(pair[1].old).or_default();
            *sum = (sum.0 + least, sum.1 + most);
        }
        let printed: BTreeSet<_> = line.states.keys().map(String::as_str).collect();
        same("states", &printed, &longest.keys().copied().collect())?;
        for (state, (least, most)) in longest {
            let ns = line.states[state].ok_or(format!("{state} is not known"))?;
            within(state, ns, least, most)?;
        }
        let (first, last) = (self.steps[0].at, self.steps[self.steps.len() - 1].at);
        let (least, most) = bounds(first, last);
        let lifetime = line.lifetime_ns.ok_or("no lifetime")?;
        within("lifetime", lifetime, least, most)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, expected: &T) -> Result<(), String> {
    if is == expected {
        return Ok(());
    }
    Err(format!("{what}: {is:?} instead of {expected:?}"))
}
