//! The sockets that are in a state now, without an event.
//!
//! It changes nothing: what it gives is what their next lines will say of the
//! time until then.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{
    Change, ConnId, Dwell, Opened, Process, Tracker,
    entry::Entry,
    minisocket::{Minisocket, Origins},
    step::plain_line,
};
use crate::decode::{Family, KtimeNs, SockAddr64, SocketKind};

/// A connection, or a listener, in the state that it has not left yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Whose.
    pub conn: ConnId,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Of the socket; v4-mapped is `Inet6`.
    pub family: Family,
    /// As in [`Change`].
    pub tuple: Tuple,
    /// `CLOSE` is a socket that is over and whose descriptor is still open.
    pub state: TcpState,
    /// Time in the state so far. `Unknown` when it may even have left it, as
    /// after a loss that no walk has repaired yet.
    pub so_far: Dwell,
    /// What it is.
    pub kind: SocketKind,
    /// Who connected, listened or accepted.
    pub origin: Option<Process>,
    /// How the application came by it; `Unknown` of a minisocket.
    pub opened: Opened,
    /// Whether a RST from the peer ended it.
    pub was_reset: bool,
}

impl Tracker {
    /// Hands every socket that is known to `each`, in no order. `now` is a
    /// reading of the records' clock.
    pub fn open(&self, now: KtimeNs, mut each: impl FnMut(&Open)) {
        let generation = self.generation;
        let mut full = |sk: SockAddr64, entry: &Entry| {
            if !entry.gone {
                let so_far = entry.dwell(now, generation);
                each(&Open {
                    opened: entry.opened,
                    was_reset: entry.was_reset,
                    ..staying(&plain_line(entry, sk, now, so_far))
                });
            }
        };
        let table = &self.table;
        table.map.iter().for_each(|(sk, entry)| full(*sk, entry));
        let nameless = table.nameless.iter();
        nameless.for_each(|seed| full(seed.stand_in(), &seed.entry));
        let mini = |known: &Minisocket| {
            // The full socket that is about to hand over to it is there too.
            if known.origins != Origins::Awaited {
                each(&staying(&known.line(now, known.state, generation)));
            }
        };
        let minisockets = &self.minisockets;
        let all = minisockets.map.values();
        all.chain(minisockets.nameless.values()).for_each(mini);
    }
}

/// What `line`, which changes nothing, says.
fn staying(line: &Change) -> Open {
    Open {
        conn: line.conn,
        netns: line.netns,
        family: line.family,
        tuple: line.tuple,
        state: line.old,
        so_far: line.dwell,
        kind: line.kind,
        origin: line.origin,
        opened: Opened::Unknown,
        was_reset: false,
    }
}
