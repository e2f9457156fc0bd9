//! What happened to one connection, in order.

use std::collections::VecDeque;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Say, advice, verdict, words};
use crate::{
    connection::Connection,
    decode::{Family, KtimeNs, SocketKind},
    track::{Cause, Change, Closer, ConnId, Dwell, Open, Opened, Process},
};

/// So many of its first moments are kept, and as many of the last: an ordinary
/// connection has eight.
const FIRST: usize = 32;
/// As [`FIRST`].
const LAST: usize = 32;

/// One moment of a connection's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: KtimeNs,
    /// Since it was born, or first seen.
    pub since: Dwell,
    /// Left.
    pub old: TcpState,
    /// Entered.
    pub new: TcpState,
    /// Time spent in `old`.
    pub dwell: Dwell,
    /// What it was when it changed.
    pub kind: SocketKind,
    /// What ended `old`.
    pub cause: Option<Cause>,
    /// Who did it, where a task did.
    pub by: Option<Closer>,
    /// What it means, in a few words.
    pub meaning: String,
}

/// What it is in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// State.
    pub state: TcpState,
    /// For how long.
    pub so_far: Dwell,
    /// What it is.
    pub kind: SocketKind,
}

/// One connection, explained.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Which.
    pub conn: ConnId,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Of the socket.
    pub family: Family,
    /// As in [`Change`].
    pub tuple: Tuple,
    /// How the application came by it.
    pub opened: Opened,
    /// Who connected, listened or accepted.
    pub process: Option<Process>,
    /// What happened, in order.
    pub timeline: Vec<Moment>,
    /// Moments in the middle that were not kept.
    pub omitted: u64,
    /// The whole of it, if it is over.
    pub over: Option<Connection>,
    /// What it is in now, if it is not.
    pub now: Option<Now>,
    /// What became of it, in a sentence.
    pub verdict: String,
    /// What to do about it, if there is something to do.
    pub advice: Option<&'static str>,
}

/// A connection so far.
#[derive(Debug)]
pub(super) struct Story {
    netns: u32,
    family: Family,
    tuple: Tuple,
    opened: Opened,
    process: Option<Process>,
    /// Its birth was seen.
    born: bool,
    /// The first that is known of it: a handshake began before it was seen.
    began: KtimeNs,
    first: Vec<Moment>,
    last: VecDeque<Moment>,
    omitted: u64,
    over: Option<Connection>,
}

impl Story {
    /// Begins with a change, which has not been taken yet.
    pub(super) fn new(change: &Change) -> Self {
        let opened = match (change.old, change.new) {
            (TcpState::Close, TcpState::SynSent) => Opened::Connect,
            (TcpState::Listen, TcpState::SynRecv) => Opened::Accept,
            _ => Opened::Unknown,
        };
        Self {
            netns: change.netns,
            family: change.family,
            tuple: change.tuple,
            opened,
            process: change.origin,
            born: opened != Opened::Unknown,
            began: change.at.min(change.conn.birth),
            first: Vec::new(),
            last: VecDeque::new(),
            omitted: 0,
            over: None,
        }
    }

    /// A socket that has not changed since the trace began.
    pub(super) fn quiet(open: &Open) -> Self {
        Self {
            netns: open.netns,
            family: open.family,
            tuple: open.tuple,
            opened: open.opened,
            process: open.origin,
            born: false,
            began: open.conn.birth,
            first: Vec::new(),
            last: VecDeque::new(),
            omitted: 0,
            over: None,
        }
    }

    /// Takes its next change.
    pub(super) fn take(&mut self, change: &Change, say: Say) {
        if change.tuple.lport != 0 {
            self.tuple = change.tuple;
        }
        self.process = change.origin.or(self.process);
        let since = change.at.since(self.began);
        let moment = Moment {
            at: change.at,
            since: match self.born {
                true => Dwell::Exact(since),
                false => Dwell::AtLeast(since),
            },
            old: change.old,
            new: change.new,
            dwell: change.dwell,
            kind: change.kind,
            cause: change.cause,
            by: change.closer,
            meaning: words::meaning(change, self.process.as_ref(), say),
        };
        if self.first.len() < FIRST {
            return self.first.push(moment);
        }
        if self.last.len() == LAST {
            self.last.pop_front();
            self.omitted += 1;
        }
        self.last.push_back(moment);
    }

    /// It is over.
    pub(super) fn end(&mut self, over: Connection) {
        self.over = Some(over);
    }

    pub(super) const fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Everything about it; `open` is what it is now.
    pub(super) fn explain(&self, conn: ConnId, open: Option<&Open>, say: Say) -> Explained {
        let now = open.map(|open| Now {
            state: open.state,
            so_far: open.so_far,
            kind: open.kind,
        });
        let process = open.and_then(|open| open.origin).or(self.process);
        let last = self.last.back().or(self.first.last());
        let seen = verdict::Seen {
            now,
            last,
            process: process.as_ref(),
            was_reset: open.is_some_and(|open| open.was_reset),
        };
        let (verdict, advice) = match &self.over {
            Some(over) => (verdict::over(over), advice::over(over)),
            None => (verdict::open(&seen, say), advice::open(&seen)),
        };
        let opened = match (&self.over, open) {
            (Some(over), _) => over.opened,
            (None, Some(open)) if open.opened != Opened::Unknown => open.opened,
            _ => self.opened,
        };
        Explained {
            conn,
            netns: self.netns,
            family: self.family,
            tuple: self.tuple,
            opened,
            process,
            timeline: self.first.iter().chain(&self.last).cloned().collect(),
            omitted: self.omitted,
            over: self.over,
            now,
            verdict,
            advice,
        }
    }
}
