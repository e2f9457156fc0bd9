//! The end of a minisocket, and why.

use tcpstate_common::{record::caller, state::TcpState};

use super::{Minisocket, SAME_CALL_NS, entry::Origins, table::Stop};
use crate::{
    decode::{KtimeNs, Minisocket as Event, SockAddr64},
    track::{Cause, Change, Tracker, entry::Generation, nameless::Key},
};

/// A cause, and the kernel's reason if that is a reset.
type Why = (Option<Cause>, Option<u32>);

impl Stop {
    /// An end at `at`, as `event` shows the minisocket then.
    fn of(at: KtimeNs, event: &Event, generation: Generation) -> Self {
        Self {
            at,
            key: (event.netns, event.tuple),
            state: event.substate,
            left_ms: event.left_ms,
            cause: None,
            reset_reason: None,
            generation,
            certain: false,
        }
    }
}

/// The state in which it is at `event`, whatever was missed before.
fn state_at(known: &Minisocket, event: &Event) -> TcpState {
    match known.state {
        TcpState::FinWait2 => event.substate,
        state => state,
    }
}

/// Whether a process ends a minisocket on its own behalf: it does nothing else
/// with the timer. Of one that runs out, the caller is not told.
pub(super) fn is_called_by_a_process(by: u8) -> bool {
    matches!(
        by,
        caller::HASH_CONNECT | caller::CHECK_ESTABLISHED | caller::ABORT | caller::PURGE
    )
}

impl Tracker {
    /// `timer_cancel`: it ends, or its timer has run out, or is started again.
    /// If nothing follows, it ended on behalf of `by`.
    pub(super) fn stopped(&mut self, at: KtimeNs, event: &Event, by: u8, out: &mut Vec<Change>) {
        if self.is_another(at, event, out) {
            return self.untold(at, event, out);
        }
        let tw = event.tw;
        let Some(known) = self.minisockets.map.get_mut(&tw) else {
            return;
        };
        if std::mem::take(&mut known.arming) && at.since(known.heard) < SAME_CALL_NS {
            return;
        }
        let state = state_at(known, event);
        let mut stop = Stop::of(at, event, self.generation);
        (stop.cause, stop.reset_reason) = match self.ended_by(at, tw, by, state) {
            (None, None) => self.ended_beside(at, event.pid, tw, &stop.key),
            known => known,
        };
        self.minisockets.await_end(tw, stop);
        if self.is_certain_end(at, event) {
            self.conclude_stop(tw, out);
        }
    }

    /// Why it ended, from what happened at the same time.
    fn ended_beside(&self, at: KtimeNs, pid: u32, tw: SockAddr64, key: &Key) -> Why {
        if let Some((cause, reason)) = self.minisockets.resets.of(at, tw) {
            return (Some(cause), reason);
        }
        let connects = self.minisockets.connects.may_take(at, pid, key);
        (connects.then_some(Cause::ReusedByConnect), None)
    }

    pub(super) fn expired(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        self.end_by(at, event, out, |_, state| match state {
            TcpState::FinWait2 => (Some(Cause::FinWait2Timeout), None),
            _ => (Some(Cause::Expired), None),
        });
    }

    pub(super) fn ended(&mut self, at: KtimeNs, event: &Event, by: u8, out: &mut Vec<Change>) {
        self.end_by(at, event, out, |tracker, state| {
            tracker.ended_by(at, event.tw, by, state)
        });
    }

    /// Why it ended, from who ended it.
    fn ended_by(&self, at: KtimeNs, tw: SockAddr64, by: u8, state: TcpState) -> Why {
        let cause = match by {
            caller::RECEIVE => return self.ended_by_segment(at, tw, state),
            caller::STATE_PROCESS => Cause::ResetReceived,
            caller::HASH_CONNECT | caller::CHECK_ESTABLISHED => Cause::ReusedByConnect,
            caller::ABORT => Cause::Killed,
            caller::PURGE => Cause::NetnsExit,
            _ => return (None, None),
        };
        (Some(cause), None)
    }

    /// `tcp_v4_rcv` ended it. `tcp_timewait_state_process` asks for a reset in
    /// `FIN_WAIT2` only, and for a new connection in `TIME_WAIT` only.
    fn ended_by_segment(&self, at: KtimeNs, tw: SockAddr64, state: TcpState) -> Why {
        match self.minisockets.resets.of(at, tw) {
            Some((Cause::ResetSent, reason)) => (Some(Cause::ResetSent), reason),
            _ if state == TcpState::FinWait2 => (Some(Cause::ResetSent), None),
            _ => (Some(Cause::ReusedBySyn), None),
        }
    }

