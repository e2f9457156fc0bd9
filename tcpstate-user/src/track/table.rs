//! Sockets by kernel address, and what an event is to them.
//!
//! It decides which connection an event belongs to; it writes no lines.

use tcpstate_common::{record::how, state::TcpState};

use super::{
    Counters, Dwell,
    by_address::ByAddress,
    entry::{Entry, Generation},
    hearsay::Hearsay,
    nameless::Nameless,
    tuple::{improve, is_complete},
};
use crate::decode::{KtimeNs, SockAddr64, Transition};

/// What an event is to the entry at its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// The connection goes on; it spent this time in the state it leaves.
    Continues(Dwell),
    /// Another connection begins (or is first seen); the socket spent this
    /// time in the state it leaves.
    Starts(Dwell),
}

/// The sockets, at most as many as said.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) map: ByAddress<Entry>,
    pub(super) nameless: Nameless,
    pub(super) hearsay: Hearsay,
    max: usize,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            map: ByAddress::with_room(max),
            nameless: Nameless::default(),
            hearsay: Hearsay::default(),
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len() + self.nameless.len()
    }

    pub(super) fn max(&self) -> usize {
        self.max
    }

    pub(super) fn get_mut(&mut self, sk: SockAddr64) -> Option<&mut Entry> {
        self.map.get_mut(&sk)
    }

    pub(super) fn remove(&mut self, sk: SockAddr64) -> Option<Entry> {
        self.map.remove(&sk)
    }

    /// Whether the address may be that of a socket without a name.
    pub(super) fn may_be_nameless(&self, sk: SockAddr64) -> bool {
        self.nameless.len() > 0 && !self.map.contains_key(&sk)
    }

    /// The entry at the event's address and what the event is to it. The entry
    /// is still as it was before; when a connection [`Relation::Starts`] it may
    /// be that of an older one. `None` when there is no room: `full`.
    pub(super) fn reach(
        &mut self,
        at: KtimeNs,
        event: &Transition,
        generation: Generation,
        full: bool,
        counters: &mut Counters,
    ) -> Option<(&mut Entry, Relation)> {
        if let Some(place) = self.map.find(event.sk) {
            let entry = self.map.at_mut(place)?;
            forget_nameless(&mut self.nameless, at, event, Some(entry));
            let relation = relate(entry, at, event, generation, counters);
            return Some((entry, relation));
        }
        if let Some(mut seeded) = self.nameless.take(at, event, generation) {
            counters.connections += 1;
            self.hearsay.tell(event.sk, &mut seeded);
            let entry = self.map.insert(event.sk, seeded);
            let relation = relate(entry, at, event, generation, counters);
            return Some((entry, relation));
        }
        if full {
            counters.refused += 1;
            return None;
        }
        counters.connections += 1;
        forget_nameless(&mut self.nameless, at, event, None);
        self.hearsay.forget(event.sk);
        let before = Entry::before(at, event, generation);
        let entry = self.map.insert(event.sk, before);
        Some((entry, Relation::Starts(Dwell::Unknown)))
    }
}

/// Forgets what a walk has seen of the socket of `event` without its address: it
/// was ahead of the ring, or saw the tuple before any event told it. `entry` is
/// what is known at the address.
fn forget_nameless(
    nameless: &mut Nameless,
    at: KtimeNs,
    event: &Transition,
    entry: Option<&Entry>,
) {
    if nameless.len() == 0 {
        return;
    }
    let mut tuple = event.tuple;
    let mut birth = at;
    if let Some(entry) = entry.filter(|_| !is_birth(event)) {
        tuple = entry.tuple;
        improve(&mut tuple, &event.tuple, event.new);
        birth = entry.birth;
    }
    if is_complete(&tuple, event.new) {
        nameless.forget(&(event.netns, tuple), birth);
    }
}

/// Whether a connection (or a listener) begins with this event. Of
/// `LISTEN -> SYN_RECV` the old state is only copied from the listener.
pub(super) fn is_birth(event: &Transition) -> bool {
    event.old != event.new
        && (event.old == TcpState::Close
            || (event.old == TcpState::Listen && event.new == TcpState::SynRecv))
}

fn relate(
    entry: &Entry,
    at: KtimeNs,
    event: &Transition,
    generation: Generation,
    counters: &mut Counters,
) -> Relation {
    if entry.gone {
        counters.connections += 1;
        return Relation::Starts(Dwell::Unknown);
    }
    // The walk saw a later state than this event: what it saw is no evidence
    // that something was missed before.
    let overtaken = entry.is_younger_than(at);
    if is_birth(event) || entry.is_other(at, event, generation) {
        // Only a socket that says so itself: the end of another one at this
        // address may have been missed.
        let opens = event.old == TcpState::Close;
        let again = opens && entry.state == TcpState::Close && event.how.has(how::REUSED);
        count_start(entry, event, overtaken, counters);
        return Relation::Starts(if again {
            entry.dwell(at, generation)
        } else {
            Dwell::Unknown
        });
    }
    if overtaken {
        return Relation::Continues(Dwell::Unknown);
    }
    if entry.state == event.old {
        return Relation::Continues(entry.dwell(at, generation));
    }
    counters.chain_breaks += 1;
    Relation::Continues(Dwell::Unknown)
}

/// Counts the connection that starts with `event`, and how the one in `entry`
/// ended.
fn count_start(entry: &Entry, event: &Transition, overtaken: bool, counters: &mut Counters) {
    if overtaken {
        // One that only the walk has seen is this one, or comes later.
        counters.connections += u64::from(!entry.seeded);
        return;
    }
    counters.connections += 1;
    counters.ended_unseen += u64::from(entry.state != TcpState::Close);
    counters.chain_breaks += u64::from(!is_birth(event));
}
