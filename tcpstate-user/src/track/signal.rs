//! What happens to a socket besides transitions: who accepted and closed it,
//! resets, its destruction.

use tcpstate_common::{record::Task, state::TcpState};

use super::{
    Change, Opened, Process, Tracker,
    cause::Ending,
    entry::Entry,
    hearsay::Told,
    hold::{HeldKey, Wait, write_end},
    step::release,
};
use crate::decode::{KtimeNs, ResetSent, SockAddr64};

impl Tracker {
    pub(super) fn accepted(&mut self, sk: SockAddr64, task: &Task) {
        let generation = self.generation;
        if let Some(entry) = self.table.get_mut(sk).filter(|entry| !entry.gone) {
            entry.origin_in_doubt = entry.is_suspect(generation);
            entry.origin = Some(Process {
                pid: task.pid,
                comm: task.comm,
            });
            entry.opened = Opened::Accept;
        } else {
            self.hear(sk, Told::Accepted(*task));
        }
    }

    pub(super) fn close_called(&mut self, sk: SockAddr64) {
        if let Some(entry) = self.table.get_mut(sk) {
            entry.close_called = true;
        } else {
            self.hear(sk, Told::CloseCalled);
        }
    }

    /// `tcp_reset` calls `tcp_done` at once: `-> CLOSE` is the socket's next
    /// event.
    pub(super) fn reset_received(&mut self, sk: SockAddr64) {
        if let Some(entry) = self.table.get_mut(sk) {
            entry.reset_received = entry.state != TcpState::Close;
        } else {
            self.hear(sk, Told::ResetReceived);
        }
    }

    /// Joins a RST to the line that waits for it, or remembers it for the line
    /// that follows. A RST that answers a segment and is followed by nothing
    /// is not this connection's end.
    pub(super) fn reset_sent(&mut self, at: KtimeNs, event: &ResetSent, out: &mut Vec<Change>) {
        let Some(sk) = event.sk else { return };
        let listens = |entry: &Entry| entry.state == TcpState::Listen;
        if self.follows.requests && !event.active && self.table.map.get(&sk).is_none_or(listens) {
            self.requests.note_reset(at, sk, event.reason);
        }
        if self.minisockets.map.contains_key(&sk) {
            return self.minisocket_reset(at, sk, event.reason, out);
        }
        let Some(entry) = self.table.get_mut(sk) else {
            if event.active {
                self.hear(sk, Told::ResetSent(event.reason));
            }
            // A minisocket may be known whose address is not.
            return self.minisocket_reset(at, sk, event.reason, out);
        };
        let waits = entry.held.and_then(|key| self.holds.get_mut(key));
        // After a gap the RST may be of another socket at this address.
        if let Some(held) = waits
            && matches!(held.wait, Wait::Reset { .. })
            && held.generation == self.generation
        {
            self.lasts.reset(held.line.conn, event);
            let ending = Ending::Reset(event.reason);
            write_end(held.line, ending, &mut self.counters, out);
            if let Some(key) = entry.held.take() {
                self.holds.take(key);
            }
            if entry.gone {
                self.table.remove(sk);
            }
        } else if event.active && entry.state != TcpState::Close {
            entry.reset_sent = Some(event.reason);
        }
    }

    pub(super) fn destroyed(&mut self, at: KtimeNs, sk: SockAddr64, out: &mut Vec<Change>) {
        let Some(entry) = self.table.get_mut(sk) else {
            self.table.hearsay.forget(sk);
            return;
        };
        let held = entry.held.and_then(|key| self.holds.get_mut(key));
        if let Some(held) = held
            && let Wait::Reset {
                outlives_socket: true,
                ..
            } = held.wait
        {
            entry.gone = true;
            return;
        }
        // inet_csk_destroy_sock insists on CLOSE: that event was missed. Not so
        // when a walk has seen the next socket at this address already; its
        // birth follows.
        let missed = entry.state != TcpState::Close && !entry.is_younger_than(at);
        self.counters.ended_unseen += u64::from(missed);
        release(
            entry,
            &mut self.holds,
            self.generation,
            &mut self.counters,
            out,
        );
        self.table.remove(sk);
    }

    /// Writes the lines for which no RST comes any more.
    #[inline]
    pub(super) fn settle_resets(&mut self, now: KtimeNs, out: &mut Vec<Change>) {
        if self.holds.awaits_no_reset() {
            return;
        }
        while let Some(key) = self.holds.reset_due(now) {
            self.write_held(key, out);
        }
    }

    /// Writes a line that waits, with what is known by now.
    pub(super) fn write_held(&mut self, key: HeldKey, out: &mut Vec<Change>) {
        let Some(held) = self.holds.take(key) else {
            return;
        };
        let tuple = held.line.tuple;
        if let Some(entry) = self.table.get_mut(held.sk) {
            entry.held = None;
            if entry.gone {
                self.table.remove(held.sk);
            }
        }
        held.write(&tuple, self.generation, &mut self.counters, out);
    }
}
