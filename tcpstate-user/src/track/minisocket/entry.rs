//! What the tracker remembers of one minisocket.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::in_time_wait_by;
use crate::{
    decode::{Family, KtimeNs, Minisocket as Event, Snapshot, SocketKind},
    track::{
        Cause, Change, ConnId, Dwell, Process,
        entry::{Entered, Generation},
        nameless::stand_in,
    },
};

/// What is known of where a minisocket's connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) enum Origins {
    /// Its full socket is about to hand the connection over.
    Awaited,
    /// Nothing, and the connection is not counted yet.
    Unknown,
    /// It is a connection that is counted.
    Counted,
}

/// A minisocket, under its kernel address.
#[derive(Clone, Copy, Debug)]
pub(in crate::track) struct Minisocket {
    pub(in crate::track) conn: ConnId,
    /// Begin of the current interval: of `FIN_WAIT2` that of the full socket's.
    pub(super) since: KtimeNs,
    /// When a record last told of its timer, or a walk saw it.
    pub(in crate::track) heard: KtimeNs,
    pub(in crate::track) tuple: Tuple,
    pub(in crate::track) netns: u32,
    /// The current interval is vouched for up to this gap.
    pub(super) generation: Generation,
    pub(in crate::track) origin: Option<Process>,
    pub(super) rearmed: u32,
    pub(in crate::track) state: TcpState,
    pub(super) entered: Entered,
    pub(super) family: Family,
    pub(in crate::track) origins: Origins,
    /// `heard` is the time of a walk: records may come that are older.
    pub(super) from_snapshot: bool,
    /// `__inet_twsk_schedule` was called: a stop of the timer is part of it.
    pub(super) arming: bool,
}

const _: () = assert!(size_of::<Minisocket>() <= 112);

impl Minisocket {
    /// One that begins with `event`.
    pub(super) fn begun(at: KtimeNs, event: &Event, generation: Generation) -> Self {
        Self {
            conn: ConnId {
                birth: at,
                sk: event.tw,
            },
            since: at,
            heard: at,
            tuple: event.tuple,
            netns: event.netns,
            generation,
            origin: None,
            rearmed: 0,
            state: event.substate,
            entered: Entered::Seen,
            family: event.how.family(),
            origins: Origins::Awaited,
            from_snapshot: false,
            arming: false,
        }
    }

    /// One that was there already.
    pub(super) fn seeded(at: KtimeNs, seen: &Snapshot, generation: Generation) -> Self {
        let nameless = || stand_in(&(seen.netns, seen.tuple), seen.cookie);
        Self {
            conn: ConnId {
                birth: at,
                sk: seen.sk.unwrap_or_else(nameless),
            },
            since: since(at, seen),
            heard: at,
            tuple: seen.tuple,
            netns: seen.netns,
            generation,
            origin: None,
            rearmed: 0,
            state: seen.state,
            entered: Entered::Before,
            family: seen.how.family(),
            origins: Origins::Unknown,
            from_snapshot: true,
            arming: false,
        }
    }

    /// One of which nothing is known but `event`, which ends it. In `TIME_WAIT`
    /// its timer tells since when, as nothing that ends it starts it again.
    pub(super) fn untold(at: KtimeNs, event: &Event, generation: Generation) -> Self {
        let told = event.substate == TcpState::TimeWait;
        let by = told.then(|| in_time_wait_by(at, event.left_ms.into()));
        let since = by.flatten();
        Self {
            since: since.unwrap_or(at),
            entered: since.map_or(Entered::Untold, |_| Entered::Before),
            origins: Origins::Unknown,
            ..Self::begun(at, event, generation)
        }
    }

    /// Another of the same tuple begins at the same address.
    pub(super) fn begin_anew(&mut self, at: KtimeNs, state: TcpState, generation: Generation) {
        *self = Self {
            since: at,
            heard: at,
            generation,
            rearmed: 0,
            state,
            entered: Entered::Seen,
            origins: Origins::Awaited,
            from_snapshot: false,
            arming: false,
            ..*self
        };
    }

    /// Nobody hands over to it any more: it was there before, if what was taken
    /// for its begin was a start of its timer.
    pub(super) fn disown(&mut self) {
        if self.origins == Origins::Awaited {
            self.origins = Origins::Unknown;
            self.entered = Entered::Before;
        }
    }

