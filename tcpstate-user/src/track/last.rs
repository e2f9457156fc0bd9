//! The last look at a socket, kept until the line is written that it belongs to.
//!
//! A table beside that of the sockets, and empty in a session that was not asked
//! for last looks. It knows of a connection only what that look tells.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::{
    record::{Task, how},
    state::TcpState,
};

use super::{Call, Cause, Change, Closer, ConnId, Process, entry::Generation};
use crate::decode::{How, KtimeNs, LastLook, ResetSent, SockAddr64, SocketKind, Transition};

/// Looks that no transition has followed: it was lost. What comes between the
/// two is what other CPUs, or an interrupt on this one, put into the ring.
const LOOKS: usize = 4096;
/// Looks whose line is not written yet: those of orphans are kept for as long as
/// their minisocket is in `FIN_WAIT2`. The oldest one makes room, and its
/// connection is one that nobody looked at.
const KEPT: usize = 1 << 18;

/// What the last look at a full socket tells, right before it is over or handed
/// over. `None` is what this kernel's types do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload that came in order, read by the application or not
    /// (`bytes_received` without the FIN, which that counts as one).
    pub bytes_in: Option<u64>,
    /// Payload that was sent, what was sent again counted once, acknowledged
    /// or not (`bytes_sent - bytes_retrans`; `bytes_acked` counts SYN and FIN).
    pub bytes_out: Option<u64>,
    /// Segments that were sent again (`total_retrans`).
    pub retransmits: Option<u32>,
    /// Payload that the application has not read.
    pub unread: u32,
    /// `TCP_USER_TIMEOUT` in milliseconds; 0 is the default, none.
    pub user_timeout_ms: Option<u32>,
    /// Probes of the keepalive, or of a closed window, without an answer.
    pub probes: Option<u8>,
    /// When data last went or came, to a tick of the kernel.
    pub last_data: Option<KtimeNs>,
    /// `SO_KEEPALIVE` is on.
    pub keepalive: bool,
    /// `SO_LINGER` is on with a time of 0; `None` when the time is not known.
    pub linger_zero: Option<bool>,
    /// `TCP_LINGER2` is below 0: no `FIN_WAIT2` without a process.
    pub no_fin_wait2: bool,
    /// The socket at that instant.
    pub how: How,
    /// The RST that was sent for it, if one was.
    pub reset: Option<Sent>,
}

/// A RST that left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// It answers a segment; otherwise it is of our own accord.
    pub answers: bool,
    /// `enum sk_rst_reason`, where the kernel gives one.
    pub reason: Option<u32>,
}

/// A look whose transition is to come. A loss between the two may have been that
/// transition, and the next one that of another socket.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: KtimeNs,
    seen: LastLook,
    generation: Generation,
}

/// A look, and who ran when it was taken.
#[derive(Clone, Copy, Debug)]
struct Last {
    totals: Totals,
    task: Task,
    exiting: bool,
    err: u8,
}

/// The looks that wait for something.
#[derive(Debug, Default)]
pub(super) struct Lasts {
    looks: HashMap<SockAddr64, Look, RandomState>,
    kept: HashMap<ConnId, Last, RandomState>,
    /// The keys of `kept`, oldest first, and some that are not there any more.
    order: VecDeque<ConnId>,
}

impl Lasts {
    /// Keeps a look for the transition that follows it.
    pub(super) fn look(&mut self, at: KtimeNs, seen: &LastLook, generation: Generation) {
        if self.looks.len() >= LOOKS {
            self.looks.clear();
        }
        let look = Look {
            at,
            seen: *seen,
            generation,
        };
        self.looks.insert(seen.sk, look);
    }

