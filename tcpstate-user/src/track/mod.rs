//! Records to [`Change`]s: connections, dwell and causes.
//!
//! Pure: time comes in the record; it does no I/O, reads no clock and knows no
//! names. You give it records in ring order and tell it how far the ring has
//! been read; it gives changes of connections, each with the time spent in the
//! state that was left.
//!
//! What the kernel does, and the caller of [`Tracker`] need not know:
//!
//! - An event's tuple may be incomplete. At `CLOSE -> SYN_SENT` the local port
//!   is not chosen yet, at `LISTEN -> SYN_RECV` the child still has the
//!   listener's tuple up to Linux 6.12, around `-> CLOSE` it may be cleared
//!   again. Such a line is held until the tuple is known.
//! - A request has no transitions. Where its end is reported, the `SYN_RECV` of
//!   its child begins with it, and the line of that is held until then.
//! - `tcp_send_reset` fires after `-> CLOSE`: a line whose cause it may be is
//!   held for some milliseconds.
//! - `FIN_WAIT2 -> CLOSE` and `CLOSING -> CLOSE` mostly mean that a minisocket
//!   took over. Where its begin is reported, the connection goes on with it.
//! - A kernel address names another socket within milliseconds, and one socket
//!   can carry one connection after the other.
//!
//! Once the tables have grown to what the host needs, nothing is allocated.

mod by_address;
mod cause;
mod change;
mod entry;
mod foresight;
mod hearsay;
mod hold;
mod last;
mod minisocket;
mod nameless;
mod open;
mod request;
mod signal;
mod snapshot;
mod step;
mod sweep;
mod table;
mod tuple;

use crate::decode::{Event, KtimeNs, Record, SockAddr64};

use self::{
    entry::Generation, foresight::Foresight, hearsay::Told, hold::Holds, last::Lasts,
    minisocket::Minisockets, request::Requests, sweep::Walk, table::Table,
};

pub use change::{Call, Cause, Change, Closer, ConnId, Dwell, Opened, Process};
pub use foresight::LEAD;
pub use last::{Sent, Totals};
pub use nameless::stand_in;
pub use open::Open;

/// How much the tracker may remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets and minisockets known at the same time. One costs about 145
    /// bytes. Beyond it new ones are refused and counted; none that is known is
    /// forgotten.
    pub max_sockets: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sockets: 1 << 20,
        }
    }
}

/// Which records of minisockets and requests come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Follows {
    /// Sockets can be looked at: whoever is asked for by [`Tracker::wanted`] or
    /// [`Tracker::doubted`] comes as a snapshot, if it is still there.
    pub looks: bool,
    /// Begins: a hand-over can be told from a close. Without them nothing is
    /// said of minisockets, whatever else comes.
    pub begins: bool,
    /// Ends: a connection is followed through its minisocket. Without them it
    /// is left at the hand-over.
    pub ends: bool,
    /// Ends of requests: `SYN_RECV` begins with the request, and one that dies
    /// is a connection.
    pub requests: bool,
}

/// What the tracker counts of itself. Monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections (and listeners) known since the beginning.
    pub connections: u64,
    /// Of these, taken over by a minisocket.
    pub handed_over: u64,
    /// Of these, ended without that being seen.
    pub ended_unseen: u64,
    /// Events whose old state is not the one the socket was known to have.
    pub chain_breaks: u64,
    /// Events and snapshots of sockets for which there was no room.
    pub refused: u64,
    /// Times that records were lost before a record, or as [`Tracker::gap`] said.
    pub gaps: u64,
    /// Snapshots of requests, and of minisockets where those are not followed.
    pub not_followed: u64,
}

/// All that is known of the sockets of a host.
///
/// The caller feeds records in the order in which they lie in the ring. Two
/// kinds of snapshots are told apart by where they come:
///
/// - between a sweep's begin and end, they are those of a walk, and come before
///   the records that were in the ring when the walk began;
/// - those of sockets that were asked for are looks, which went through the ring.
///
/// After each batch the caller lets the sockets be looked at that are
/// [`wanted`]; before a walk's end, those that are [`doubted`]. When it has found the ring empty it reads the loss counter for
/// [`note_lost`], and calls [`settle`].
///
/// [`note_lost`]: Tracker::note_lost
/// [`wanted`]: Tracker::wanted
/// [`doubted`]: Tracker::doubted
/// [`settle`]: Tracker::settle
#[derive(Debug)]
pub struct Tracker {
    follows: Follows,
    table: Table,
    minisockets: Minisockets,
    requests: Requests,
    holds: Holds,
    lasts: Lasts,
    foresight: Foresight,
    walk: Option<Walk>,
    /// Gaps so far.
    generation: Generation,
    /// The last gap that a complete walk has repaired.
    repaired: Generation,
    last_lost: u16,
    counters: Counters,
}

impl Tracker {
    /// An empty table, before the first record of a session.
    #[must_use]
    pub fn new(limits: Limits, follows: Follows) -> Self {
        Self {
            follows,
            table: Table::new(limits.max_sockets),
            minisockets: Minisockets::with_room(limits.max_sockets),
            requests: Requests::default(),
            holds: Holds::default(),
            lasts: Lasts::default(),
            foresight: Foresight::default(),
            walk: None,
            generation: Generation(0),
            repaired: Generation(0),
            last_lost: 0,
            counters: Counters::default(),
        }
    }