    /// Whether something may have happened to it that was not seen.
    pub(in crate::track) fn is_suspect(&self, generation: Generation) -> bool {
        self.generation < generation
    }

    /// Whether `at` lies before the walk that the entry stands on.
    pub(super) fn is_younger_than(&self, at: KtimeNs) -> bool {
        self.from_snapshot && at < self.heard
    }

    /// A walk saw it as it was known.
    pub(super) fn vouched_up_to(&mut self, generation: Generation) {
        self.generation = generation;
    }

    /// Starts the interval anew with what a walk saw.
    pub(super) fn confirm(&mut self, at: KtimeNs, seen: &Snapshot, generation: Generation) {
        self.disown();
        self.state = seen.state;
        self.since = since(at, seen);
        self.heard = at;
        self.entered = Entered::Before;
        self.generation = generation;
        self.from_snapshot = true;
    }

    /// It is in its state at `at`, as an event shows: of a suspect that is all
    /// that is known.
    pub(super) fn vouch(&mut self, at: KtimeNs, generation: Generation) {
        if self.is_suspect(generation) {
            self.since = at;
            self.entered = Entered::Before;
            self.generation = generation;
        }
    }

    /// Time in the current state until `at`, if it leaves it then.
    fn dwell(&self, at: KtimeNs, generation: Generation) -> Dwell {
        if self.is_suspect(generation) {
            return Dwell::Unknown;
        }
        match self.entered {
            Entered::Seen => Dwell::Exact(at.since(self.since)),
            Entered::Before => Dwell::AtLeast(at.since(self.since)),
            Entered::Untold => Dwell::Unknown,
        }
    }

    /// The line of its leaving its state for `new` at `at`.
    pub(in crate::track) fn line(
        &self,
        at: KtimeNs,
        new: TcpState,
        generation: Generation,
    ) -> Change {
        Change {
            at,
            conn: self.conn,
            netns: self.netns,
            family: self.family,
            tuple: self.tuple,
            old: self.state,
            new,
            dwell: self.dwell(at, generation),
            kind: SocketKind::Minisocket,
            origin: self.origin,
            cause: None,
            reset_reason: None,
            rearmed: self.rearmed,
            closer: None,
            totals: None,
        }
    }

    /// The line of its having gone unseen by `at`.
    pub(in crate::track) fn unseen(&self, at: KtimeNs) -> Change {
        Change {
            dwell: Dwell::Unknown,
            cause: Some(Cause::Unseen),
            ..self.line(at, TcpState::Close, self.generation)
        }
    }

    /// The line of the peer's FIN, which came at `at`.
    pub(super) fn enter_time_wait(&mut self, at: KtimeNs, generation: Generation) -> Change {
        let line = Change {
            cause: Some(Cause::PeerFin),
            ..self.line(at, TcpState::TimeWait, generation)
        };
        // Of a suspect this may be the repetition of what was missed.
        self.entered = if self.is_suspect(generation) {
            Entered::Before
        } else {
            Entered::Seen
        };
        self.state = TcpState::TimeWait;
        self.since = at;
        self.generation = generation;
        line
    }

    /// The line of a FIN that came unseen: at the latest when `left_ms` say
    /// that the timer was last started.
    pub(super) fn enter_time_wait_unseen(
        &mut self,
        at: KtimeNs,
        left_ms: u32,
        generation: Generation,
    ) -> Change {
        let by = in_time_wait_by(at, left_ms.into()).unwrap_or(at);
        let line = self.enter_time_wait(by.max(self.since), generation);
        self.entered = Entered::Before;
        Change {
            dwell: Dwell::Unknown,
            ..line
        }
    }

    /// Whether its connection is still to be counted; it is by this.
    pub(super) fn take_count(&mut self) -> bool {
        let counts = self.origins != Origins::Counted;
        self.origins = Origins::Counted;
        counts
    }
}

/// Since when, at the latest, what was seen at `at` was in its state. How long
/// an orphan may stay in `FIN_WAIT2` is not known here (`tcp_fin_timeout`,
/// `TCP_LINGER2`), so its timer tells nothing.
fn since(at: KtimeNs, seen: &Snapshot) -> KtimeNs {
    let told = seen.state == TcpState::TimeWait && seen.inode > 0;
    let by = told.then(|| in_time_wait_by(at, seen.inode)).flatten();
    by.unwrap_or(at)
}
