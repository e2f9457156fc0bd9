//! Minisockets: what a connection is from the hand-over in `FIN_WAIT2` or
//! `CLOSING` to its real end.
//!
//! Kernel functions named here are those of
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_minisocks.c> and
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_timewait_sock.c>.
//!
//! - A minisocket begins ([`begin`]) just before the `-> CLOSE` of the full
//!   socket that it replaces, in the same call; there it takes the connection
//!   over. A hand-over without one was refused by `tcp_max_tw_buckets`.
//! - Where its timer is all that is seen of it, a start of the timer is a
//!   begin or a repetition ([`change`]), a stop is an end or announces one of
//!   both ([`end`]): what follows decides.
//! - Why it ended is known from who ended it, or from what happened beside it
//!   ([`clue`]).
//! - One of which nobody has told has an end all the same ([`untold`]), but one
//!   that is over is told of twice at times ([`over`]).

mod begin;
mod change;
mod clue;
mod end;
mod entry;
mod over;
mod seen;
mod table;
#[cfg(test)]
mod tests;
mod untold;

use tcpstate_common::state::TcpState;

use super::{Change, Tracker};
use crate::decode::{KtimeNs, Minisocket as Event, MinisocketEvent as What, SockAddr64};

pub(super) use begin::{Heir, Past};
pub(super) use entry::{Minisocket, Origins};
pub(super) use table::Minisockets;

/// How much later something can be that happens in the same call of the kernel:
/// only interrupts can come between.
const SAME_CALL_NS: u64 = 5_000_000;

/// `TCP_TIMEWAIT_LEN`, the same in every version.
const TIME_WAIT_MS: u64 = 60_000;

/// By how much a time that is reckoned from a timer may be too early: timers
/// count in jiffies, of at most 10 ms (`HZ=100`), and are told in whole
/// milliseconds.
const JIFFY_NS: u64 = 11_000_000;

/// Whether `state` is one that a minisocket can have (`tw_substate`).
fn is_substate(state: TcpState) -> bool {
    matches!(state, TcpState::FinWait2 | TcpState::TimeWait)
}

/// The latest time at which a minisocket in `TIME_WAIT` can have come there,
/// when `left_ms` of its timer are left at `at`. It was then, unless its timer
/// was started again, which only makes it earlier. The timer's wheel does not
/// matter: it rounds when the timer runs out, not `tw_timer.expires`.
fn in_time_wait_by(at: KtimeNs, left_ms: u64) -> Option<KtimeNs> {
    let past_ms = TIME_WAIT_MS.checked_sub(left_ms)?;
    let began = at.0.checked_sub(past_ms * 1_000_000)?;
    Some(KtimeNs(at.0.min(began.saturating_add(JIFFY_NS))))
}

impl Tracker {
    /// What a record says of a minisocket.
    pub(super) fn minisocket(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        if !self.follows.begins || !is_substate(event.substate) {
            return;
        }
        if event.what == What::Begun {
            return self.begun(at, event, out);
        }
        let Some(known) = self.known_minisocket(at, event, out) else {
            return self.untold(at, event, out);
        };
        // A walk that is ahead of the ring has seen what it is by now.
        if known.is_younger_than(at) {
            return;
        }
        match event.what {
            What::Begun => {}
            What::Armed => self.armed(at, event, out),
            What::Handled { flags } => self.handled(at, event, flags, out),
            What::Stopped { caller } => self.stopped(at, event, caller, out),
            What::Expired => self.expired(at, event, out),
            What::Ended { caller } => self.ended(at, event, caller, out),
            What::Destroyed { caller } => self.minisocket_destroyed(at, event, caller, out),
        }
    }

    /// The minisocket that `event` is of, if it is known, by its address or by
    /// its tuple. One that is known at the address is over when a walk has seen
    /// that of the tuple.
    fn known_minisocket(
        &mut self,
        at: KtimeNs,
        event: &Event,
        out: &mut Vec<Change>,
    ) -> Option<&Minisocket> {
        let key = (event.netns, event.tuple);
        let here = self.minisockets.map.get(&event.tw);
        let other = here
            .is_some_and(|known| (known.netns, known.tuple) != key && !known.is_younger_than(at));
        if other && self.minisockets.has_seen(at, &key) {
            self.end_unseen(event.tw, at, out);
        }
        if !self.minisockets.map.contains_key(&event.tw) {
            self.minisockets.adopt(at, event.tw, key);
        }
        self.minisockets.map.get(&event.tw)
    }

    /// Whether minisockets are followed to their end.
    pub(super) fn keeps_minisockets(&self) -> bool {
        self.follows.begins && self.follows.ends
    }

    /// Writes what no further record can change any more.
    #[inline]
    pub(super) fn settle_minisockets(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        if self.minisockets.awaits_nothing() {
            return;
        }
        while let Some(tw) = self.minisockets.stop_due(now) {
            self.settle_stop(tw, out);
        }
        while let Some(begin) = self.minisockets.begin_due(now) {
            self.begun_from_nowhere(&begin, out);
        }
    }

    /// A minisocket whose end was not seen is over by `at`.
    fn end_unseen(&mut self, tw: SockAddr64, at: KtimeNs, out: &mut Vec<Change>) {
        if let Some(known) = self.minisockets.map.get_mut(&tw) {
            known.disown();
        }
        if self.is_stopped(tw) {
            return self.finish_stop(tw, out);
        }
        self.minisockets.stops.remove(&tw);
        let Some(mut known) = self.minisockets.map.remove(&tw) else {
            return;
        };
        self.counters.ended_unseen += 1;
        self.count_minisocket(&mut known);
        out.push(known.unseen(at));
    }

    /// Counts a connection of which only a minisocket was ever seen, once.
    fn count_minisocket(&mut self, known: &mut Minisocket) {
        self.counters.connections += u64::from(known.take_count());
    }
}
