//! `tcpstate trace --connections` as a view of the pipeline.

use std::io::{self, Stdout};

use crate::{
    connection::{Connection, Connections, Told},
    decode::KtimeNs,
    session::{EndInfo, SessionInfo},
    sink::Sink,
    track::{Change, Follows, Limits, Tracker},
    view::Filter,
};

/// How often, by the records' clock, connections are compared with the sockets
/// that there are, where some may have gone without a line. It is more than a
/// line ever waits for something.
const BETWEEN_CHECKS: u64 = 2_000_000_000;

/// The connections under way, and where those that are over go.
pub(super) struct Gathering {
    connections: Connections,
    filter: Filter,
    sink: Sink<Stdout>,
    over: Vec<Connection>,
    /// Orphans may be handed over to a minisocket that nobody follows.
    leaks: bool,
    checked: (KtimeNs, u64),
}

impl Gathering {
    pub(super) fn new(
        told: Told,
        filter: Filter,
        sink: Sink<Stdout>,
        info: &SessionInfo,
        follows: Follows,
    ) -> Self {
        let limits = Limits::default();
        Self {
            connections: Connections::new(told, info.reset_reasons.clone(), limits.max_sockets),
            filter,
            sink,
            over: Vec::new(),
            leaks: !(follows.begins && follows.ends),
            checked: (KtimeNs(0), 0),
        }
    }

    pub(super) fn start(&mut self) -> io::Result<()> {
        self.sink.start()
    }

    pub(super) fn changes(&mut self, changes: &[Change]) -> io::Result<()> {
        for change in changes {
            if let Some(over) = self.connections.change(change) {
                write(&self.filter, &mut self.sink, &over)?;
            }
        }
        Ok(())
    }

    /// Tells of connections that are over without a line having said so, as far
    /// as `tracker` counts that there are such.
    pub(super) fn settle(&mut self, now: KtimeNs, tracker: &Tracker) -> io::Result<()> {
        let (at, unseen) = self.checked;
        if now.since(at) < BETWEEN_CHECKS {
            return Ok(());
        }
        let counted = tracker.counters().ended_unseen;
        if counted == unseen && !self.leaks && !self.connections.has_missing() {
            return Ok(());
        }
        self.checked = (now, counted);
        tracker.open(now, |open| self.connections.is_there(open.conn));
        self.connections.end_missing(now, &mut self.over);
        for over in self.over.drain(..) {
            write(&self.filter, &mut self.sink, &over)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    pub(super) fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        self.sink.end(end)
    }

    /// Connections there was no room for.
    pub(super) const fn dropped(&self) -> u64 {
        self.connections.dropped()
    }
}

fn write(filter: &Filter, sink: &mut Sink<Stdout>, over: &Connection) -> io::Result<()> {
    if filter.admits_connection(over) {
        sink.connection(over)?;
    }
    Ok(())
}
