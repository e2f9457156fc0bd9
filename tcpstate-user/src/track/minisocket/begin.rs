//! The begin of a minisocket and the hand-over of a connection to it.

use tcpstate_common::state::TcpState;

use super::{
    Minisocket,
    entry::Origins,
    table::{Again, Begin},
};
use crate::{
    decode::{KtimeNs, Minisocket as Event, SockAddr64, Transition},
    track::{
        Cause, Change, Dwell, Tracker,
        cause::{Ending, Verdict},
        entry::{Entered, Entry},
        nameless::Key,
        step::plain_line,
        tuple::is_complete,
    },
};

/// A connection as its full socket had it until the hand-over.
#[derive(Clone, Copy, Debug)]
pub(in crate::track) struct Past {
    line: Change,
    /// Begin of the state that it leaves, unless something was missed since.
    since: Option<(KtimeNs, Entered)>,
}

impl Past {
    /// `entry` is the socket before `event`, and was in its state for `dwell`.
    pub(in crate::track) fn of(entry: &Entry, event: &Transition, dwell: Dwell) -> Self {
        let line = Change {
            old: event.old,
            new: TcpState::TimeWait,
            ..plain_line(entry, event.sk, entry.since, Dwell::Unknown)
        };
        let since = (dwell != Dwell::Unknown).then_some((entry.since, entry.entered));
        Self { line, since }
    }

    /// The line of the hand-over in `TIME_WAIT` at `at`.
    fn line(&self, at: KtimeNs) -> Change {
        let dwell = match self.since {
            Some((since, Entered::Seen)) => Dwell::Exact(at.since(since)),
            Some((since, Entered::Before)) => Dwell::AtLeast(at.since(since)),
            Some((_, Entered::Untold)) | None => Dwell::Unknown,
        };
        let cause = match self.line.old {
            TcpState::Closing => Cause::FinAcked,
            _ => Cause::PeerFin,
        };
        Change {
            at,
            dwell,
            cause: Some(cause),
            ..self.line
        }
    }
}

/// Who takes a connection over, as far as it is known when its full socket goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::track) enum Heir {
    /// Nobody, or nobody follows that.
    NotFollowed,
    /// The minisocket that began.
    Begun(Begin),
    /// None began, though every begin is reported: the kernel refused it.
    Refused,
    /// None began that was reported, but one may have been missed.
    Doubtful,
}

impl Heir {
    /// What `verdict` means that was reached without knowing of the heir.
    pub(in crate::track) fn amend(&self, verdict: Verdict) -> Verdict {
        let amended = match self {
            Self::NotFollowed | Self::Begun(_) => return verdict,
            Self::Refused => Ending::AsReported(Some(Cause::EvictedLimit)),
            Self::Doubtful => Ending::Doubtful,
        };
        let ending = |ending| match ending {
            Ending::TimeWait(_) | Ending::Orphaned => amended,
            other => other,
        };
        match verdict {
            Verdict::Known(known) => Verdict::Known(ending(known)),
            Verdict::Awaits {
                otherwise,
                outlives_socket,
            } => Verdict::Awaits {
                otherwise: ending(otherwise),
                outlives_socket,
            },
        }
    }
}

/// Whether `event` is that by which a full socket hands over, if it does.
fn hands_over(event: &Transition) -> bool {
    event.new == TcpState::Close && matches!(event.old, TcpState::FinWait2 | TcpState::Closing)
}

impl Tracker {
    pub(super) fn begun(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        self.minisockets.watch(at);
        if event.sk.is_none() && self.begun_again(at, event, out) {
            return;
        }
        let key = (event.netns, event.tuple);
        self.make_way(at, event.tw, &key, out);
        self.minisockets.resets.forget(event.tw);
        self.minisockets.over.forget(&key);
        let mut begin = Begin {
            at,
            state: event.substate,
            tw: None,
            again: None,
        };
        if self.keeps_minisockets() {
            if self.is_full() {
                self.counters.refused += 1;
                self.minisockets.over.give_up(key);
            } else {
                begin.tw = Some(event.tw);
                let known = Minisocket::begun(at, event, self.generation);
                self.minisockets.map.insert(event.tw, known);
            }
        }
        if !self.minisockets.await_claim(event.sk, key, begin) {
            self.counters.refused += 1;
            self.minisockets.map.remove(&event.tw);
            self.minisockets.over.give_up(key);
        }
    }

