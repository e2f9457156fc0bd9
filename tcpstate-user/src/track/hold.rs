//! Lines that cannot be written yet: the tuple is not known, or the begin of the
//! request, or the reason of a reset is still to come.
//!
//! It knows no sockets, only who waits, since when, and for what. At most one
//! line of a socket waits, so its lines stay in order.

use std::collections::VecDeque;

use slab::Slab;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Cause, Change, Counters, cause::Ending, entry::Generation, tuple::is_complete};
use crate::decode::{KtimeNs, SockAddr64};

/// How long `tcp_send_reset` may follow `-> CLOSE`. It does within the same
/// kernel function or its caller, so only an interrupt can come between, or a
/// hypervisor: in an emulated machine that was shared, 5 ms were too few for 12
/// of 5000 connections, and 30 ms for some. `close()` itself sends the RST, and
/// `tcp_destroy_sock` says at its end that there was none: only a socket that
/// is disconnected without one, as with `TCP_REPAIR`, makes its line wait so long.
const RESET_NS: u64 = 1_000_000_000;
/// The same where `tcp_destroy_sock` comes before the RST and says nothing: the
/// line of every orphan that gets a RST waits so long, and somebody may be
/// watching.
const ANSWER_NS: u64 = 30_000_000;
/// How long a tuple may be missing when nobody looked at the socket.
const TUPLE_NS: u64 = 20_000_000;
/// How long a child may be in `SYN_RECV`, if it is not a fast-open one: it is
/// not for longer than a call of the kernel takes. That an interrupt or a
/// hypervisor came between made it 35 ms for 1 of 2000 children in an emulated
/// machine that was shared.
const REQUEST_NS: u64 = 100_000_000;

/// Where a held line lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldKey(u32);

/// What a line waits for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// For the tuple.
    Tuple,
    /// For the end of the request, which tells when it began; and the tuple.
    Request,
    /// For `tcp_send_reset`.
    Reset {
        /// How it ended when none comes.
        otherwise: Ending,
        /// See [`super::cause::Verdict::Awaits`].
        outlives_socket: bool,
    },
}

/// A line that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) sk: SockAddr64,
    pub(super) line: Change,
    pub(super) wait: Wait,
    pub(super) generation: Generation,
    serial: u64,
}

impl Held {
    /// Writes the line as it is known now, `tuple` being the socket's; nothing when
    /// the ending is no change at all.
    pub(super) fn write(
        self,
        tuple: &Tuple,
        generation: Generation,
        counters: &mut Counters,
        out: &mut Vec<Change>,
    ) {
        match self.wait {
            Wait::Tuple | Wait::Request => out.push(Change {
                tuple: *tuple,
                ..self.line
            }),
            // After a gap, the report of the RST may be what was lost.
            Wait::Reset { otherwise, .. } if self.generation != generation => {
                write_end(self.line, otherwise.without_cause(), counters, out);
            }
            Wait::Reset { otherwise, .. } => write_end(self.line, otherwise, counters, out),
        }
    }
}

/// Writes the line of a `-> CLOSE` event with its `ending`; nothing when that is no
/// change at all.
#[inline]
pub(super) fn write_end(
    mut line: Change,
    ending: Ending,
    counters: &mut Counters,
    out: &mut Vec<Change>,
) {
    match ending {
        Ending::AsReported(cause) => line.cause = cause,
        Ending::Reset(reason) => {
            line.cause = Some(Cause::ResetSent);
            line.reset_reason = reason;
        }
        Ending::TimeWait(cause) => {
            counters.handed_over += 1;
            line.new = TcpState::TimeWait;
            line.cause = Some(cause);
        }
        Ending::Orphaned => {
            counters.handed_over += 1;
            return;
        }
        Ending::Doubtful => {
            counters.ended_unseen += 1;
            return;
        }
    }
    out.push(line);
}

#[derive(Clone, Copy, Debug)]
struct Due {
    since: KtimeNs,
    key: HeldKey,
    serial: u64,
}