    /// Gives the look before `event`, if there was one, to the connection that
    /// is over with it; `reset` is the RST that left before, with its reason.
    pub(super) fn keep(
        &mut self,
        event: &Transition,
        conn: ConnId,
        reset: Option<Option<u32>>,
        generation: Generation,
    ) {
        if self.looks.is_empty() || event.new != TcpState::Close {
            return;
        }
        let look = self.looks.remove(&event.sk);
        let Some(look) = look.filter(|look| look.generation == generation) else {
            return;
        };
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        let reset = reset.map(|reason| Sent {
            answers: false,
            reason,
        });
        let last = Last {
            totals: totals(look.at, &look.seen, event.how, reset),
            task: look.seen.task,
            exiting: look.seen.exiting,
            err: event.err,
        };
        self.kept.insert(conn, last);
        self.order.push_back(conn);
        if self.order.len() > 2 * self.kept.len() + LOOKS {
            self.order.retain(|conn| self.kept.contains_key(conn));
        }
    }

    /// A RST was sent for a connection whose line is not written yet.
    pub(super) fn reset(&mut self, conn: ConnId, event: &ResetSent) {
        if let Some(last) = self.kept.get_mut(&conn) {
            last.totals.reset = Some(Sent {
                answers: !event.active,
                reason: event.reason,
            });
        }
    }

    /// Writes what was seen into the lines that it belongs to.
    pub(super) fn stamp(&mut self, lines: &mut [Change]) {
        if self.kept.is_empty() {
            return;
        }
        let over = |line: &&mut Change| {
            line.kind != SocketKind::Request
                && matches!(line.new, TcpState::Close | TcpState::TimeWait)
        };
        for line in lines.iter_mut().filter(over) {
            if let Some(last) = self.kept.remove(&line.conn) {
                line.closer = line.closer.or_else(|| closer(line, &last));
                line.totals = Some(last.totals);
            }
        }
    }
}

fn totals(at: KtimeNs, look: &LastLook, how: How, reset: Option<Sent>) -> Totals {
    let fin = how.has(how::FIN_RECEIVED);
    Totals {
        bytes_in: look
            .bytes_received
            .map(|bytes| bytes.saturating_sub(fin.into())),
        bytes_out: look.bytes_sent,
        retransmits: look.retransmits,
        unread: look.unread.saturating_sub(fin.into()),
        user_timeout_ms: look.user_timeout_ms,
        probes: look.probes,
        last_data: look
            .idle_ms
            .map(|ms| KtimeNs(at.0.saturating_sub(u64::from(ms) * 1_000_000))),
        keepalive: look.keepalive,
        linger_zero: look.linger_zero,
        no_fin_wait2: look.no_fin_wait2,
        how,
        reset,
    }
}

/// The task that ran when `line`'s socket went, if it is one that did it from
/// outside of `close()` and `shutdown()`, which have named it already.
fn closer(line: &Change, last: &Last) -> Option<Closer> {
    let call = match line.cause? {
        // tcp_abort runs in the task that asked for it.
        Cause::Killed => Call::Kill,
        Cause::ResetSent => aborted(line, last)?,
        _ => return None,
    };
    (last.task.pid != 0).then_some(Closer {
        process: Process {
            pid: last.task.pid,
            comm: last.task.comm,
        },
        call,
    })
}

/// Who sends a RST that answers nothing: `inet_csk_listen_stop` for a child that
/// has no `struct socket` yet, `close()` for one whose file has gone, or `connect()`.
/// A timer sends one only for an orphan, or sets an error.
fn aborted(line: &Change, last: &Last) -> Option<Call> {
    let totals = &last.totals;
    let orphan = totals.how.has(how::ORPHAN);
    let answers = totals.reset.is_none_or(|reset| reset.answers);
    if answers || orphan || last.err != 0 || line.kind != SocketKind::Full {
        return None;
    }
    match totals.how {
        how if how.has(how::NO_SOCKET) => Some(Call::AcceptQueue),
        how if how.has(how::FILE_RELEASED) && last.exiting => Some(Call::Exit),
        how if how.has(how::FILE_RELEASED) => Some(Call::Close),
        _ => Some(Call::Connect),
    }
}