    /// Its memory is given back: it has ended before, at the latest now. Why is
    /// not told by who drops the last reference, unless no other end is seen of
    /// what ends with its network namespace (up to Linux 6.1).
    pub(super) fn minisocket_destroyed(
        &mut self,
        at: KtimeNs,
        event: &Event,
        by: u8,
        out: &mut Vec<Change>,
    ) {
        if self.is_stopped(event.tw) {
            return self.conclude_stop(event.tw, out);
        }
        let known = self.minisockets.map.get(&event.tw);
        let whole = known.is_some_and(|known| !known.is_suspect(self.generation));
        let cause = (whole && by == caller::PURGE).then_some(Cause::NetnsExit);
        self.end_by(at, event, out, |_, _| (cause, None));
    }

    /// Ends it with the cause that `why` knows, given its last state.
    fn end_by(
        &mut self,
        at: KtimeNs,
        event: &Event,
        out: &mut Vec<Change>,
        why: impl Fn(&Self, TcpState) -> Why,
    ) {
        if self.is_another(at, event, out) {
            return self.untold(at, event, out);
        }
        let Some(known) = self.minisockets.map.get(&event.tw) else {
            return;
        };
        let (cause, reset_reason) = why(self, state_at(known, event));
        let stop = Stop {
            cause,
            reset_reason,
            certain: true,
            ..Stop::of(at, event, self.generation)
        };
        self.minisockets.stops.insert(event.tw, stop);
        self.conclude_stop(event.tw, out);
    }

    /// Its timer was stopped and a reset is why.
    pub(super) fn stopped_by_reset(
        &mut self,
        tw: SockAddr64,
        cause: Cause,
        reason: Option<u32>,
        out: &mut Vec<Change>,
    ) {
        if let Some(stop) = self.minisockets.stops.get_mut(&tw)
            && stop.generation == self.generation
            && !stop.certain
        {
            stop.cause = Some(cause);
            stop.reset_reason = reason;
            self.conclude_stop(tw, out);
        }
    }

    /// We sent a reset on behalf of a minisocket, which ends by it.
    pub(in crate::track) fn minisocket_reset(
        &mut self,
        at: KtimeNs,
        tw: SockAddr64,
        reason: Option<u32>,
        out: &mut Vec<Change>,
    ) {
        if !self.keeps_minisockets() {
            return;
        }
        let cause = Cause::ResetSent;
        self.minisockets.resets.note(at, tw, cause, reason);
        self.stopped_by_reset(tw, cause, reason, out);
    }

    /// Nothing followed the stop of its timer: it has ended by that, unless
    /// what followed was lost.
    pub(super) fn settle_stop(&mut self, tw: SockAddr64, out: &mut Vec<Change>) {
        if self.is_stopped(tw) {
            self.conclude_stop(tw, out);
        } else {
            self.minisockets.stops.remove(&tw);
        }
    }

    /// Whether the last that is known of it is that its timer was stopped. What
    /// followed that may have been lost: a new start as well as another one's
    /// life at its address.
    pub(super) fn is_stopped(&self, tw: SockAddr64) -> bool {
        let stop = self.minisockets.stops.get(&tw);
        stop.is_some_and(|stop| stop.certain || stop.generation == self.generation)
    }

    /// It has ended as its stop says; that is written once its connection is
    /// known.
    pub(super) fn conclude_stop(&mut self, tw: SockAddr64, out: &mut Vec<Change>) {
        if let Some(stop) = self.minisockets.stops.get_mut(&tw) {
            stop.certain = true;
        }
        let known = self.minisockets.map.get(&tw);
        if known.is_none_or(|known| known.origins != Origins::Awaited) {
            self.finish_stop(tw, out);
        }
    }

    /// Writes the end of one that ended before its connection was known.
    pub(super) fn finish_certain(&mut self, tw: SockAddr64, out: &mut Vec<Change>) {
        let stop = self.minisockets.stops.get(&tw);
        if stop.is_some_and(|stop| stop.certain) {
            self.finish_stop(tw, out);
        }
    }

    /// Writes the end that its stop says.
    pub(super) fn finish_stop(&mut self, tw: SockAddr64, out: &mut Vec<Change>) {
        let stop = self.minisockets.stops.remove(&tw);
        let (Some(mut known), Some(stop)) = (self.minisockets.map.remove(&tw), stop) else {
            return;
        };
        self.minisockets
            .over
            .end(stop.at, (known.netns, known.tuple));
        self.count_minisocket(&mut known);
        if (known.state, stop.state) == (TcpState::FinWait2, TcpState::TimeWait) {
            let line = known.enter_time_wait_unseen(stop.at, stop.left_ms, stop.generation);
            out.push(line);
        }
        out.push(Change {
            cause: stop.cause,
            reset_reason: stop.reset_reason,
            ..known.line(stop.at, TcpState::Close, stop.generation)
        });
    }
}
