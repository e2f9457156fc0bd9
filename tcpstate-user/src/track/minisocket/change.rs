//! What happens to a minisocket while it lives: the peer's FIN, segments that
//! start its timer again.

use tcpstate_common::state::TcpState;

use super::{JIFFY_NS, SAME_CALL_NS, TIME_WAIT_MS, entry::Origins};
use crate::{
    decode::{KtimeNs, Minisocket as Event, MinisocketEvent},
    track::{Cause, Change, Tracker},
};

/// Flags of a segment (RFC 9293 section 3.1).
const RST: u8 = 4;
const ACK: u8 = 16;

impl Tracker {
    /// Its timer was started again: by the peer's FIN when it is in `TIME_WAIT`
    /// only now, else by a segment that it had to answer.
    pub(super) fn armed(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        if self.is_another(at, event, out) {
            return;
        }
        let changed = self.changed(at, event, out);
        let Some(known) = self.minisockets.map.get_mut(&event.tw) else {
            return;
        };
        self.minisockets.stops.remove(&event.tw);
        known.vouch(at, self.generation);
        known.heard = at;
        known.from_snapshot = false;
        known.arming = event.what == MinisocketEvent::Armed;
        known.rearmed += u32::from(!changed);
    }

    /// A segment is done with. Where the timer is all that is seen of a
    /// minisocket, this may be all that is seen of the peer's FIN: a start that
    /// leaves the timer in its slot of the wheel fires no event.
    pub(super) fn handled(&mut self, at: KtimeNs, event: &Event, flags: u8, out: &mut Vec<Change>) {
        if flags & RST != 0 {
            let (tw, cause) = (event.tw, Cause::ResetReceived);
            self.minisockets.resets.note(at, tw, cause, None);
        }
        // After the end its memory may be another's already.
        if self.is_stopped(event.tw) {
            if flags & RST != 0 {
                self.stopped_by_reset(event.tw, Cause::ResetReceived, None, out);
            }
            return;
        }
        let other = |known: &super::Minisocket| known.tuple != event.tuple;
        if self.minisockets.map.get(&event.tw).is_none_or(other) || self.changed(at, event, out) {
            return;
        }
        let Some(known) = self.minisockets.map.get_mut(&event.tw) else {
            return;
        };
        // Whatever acknowledges in TIME_WAIT starts the timer. The timer's own
        // event came before in the same call, if it fired.
        let just_armed = u64::from(event.left_ms) + JIFFY_NS / 1_000_000 >= TIME_WAIT_MS;
        if just_armed
            && flags & (ACK | RST) == ACK
            && (known.state, event.substate) == (TcpState::TimeWait, TcpState::TimeWait)
            && at.since(known.heard) >= SAME_CALL_NS
        {
            known.rearmed += 1;
            known.heard = at;
            known.from_snapshot = false;
        }
        known.vouch(at, self.generation);
    }

    /// Writes the peer's FIN, if that is what `event` shows first.
    fn changed(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) -> bool {
        let generation = self.generation;
        let Some(known) = self.minisockets.map.get_mut(&event.tw) else {
            return false;
        };
        if (known.state, event.substate) != (TcpState::FinWait2, TcpState::TimeWait) {
            return false;
        }
        let awaited = known.origins == Origins::Awaited;
        let counts = !awaited && known.take_count();
        let line = known.enter_time_wait(at, generation);
        known.heard = at;
        known.from_snapshot = false;
        self.counters.connections += u64::from(counts);
        // One that is still to take over does so in TIME_WAIT then.
        out.extend((!awaited).then_some(line));
        true
    }

    /// Whether `event` shows another minisocket at a known one's address, whose
    /// end was missed then.
    pub(super) fn is_another(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) -> bool {
        let known = self.minisockets.map.get(&event.tw);
        let here = (event.netns, event.tuple);
        let another = known.is_some_and(|known| (known.netns, known.tuple) != here);
        if another {
            self.end_unseen(event.tw, at, out);
        }
        another
    }
}