    /// Takes one record and appends the changes that are complete by it. They
    /// are in order for each connection, not across connections.
    pub fn apply(&mut self, record: &Record, out: &mut Vec<Change>) {
        let first = out.len();
        self.take(record, out);
        self.lasts.stamp(&mut out[first..]);
    }

    fn take(&mut self, record: &Record, out: &mut Vec<Change>) {
        let at = record.at;
        match &record.event {
            Event::Sweep(phase) => return self.sweep(at, *phase),
            // Its loss count may be older than that of the record before it.
            Event::Stack(event) => return self.hear(event.sk, Told::Seen),
            Event::Snapshot(seen) if self.is_of_walk(seen) => return self.walked(at, seen),
            _ => self.pass(record, out),
        }
        match &record.event {
            Event::Transition(event) => self.transition(at, event, out),
            Event::Accepted(sk, task) => self.accepted(*sk, task),
            Event::CloseCalled(sk, _) => self.close_called(*sk),
            Event::ResetSent(event) => self.reset_sent(at, event, out),
            Event::ResetReceived(sk) => self.reset_received(*sk),
            Event::Destroyed(sk) => self.destroyed(at, *sk, out),
            Event::Minisocket(event) => self.minisocket(at, event, out),
            Event::Request(event) => self.request(at, event, out),
            Event::Snapshot(seen) => self.looked(at, seen, out),
            Event::LastLook(look) => self.lasts.look(at, look, self.generation),
            Event::Sweep(_) | Event::Inspection(_) | Event::Stack(_) => {}
        }
    }

    /// What a record of the ring says before its event: whether records are
    /// missing before it, and that time has passed. A walk's records say
    /// neither: the user side writes them, ahead of what is still in the ring.
    fn pass(&mut self, record: &Record, out: &mut Vec<Change>) {
        self.note_lost(record.lost);
        self.minisockets.note_gap(record.at, self.generation);
        self.requests.note_gap(record.at, self.generation);
        self.settle_resets(record.at, out);
        self.settle_minisockets(record.at, out);
        self.settle_requests(record.at, out);
        self.pass_walk(record.at, out);
        self.holds.forget_written();
    }

    /// Writes the lines that have waited long enough. `now` is a reading of
    /// the records' clock from before the ring was found empty: every record
    /// reserved until then has been applied.
    pub fn settle(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        let first = out.len();
        self.settle_resets(now, out);
        self.settle_minisockets(now, out);
        self.settle_requests(now, out);
        while let Some(key) = self.holds.tuple_due(now) {
            self.write_held(key, out);
        }
        while let Some(key) = self.holds.request_due(now) {
            self.write_held(key, out);
        }
        self.settle_walk(now, out);
        self.lasts.stamp(&mut out[first..]);
    }

    /// Writes every line that still waits: no more records come.
    pub fn finish(&mut self, out: &mut Vec<Change>) {
        self.settle(KtimeNs(u64::MAX), out);
        self.count_minisockets();
        self.table.hearsay.forget_all();
        self.counters.connections += self.table.nameless.len() as u64;
    }

    /// Appends the sockets whose tuple is missing in a line that waits: a look
    /// at each, applied before the next [`Self::settle`], completes it. And those
    /// that a walk may have seen without their addresses.
    pub fn wanted(&mut self, sockets: &mut Vec<SockAddr64>) {
        sockets.extend(self.holds.wanted());
        self.table.hearsay.wanted(sockets);
    }

    /// Appends the sockets of which the walk that goes on does not know whether
    /// it saw them, or others with the same tuple: they have to be looked at
    /// before its end is applied.
    pub fn doubted(&mut self, sockets: &mut Vec<SockAddr64>) {
        if let Some(walk) = &mut self.walk {
            walk.doubted(sockets);
        }
    }

    /// Keeps what was told of a socket that is not known by its address, if it may
    /// be one of those that are known without.
    fn hear(&mut self, sk: SockAddr64, told: Told) {
        if self.table.may_be_nameless(sk) {
            self.table.hearsay.hear(sk, told, self.generation);
        }
    }

    /// Takes the low bits of the loss counter, as a record carries them: a loss
    /// after the last record in the ring leaves no other mark.
    pub fn note_lost(&mut self, lost: u16) {
        if lost != self.last_lost {
            self.last_lost = lost;
            self.gap();
        }
    }

    /// Says that records were lost which the loss counter does not tell: of
    /// every socket known, something may have been missed.
    pub fn gap(&mut self) {
        self.counters.gaps += 1;
        self.generation.0 = self.generation.0.wrapping_add(1);
    }

    /// Whether a walk over the socket tables is needed to repair what a gap
    /// left in doubt.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        let under_way = |walk: &Walk| walk.is_open() || walk.generation == self.generation;
        self.repaired < self.generation && !self.walk.as_ref().is_some_and(under_way)
    }

    /// What the tracker counts of itself.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sockets and minisockets known now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len() + self.minisockets.len()
    }

    /// Whether no socket is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room for another socket.
    fn is_full(&self) -> bool {
        self.len() >= self.table.max()
    }
}