/// All lines that wait. Slots and queues keep their memory, so nothing is
/// allocated once the usual number of lines has waited at the same time.
#[derive(Debug, Default)]
pub(super) struct Holds {
    lines: Slab<Held>,
    tuples: VecDeque<Due>,
    requests: VecDeque<Due>,
    resets: VecDeque<Due>,
    answers: VecDeque<Due>,
    serial: u64,
}

impl Holds {
    /// Holds `line`. At most one per tracked socket: the cap of the table is
    /// the cap here.
    pub(super) fn hold(
        &mut self,
        sk: SockAddr64,
        line: Change,
        wait: Wait,
        generation: Generation,
    ) -> Option<HeldKey> {
        let key = HeldKey(u32::try_from(self.lines.vacant_key()).ok()?);
        self.serial += 1;
        let serial = self.serial;
        self.lines.insert(Held {
            sk,
            line,
            wait,
            generation,
            serial,
        });
        let due = Due {
            since: line.at,
            key,
            serial,
        };
        match wait {
            Wait::Tuple => self.tuples.push_back(due),
            Wait::Request => self.requests.push_back(due),
            Wait::Reset {
                outlives_socket: true,
                ..
            } => self.answers.push_back(due),
            Wait::Reset { .. } => self.resets.push_back(due),
        }
        Some(key)
    }

    pub(super) fn get_mut(&mut self, key: HeldKey) -> Option<&mut Held> {
        self.lines.get_mut(key.0 as usize)
    }

    pub(super) fn take(&mut self, key: HeldKey) -> Option<Held> {
        self.lines.try_remove(key.0 as usize)
    }

    /// Whether no line waits for a RST.
    pub(super) fn awaits_no_reset(&self) -> bool {
        self.answers.is_empty() && self.resets.is_empty()
    }

    /// The next line that has waited long enough at `now` for a RST.
    pub(super) fn reset_due(&mut self, now: KtimeNs) -> Option<HeldKey> {
        let due = next_due(&self.lines, &mut self.answers, now, ANSWER_NS);
        due.or_else(|| next_due(&self.lines, &mut self.resets, now, RESET_NS))
    }

    /// The next line whose tuple nobody will tell any more at `now`.
    pub(super) fn tuple_due(&mut self, now: KtimeNs) -> Option<HeldKey> {
        next_due(&self.lines, &mut self.tuples, now, TUPLE_NS)
    }

    /// The next line of a child whose request nobody will tell of any more.
    pub(super) fn request_due(&mut self, now: KtimeNs) -> Option<HeldKey> {
        next_due(&self.lines, &mut self.requests, now, REQUEST_NS)
    }

    /// Forgets that lines waited which have long been written.
    pub(super) fn forget_written(&mut self) {
        for queue in [&mut self.tuples, &mut self.requests] {
            while let Some(&due) = queue.front()
                && waiting(&self.lines, due).is_none()
            {
                queue.pop_front();
            }
        }
    }

    /// The sockets that should be looked at.
    pub(super) fn wanted(&self) -> impl Iterator<Item = SockAddr64> {
        let due = self.tuples.iter().chain(&self.requests);
        let held = due.filter_map(|&due| waiting(&self.lines, due));
        let lacks = |held: &&Held| !is_complete(&held.line.tuple, held.line.new);
        held.filter(lacks).map(|held| held.sk)
    }
}

fn waiting(lines: &Slab<Held>, due: Due) -> Option<&Held> {
    let held = lines.get(due.key.0 as usize)?;
    (held.serial == due.serial).then_some(held)
}

/// The first line of a queue, if it waits since `limit` nanoseconds; those that
/// do not wait any more are dropped.
fn next_due(
    lines: &Slab<Held>,
    queue: &mut VecDeque<Due>,
    now: KtimeNs,
    limit: u64,
) -> Option<HeldKey> {
    while let Some(&due) = queue.front() {
        let waits = waiting(lines, due).is_some();
        if waits && now.since(due.since) < limit {
            return None;
        }
        queue.pop_front();
        if waits {
            return Some(due.key);
        }
    }
    None
}