    /// Whether the start of a timer, which is all that is seen, is that of a
    /// minisocket that is known. That is only likely, since its end may have
    /// been missed: when a full socket hands over at once, it was a begin.
    fn begun_again(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) -> bool {
        let Some(&known) = self.known_minisocket(at, event, out) else {
            return false;
        };
        let stop = self.minisockets.stops.get(&event.tw).copied();
        let over = stop.is_some_and(|stop| stop.certain);
        let other = known.is_younger_than(at)
            || (known.netns, known.tuple) != (event.netns, event.tuple)
            || (known.state, event.substate) == (TcpState::TimeWait, TcpState::FinWait2);
        if over || other {
            return false;
        }
        self.armed(at, event, out);
        if known.origins != Origins::Awaited {
            let begin = Begin {
                at,
                state: event.substate,
                tw: Some(event.tw),
                again: Some(Again { stop }),
            };
            let key = (event.netns, event.tuple);
            self.minisockets.await_claim(None, key, begin);
        }
        true
    }

    /// Ends what is known at an address, or by a tuple, that another minisocket
    /// has at `at`. When a walk was ahead of the ring, that is the one it saw.
    fn make_way(&mut self, at: KtimeNs, tw: SockAddr64, key: &Key, out: &mut Vec<Change>) {
        if let Some(known) = self.minisockets.map.get(&tw) {
            if known.is_younger_than(at) {
                self.minisockets.map.remove(&tw);
            } else {
                self.end_unseen(tw, at, out);
            }
        }
        if let Some(mut seen) = self.minisockets.nameless.remove(key)
            && !seen.is_younger_than(at)
        {
            self.counters.ended_unseen += 1;
            self.count_minisocket(&mut seen);
            out.push(seen.unseen(at));
        }
    }

    /// Who takes over from the full socket of `event`, if that is a hand-over.
    pub(in crate::track) fn heir(&mut self, at: KtimeNs, event: &Transition) -> Heir {
        if !self.follows.begins || !hands_over(event) {
            return Heir::NotFollowed;
        }
        match self.claim(event) {
            Some(begin) => Heir::Begun(begin),
            None if self.minisockets.watches(at) => Heir::Refused,
            None => Heir::Doubtful,
        }
    }

    /// The begin that belongs to a hand-over.
    fn claim(&mut self, event: &Transition) -> Option<Begin> {
        let mut key = (event.netns, event.tuple);
        if !is_complete(&event.tuple, event.old)
            && let Some(entry) = self.table.get_mut(event.sk)
        {
            key.1 = entry.tuple;
        }
        self.minisockets.claim(event, key)
    }

    /// Gives the connection of a full socket to the minisocket that begins with
    /// `begin`.
    pub(in crate::track) fn hand_over(
        &mut self,
        begin: &Begin,
        past: &Past,
        out: &mut Vec<Change>,
    ) {
        self.counters.handed_over += 1;
        if let Some(again) = begin.again {
            self.begun_after_all(begin, again, out);
        }
        let Some(tw) = begin.tw else {
            out.extend((begin.state == TcpState::TimeWait).then(|| past.line(begin.at)));
            return;
        };
        let Some(known) = self.minisockets.map.get_mut(&tw) else {
            return;
        };
        known.conn = past.line.conn;
        known.origin = past.line.origin;
        let awaited = known.origins == Origins::Awaited;
        known.origins = Origins::Counted;
        // Otherwise a walk was ahead, and knows it only as it is by now.
        if !awaited {
            return;
        }
        if known.state == TcpState::TimeWait {
            out.push(past.line(known.since));
        } else if let Some((since, entered)) = past.since {
            known.since = since;
            known.entered = entered;
        } else {
            known.entered = Entered::Before;
        }
        self.finish_certain(tw, out);
    }

    /// What was taken for a repetition was a begin: the minisocket that was
    /// known there had ended.
    fn begun_after_all(&mut self, begin: &Begin, again: Again, out: &mut Vec<Change>) {
        let Some(tw) = begin.tw else { return };
        let Some(known) = self.minisockets.map.get_mut(&tw) else {
            return;
        };
        known.rearmed = known.rearmed.saturating_sub(1);
        let mut next = *known;
        next.begin_anew(begin.at, begin.state, self.generation);
        self.minisockets
            .stops
            .extend(again.stop.map(|stop| (tw, stop)));
        self.end_unseen(tw, begin.at, out);
        self.minisockets.map.insert(tw, next);
    }

    /// No full socket has claimed the begin: its hand-over was missed, or it
    /// was not known, or the timer was that of a minisocket that was not.
    pub(in crate::track) fn begun_from_nowhere(&mut self, begin: &Begin, out: &mut Vec<Change>) {
        let Some(tw) = begin.tw else { return };
        let Some(known) = self.minisockets.map.get_mut(&tw) else {
            return;
        };
        if known.origins == Origins::Awaited && known.conn.birth == begin.at {
            known.disown();
            self.finish_certain(tw, out);
        }
    }
}
