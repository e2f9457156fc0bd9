//! One state transition of one socket.
//!
//! It knows which line a transition makes and whether that line can be written
//! at once.

use tcpstate_common::{
    record::{Task, how},
    state::TcpState,
};

use super::{
    Call, Change, Closer, Counters, Dwell, Process, Tracker,
    cause::{Closing, Ending, Verdict, of_close, of_step},
    entry::{Entry, Generation},
    hold::{Holds, Wait, write_end},
    minisocket::{Heir, Past},
    table::{Relation, is_birth},
    tuple::contradicts,
};
use crate::decode::{KtimeNs, SockAddr64, SocketKind, Transition};

impl Tracker {
    pub(super) fn transition(&mut self, at: KtimeNs, event: &Transition, out: &mut Vec<Change>) {
        if event.old == event.new {
            return self.same_state(at, event, out);
        }
        let generation = self.generation;
        let requests = self.follows.requests;
        self.claim_request(event);
        let heir = self.heir(at, event);
        let full = self.is_full();
        let counters = &mut self.counters;
        let reached = self.table.reach(at, event, generation, full, counters);
        let Some((entry, relation)) = reached else {
            if let Heir::Begun(begin) = heir {
                self.begun_from_nowhere(&begin, out);
            }
            return;
        };
        let dwell = match relation {
            Relation::Continues(dwell) => dwell,
            Relation::Starts(dwell) => {
                // Its last line can learn nothing from another connection.
                release(entry, &mut self.holds, generation, &mut self.counters, out);
                *entry = Entry::before(at, event, generation);
                dwell
            }
        };
        let past = matches!(heir, Heir::Begun(_)).then(|| Past::of(entry, event, dwell));
        let verdict = heir.amend(verdict(entry, event, dwell));
        self.lasts
            .keep(event, entry.conn(event.sk), entry.reset_sent, generation);
        entry.enter(at, event, generation);
        if let Some(process) = opener(event) {
            entry.origin = Some(process);
        }
        release(entry, &mut self.holds, generation, &mut self.counters, out);
        let whose = (entry.netns, entry.tuple);
        if let (Heir::Begun(begin), Some(past)) = (&heir, &past) {
            self.hand_over(begin, past, out);
        } else if let Some(wait) = wait(verdict, entry, event, requests) {
            let line = line(entry, at, event, dwell);
            entry.held = self.holds.hold(event.sk, line, wait, generation);
        } else if let Verdict::Known(ending) = verdict {
            write_end(
                line(entry, at, event, dwell),
                ending,
                &mut self.counters,
                out,
            );
        }
        if self.keeps_minisockets() {
            self.reuse_clue(at, event, &whose);
        }
    }

    /// `X -> X`: `close()` of a socket that is closing already, or MPTCP. No
    /// clock starts and no line is written.
    fn same_state(&mut self, at: KtimeNs, event: &Transition, out: &mut Vec<Change>) {
        let generation = self.generation;
        match self.table.get_mut(event.sk) {
            Some(entry) if is_same(entry, event) => {
                entry.close_seen |= event.how.has(how::FILE_RELEASED);
                if entry.is_suspect(generation) {
                    entry.confirm(at, event.new, generation);
                }
                return;
            }
            Some(entry) if entry.is_younger_than(at) => return,
            None if event.new == TcpState::Close => return,
            _ => {}
        }
        let full = self.is_full();
        let counters = &mut self.counters;
        let reached = self.table.reach(at, event, generation, full, counters);
        let Some((entry, relation)) = reached else {
            return;
        };
        if matches!(relation, Relation::Starts(_)) {
            release(entry, &mut self.holds, generation, &mut self.counters, out);
            *entry = Entry::before(at, event, generation);
        }
        entry.confirm(at, event.new, generation);
        entry.close_seen |= event.how.has(how::FILE_RELEASED);
    }
}

fn is_same(entry: &Entry, event: &Transition) -> bool {
    !entry.gone && entry.state == event.new && !contradicts(&entry.tuple, &event.tuple)
}

/// Writes the line that `entry` waits with, as far as it is known.
pub(super) fn release(
    entry: &mut Entry,
    holds: &mut Holds,
    generation: Generation,
    counters: &mut Counters,
    out: &mut Vec<Change>,
) {
    if let Some(held) = entry.held.take().and_then(|key| holds.take(key)) {
        held.write(&entry.tuple, generation, counters, out);
    }
}

/// `entry` is the socket before `event`.
fn verdict(entry: &Entry, event: &Transition, dwell: Dwell) -> Verdict {
    if event.new == TcpState::Close {
        let has_gap = dwell == Dwell::Unknown;
        return of_close(&Closing::of(entry, event, has_gap));
    }
    Verdict::Known(Ending::AsReported(of_step(entry, event)))
}

/// What the line of `event` waits for; `entry` is the socket after it, and
/// `requests` says whether the end of its request is reported.
fn wait(verdict: Verdict, entry: &Entry, event: &Transition, requests: bool) -> Option<Wait> {
    match verdict {
        Verdict::Awaits {
            otherwise,
            outlives_socket,
        } => Some(Wait::Reset {
            otherwise,
            outlives_socket,
        }),
        Verdict::Known(_) if requests && event.old == TcpState::Listen && is_birth(event) => {
            Some(Wait::Request)
        }
        Verdict::Known(_) => (is_birth(event) && !entry.is_complete()).then_some(Wait::Tuple),
    }
}

/// The process that opens a connection or a listener with this event.
fn opener(event: &Transition) -> Option<Process> {
    let opens =
        event.old == TcpState::Close && matches!(event.new, TcpState::SynSent | TcpState::Listen);
    event.task.filter(|_| opens).as_ref().map(process)
}

/// The task that closed with this event.
fn closer(entry: &Entry, event: &Transition) -> Option<Closer> {
    let released = event.how.has(how::FILE_RELEASED) || entry.close_called;
    let shuts = matches!(event.new, TcpState::FinWait1 | TcpState::LastAck);
    let call = match event.old {
        TcpState::Close => return None,
        _ if released && event.how.has(how::EXITING) => Call::Exit,
        _ if released => Call::Close,
        // Carried out when the handshake ends: whoever runs then.
        TcpState::SynRecv => return None,
        _ if shuts => Call::Shutdown,
        _ => return None,
    };
    let process = process(event.task.as_ref()?);
    Some(Closer { process, call })
}

const fn process(task: &Task) -> Process {
    Process {
        pid: task.pid,
        comm: task.comm,
    }
}

#[inline]
fn line(entry: &Entry, at: KtimeNs, event: &Transition, dwell: Dwell) -> Change {
    Change {
        old: event.old,
        new: event.new,
        closer: closer(entry, event),
        ..plain_line(entry, event.sk, at, dwell)
    }
}

/// A line of the socket, that it stays in its state.
#[inline]
pub(super) fn plain_line(entry: &Entry, sk: SockAddr64, at: KtimeNs, dwell: Dwell) -> Change {
    Change {
        at,
        conn: entry.conn(sk),
        netns: entry.netns,
        family: entry.family,
        tuple: entry.tuple,
        old: entry.state,
        new: entry.state,
        dwell,
        kind: SocketKind::Full,
        origin: entry.known_origin(),
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}
