//! What tells why a minisocket ended, when its end itself does not: segments
//! that it was handling, resets that it sent, connections that have its tuple.

use std::collections::VecDeque;

use tcpstate_common::state::TcpState;

use super::SAME_CALL_NS;
use crate::{
    decode::{KtimeNs, SockAddr64, Transition},
    track::{Cause, Tracker, nameless::Key},
};

/// Resets remembered. They come and are looked for within one call of the
/// kernel, so this is how many CPUs may do that at the same time.
const RESETS: usize = 64;
/// Calls of `connect()` remembered, likewise.
const CONNECTS: usize = 256;
/// How long `connect()` may look for a port before it finds one.
const CONNECT_NS: u64 = 20_000_000;

#[derive(Clone, Copy, Debug)]
struct Reset {
    at: KtimeNs,
    tw: SockAddr64,
    cause: Cause,
    reason: Option<u32>,
}

/// The last resets that minisockets sent or got.
#[derive(Debug, Default)]
pub(in crate::track) struct Resets {
    last: VecDeque<Reset>,
}

impl Resets {
    /// Notes that `tw` sent a reset or got one.
    pub(super) fn note(&mut self, at: KtimeNs, tw: SockAddr64, cause: Cause, reason: Option<u32>) {
        let reset = Reset {
            at,
            tw,
            cause,
            reason,
        };
        put(&mut self.last, RESETS, reset);
    }

    /// Another minisocket begins at `tw`.
    pub(super) fn forget(&mut self, tw: SockAddr64) {
        self.last.retain(|reset| reset.tw != tw);
    }

    /// The reset of `tw` in the call in which it ended at `at`, with its reason.
    pub(super) fn of(&self, at: KtimeNs, tw: SockAddr64) -> Option<(Cause, Option<u32>)> {
        let mut resets = self.last.iter().rev().filter(|reset| reset.tw == tw);
        let found = resets.find(|reset| at.since(reset.at) < SAME_CALL_NS);
        found.map(|reset| (reset.cause, reset.reason))
    }
}

#[derive(Clone, Copy, Debug)]
struct Connect {
    at: KtimeNs,
    pid: u32,
    key: Key,
}

/// The last calls of `connect()`.
#[derive(Debug, Default)]
pub(in crate::track) struct Connects {
    last: VecDeque<Connect>,
}

impl Connects {
    /// Notes a call. The local port is 0 while the kernel has not chosen one.
    fn note(&mut self, at: KtimeNs, pid: u32, key: Key) {
        put(&mut self.last, CONNECTS, Connect { at, pid, key });
    }

    /// Whether process `pid` is connecting at `at` and may have come across the
    /// minisocket `key`.
    pub(super) fn may_take(&self, at: KtimeNs, pid: u32, key: &Key) -> bool {
        let (netns, tuple) = key;
        self.last.iter().any(|connect| {
            let (its_netns, its) = &connect.key;
            connect.pid == pid
                && its_netns == netns
                && (its.raddr, its.rport) == (tuple.raddr, tuple.rport)
                && (its.lport == 0 || its.lport == tuple.lport)
                && at.since(connect.at) < CONNECT_NS
        })
    }
}

/// Puts `item` in the place of the oldest once there are `most`.
fn put<T>(last: &mut VecDeque<T>, most: usize, item: T) {
    if last.len() >= most {
        last.pop_front();
    }
    last.push_back(item);
}

impl Tracker {
    /// What a transition of a full socket, whose connection is `key`, says of
    /// minisockets that ended with the same tuple.
    pub(in crate::track) fn reuse_clue(&mut self, at: KtimeNs, event: &Transition, key: &Key) {
        let opens = (event.old, event.new) == (TcpState::Close, TcpState::SynSent);
        if opens && let Some(task) = &event.task {
            self.minisockets.connects.note(at, task.pid, *key);
        }
        let cause = match (event.old, event.new) {
            (TcpState::Close | TcpState::SynSent, _) => Cause::ReusedByConnect,
            (TcpState::Listen, TcpState::SynRecv) | (TcpState::SynRecv, _) => Cause::ReusedBySyn,
            _ => return,
        };
        for stop in self.minisockets.stops.values_mut() {
            if stop.key == *key && !stop.certain {
                stop.cause.get_or_insert(cause);
            }
        }
    }
}
