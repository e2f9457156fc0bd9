//! One connection as far as its changes have come.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Connection, End, Role, StateTimes, why};
use crate::{
    decode::{Family, KtimeNs},
    track::{Cause, Change, Closer, ConnId, Dwell, Opened, Process},
};

/// A connection that is not over yet, or whose `TIME_WAIT` is not.
#[derive(Clone, Debug)]
pub(super) struct Underway {
    first: KtimeNs,
    tuple: Tuple,
    netns: u32,
    family: Family,
    opened: Opened,
    role: Role,
    process: Option<Process>,
    states: StateTimes,
    /// When the first FIN went or came.
    closing: Option<KtimeNs>,
    /// The first of our tasks that closed it.
    ours: Option<Closer>,
    /// The first of the other end's, if that is on this host.
    theirs: Option<Closer>,
    state: TcpState,
    /// It is over but for its `TIME_WAIT`.
    over: Option<Box<Connection>>,
    /// Whether the last check found its socket.
    pub(super) there: bool,
    /// How many checks in a row did not.
    pub(super) missed: u8,
}

const _: () = assert!(size_of::<Underway>() <= 320);

impl Underway {
    /// One of which `change` is the first that is seen.
    pub(super) fn new(change: &Change) -> Self {
        Self {
            first: change.at,
            tuple: change.tuple,
            netns: change.netns,
            family: change.family,
            opened: opened(change),
            role: Role::None,
            process: None,
            states: StateTimes::default(),
            closing: None,
            ours: None,
            theirs: None,
            state: change.old,
            over: None,
            there: true,
            missed: 0,
        }
    }

    /// Takes the next change.
    pub(super) fn take(&mut self, change: &Change) {
        self.tuple = change.tuple;
        self.process = change.origin.or(self.process);
        self.state = change.new;
        if !matches!(change.old, TcpState::Close | TcpState::Listen) {
            self.states.add(change.old, change.dwell);
        }
        self.role = role(self.role, change);
        let first = self.closing.is_none() && !closes(change.old) && closes(change.new);
        self.closing = self.closing.or(first.then_some(change.at));
        self.ours = self.ours.or(change.closer);
        self.there = true;
        self.missed = 0;
    }

    /// The other end closed it, before this one did.
    pub(super) fn closed_by_other(&mut self, closer: Closer) {
        self.theirs = self.theirs.or(Some(closer));
    }

    /// What is told of it when `last` ends it; `name` gives the kernel's name of
    /// a RST's reason.
    pub(super) fn finish<'a>(
        &self,
        last: &Change,
        name: impl FnOnce(u32) -> Option<&'a str>,
    ) -> Connection {
        let end = why::end(last);
        let kernel_reason = why::number(last);
        let (closed_by, closer_is_peer) = self.closer(end, last.closer);
        Connection {
            role: self.role,
            end,
            reset_reason: why::reason(last, end, kernel_reason.and_then(name)),
            kernel_reason,
            totals: last.totals,
            idle_ns: self.idle(last),
            closed_by,
            closer_is_peer,
            last: last.old,
            into: last.new,
            ..self.unseen(last.at, last.conn)
        }
    }

    /// What is told of it when it is over by `at` and nobody saw how.
    pub(super) fn unseen(&self, at: KtimeNs, conn: ConnId) -> Connection {
        let (closed_by, closer_is_peer) = self.closer(End::Unseen, None);
        Connection {
            at,
            conn,
            netns: self.netns,
            family: self.family,
            tuple: self.tuple,
            opened: self.opened,
            process: self.process,
            lifetime: lifetime(&self.states, at.since(self.first)),
            states: self.states,
            totals: None,
            idle_ns: None,
            role: self.role,
            end: End::Unseen,
            reset_reason: None,
            kernel_reason: None,
            closed_by,
            closer_is_peer,
            last: self.state,
            into: TcpState::Close,
            gone: None,
        }
    }

    /// For how long no data had come or gone when it was closed. After a FIN that
    /// was not seen nobody knows when that was.
    fn idle(&self, last: &Change) -> Option<u64> {
        let closed = match closes(last.old) {
            true => self.closing?,
            false => last.at,
        };
        let data = last.totals?.last_data?;
        // Ticks are longer than short connections.
        let most = match self.opened {
            Opened::Unknown => u64::MAX,
            _ => closed.since(self.first),
        };
        (data <= closed).then(|| closed.since(data).min(most))
    }

    /// Keeps what is told of it for when its `TIME_WAIT` is over.
    pub(super) fn wait(&mut self, over: Connection) {
        self.over = Some(Box::new(over));
    }

    /// What was kept, its `TIME_WAIT` being over by `at`.
    pub(super) fn gone(&mut self, at: KtimeNs, cause: Option<Cause>) -> Option<Connection> {
        let over = *self.over.take()?;
        Some(Connection {
            at,
            lifetime: lifetime(&self.states, at.since(self.first)),
            states: self.states,
            gone: cause,
            ..over
        })
    }

    /// Who ended it, and whether that is at the other end: of what somebody
    /// broke off, who did; else who closed first.
    fn closer(&self, end: End, last: Option<Closer>) -> (Option<Closer>, bool) {
        let broken = matches!(
            end,
            End::ResetSent | End::Killed | End::Abandoned | End::Dropped
        );
        match self.role {
            _ if broken && last.is_some() => (last, false),
            Role::Passive => (self.theirs, self.theirs.is_some()),
            _ => (self.ours, false),
        }
    }
}

/// The time in all states, unless some of it is missing: then what passed at least.
fn lifetime(states: &StateTimes, passed: u64) -> Dwell {
    let at_least = match states.total() {
        Some(Dwell::Exact(ns)) => return Dwell::Exact(ns),
        Some(Dwell::AtLeast(ns)) => ns.max(passed),
        Some(Dwell::Unknown) | None => passed,
    };
    match at_least {
        0 => Dwell::Unknown,
        ns => Dwell::AtLeast(ns),
    }
}

/// How it came to be, as far as its first change tells.
const fn opened(change: &Change) -> Opened {
    match (change.old, change.new) {
        (TcpState::Close, TcpState::SynSent) | (TcpState::SynSent, _) => Opened::Connect,
        (TcpState::Listen, _) | (TcpState::SynRecv, _) => Opened::Accept,
        _ => Opened::Unknown,
    }
}

/// Whether a FIN has gone or come.
pub(super) const fn closes(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FinWait1
            | TcpState::FinWait2
            | TcpState::Closing
            | TcpState::TimeWait
            | TcpState::CloseWait
            | TcpState::LastAck
    )
}

const fn role(before: Role, change: &Change) -> Role {
    match (change.old, change.new) {
        (TcpState::Closing, _) | (_, TcpState::Closing) => Role::Simultaneous,
        (TcpState::FinWait1 | TcpState::FinWait2, _)
        | (_, TcpState::FinWait1 | TcpState::FinWait2) => match before {
            Role::Simultaneous => Role::Simultaneous,
            _ => Role::Active,
        },
        (TcpState::CloseWait | TcpState::LastAck, _)
        | (_, TcpState::CloseWait | TcpState::LastAck) => Role::Passive,
        _ => before,
    }
}
