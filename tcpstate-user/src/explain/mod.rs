//! The story of one connection out of its changes: a timeline, a verdict, and
//! what to do.
//!
//! Pure: changes in, explanations out. It does not know where changes come from
//! or how an explanation is written, and looks at no clock. Names of processes
//! are somebody else's bytes: the caller says how they stand in a sentence.

mod advice;
mod story;
mod verdict;
mod which;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use tcpstate_common::state::TcpState;

use crate::{
    connection::{Connection, Connections},
    track::{Change, ConnId, Open, Process},
};

use story::Story;
pub use story::{Explained, Moment, Now};

pub use which::{Which, WhichError};

/// How things are said in a sentence.
#[derive(Clone, Copy, Debug)]
pub struct Say {
    /// A process.
    pub process: fn(&Process) -> String,
    /// Nanoseconds.
    pub time: fn(u64) -> String,
}

/// Connections that are remembered, the newest: in a live tail of a busy port
/// there is no end of them. One takes 13 KiB at most.
pub const MOST_STORIES: usize = 1_000;

/// What is asked, and what has been seen of it.
#[derive(Debug)]
pub struct Stories {
    which: Option<Which>,
    say: Say,
    stories: BTreeMap<ConnId, Story>,
    most: usize,
    connections: Connections,
    seen: Seen,
}

/// What was there besides the connections that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Changes of all connections.
    pub changes: u64,
    /// Connections that were asked for.
    pub matches: u64,
    /// Of these, how many were forgotten for newer ones.
    pub forgotten: u64,
    /// Sockets that listen at the address that was asked for.
    pub listeners: u64,
}

/// Everything there is to say.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The newest first.
    pub connections: Vec<Explained>,
    /// Out of how much.
    pub seen: Seen,
}

impl Stories {
    /// Nothing yet. Without `which`, every connection is asked for.
    #[must_use]
    pub fn new(which: Option<Which>, say: Say, connections: Connections) -> Self {
        Self::with_room(which, say, connections, MOST_STORIES)
    }

    fn with_room(which: Option<Which>, say: Say, connections: Connections, most: usize) -> Self {
        Self {
            which,
            say,
            stories: BTreeMap::new(),
            most,
            connections,
            seen: Seen::default(),
        }
    }

    /// Takes the next change.
    pub fn change(&mut self, change: &Change) {
        self.seen.changes += 1;
        // Of all, asked for or not: the other end may be on this host too, and
        // tell who it was.
        let over = self.connections.change(change);
        if is_of_listener(change) {
            if change.new == TcpState::Listen && self.asks_for(change) {
                self.seen.listeners += 1;
            }
        } else if let Some(story) = self.stories.get_mut(&change.conn) {
            story.take(change, self.say);
        } else if self.asks_for(change) {
            self.begin(change);
        }
        self.end(over);
    }

    /// Whether there is something to explain, and all of it is over.
    #[must_use]
    pub fn are_over(&self) -> bool {
        !self.stories.is_empty() && self.stories.values().all(Story::is_over)
    }

    /// Explains everything; `open` are the sockets that there are now.
    #[must_use]
    pub fn explain(&self, open: &HashMap<ConnId, Open>) -> Explanation {
        let newest = self.stories.iter().rev();
        Explanation {
            connections: newest
                .map(|(conn, story)| story.explain(*conn, open.get(conn), self.say))
                .collect(),
            seen: self.seen,
        }
    }

    /// Takes a socket that is there now: one that has not changed since the trace
    /// began is a connection too. Returns whether it is one to explain.
    pub fn open(&mut self, open: &Open) -> bool {
        if self.stories.contains_key(&open.conn) {
            return true;
        }
        if self
            .which
            .is_some_and(|which| !which.is(open.conn, &open.tuple))
        {
            return false;
        }
        if open.state == TcpState::Listen {
            self.seen.listeners += 1;
            return false;
        }
        self.seen.matches += 1;
        // They come in no order: none is worth another's place.
        if self.stories.len() >= self.most {
            self.seen.forgotten += 1;
            return false;
        }
        self.stories.insert(open.conn, Story::quiet(open));
        true
    }

    fn asks_for(&self, change: &Change) -> bool {
        self.which
            .is_none_or(|which| which.is(change.conn, &change.tuple))
    }

    fn begin(&mut self, change: &Change) {
        let mut story = Story::new(change);
        story.take(change, self.say);
        self.insert(change.conn, story);
    }

    fn insert(&mut self, conn: ConnId, story: Story) {
        self.seen.matches += 1;
        if self.stories.len() >= self.most {
            // What is over goes first; the key begins with the time of birth.
            let over = self.stories.iter().find(|(_, story)| story.is_over());
            let oldest = over.or_else(|| self.stories.iter().next());
            let oldest = oldest.map(|(conn, _)| *conn);
            oldest.and_then(|conn| self.stories.remove(&conn));
            self.seen.forgotten += 1;
        }
        self.stories.insert(conn, story);
    }

    fn end(&mut self, over: Option<Connection>) {
        if let Some(over) = over
            && let Entry::Occupied(mut known) = self.stories.entry(over.conn)
        {
            known.get_mut().end(over);
        }
    }
}

/// A listener is no connection; its children begin with `LISTEN` too.
fn is_of_listener(change: &Change) -> bool {
    change.new == TcpState::Listen
        || change.old == TcpState::Listen && change.new != TcpState::SynRecv
}
