//! Records through the tracker: what is over, and what is open, of connections
//! at different points of their lives.

use tcpstate_common::{
    record::{Task, Tuple, how},
    state::TcpState,
};

use super::{EVERYTHING, octets};
use crate::{
    decode::{
        Event, How, KtimeNs, Minisocket, MinisocketEvent, Record, Snapshot, SockAddr64, SocketKind,
        SweepPhase, Transition,
    },
    dwell::{By, Dwells, Report},
    track::{Change, Dwell, Limits, Open, Tracker},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

struct Story {
    tracker: Tracker,
    dwells: Dwells,
    changes: Vec<Change>,
}

impl Story {
    fn new(by: &[By]) -> Self {
        Self {
            tracker: Tracker::new(Limits::default(), EVERYTHING),
            dwells: Dwells::new(by, &[], EVERYTHING),
            changes: Vec::new(),
        }
    }

    fn apply(&mut self, at: u64, event: Event) {
        let (at, lost) = (KtimeNs(at), 0);
        self.tracker
            .apply(&Record { at, lost, event }, &mut self.changes);
        self.take();
    }

    fn take(&mut self) {
        self.changes
            .iter()
            .for_each(|change| self.dwells.change(change));
        self.changes.clear();
    }

    fn step(&mut self, at: u64, sk: u64, old: TcpState, new: TcpState, how: u8) {
        self.apply(
            at,
            Event::Transition(Transition {
                sk: SockAddr64(sk),
                netns: 1,
                tuple: tuple(sk),
                old,
                new,
                how: How(how),
                err: 0,
                task: Some(Task {
                    pid: 42,
                    tid: 42,
                    comm: *b"client\0\0\0\0\0\0\0\0\0\0",
                }),
            }),
        );
    }

    /// A client whose handshake takes a millisecond.
    fn connect(&mut self, at: u64, sk: u64) {
        self.step(at, sk, TcpState::Close, TcpState::SynSent, 0);
        self.step(at + MS, sk, TcpState::SynSent, TcpState::Established, 0);
    }

    /// It closes at `at`; its minisocket takes over a millisecond later.
    fn close(&mut self, at: u64, sk: u64) {
        let how = how::RCV_SHUTDOWN | how::SEND_SHUTDOWN | how::ORPHAN;
        self.step(at, sk, TcpState::Established, TcpState::FinWait1, how);
        self.step(at + MS, sk, TcpState::FinWait1, TcpState::FinWait2, how);
        self.minisocket(at + MS, sk, TcpState::FinWait2, MinisocketEvent::Begun);
        self.step(at + MS, sk, TcpState::FinWait2, TcpState::Close, how);
        self.apply(at + MS, Event::Destroyed(SockAddr64(sk)));
    }

    fn minisocket(&mut self, at: u64, sk: u64, substate: TcpState, what: MinisocketEvent) {
        self.apply(
            at,
            Event::Minisocket(Minisocket {
                tw: SockAddr64(sk + 0x40),
                sk: (what == MinisocketEvent::Begun).then_some(SockAddr64(sk)),
                netns: 1,
                tuple: tuple(sk),
                how: How(0),
                substate,
                pid: 0,
                left_ms: 60_000,
                what,
            }),
        );
    }

    fn open(&self, now: u64) -> Vec<Open> {
        let mut open = Vec::new();
        self.tracker.open(KtimeNs(now), |one| open.push(*one));
        open.sort_by_key(|open| open.conn);
        open
    }

    fn report(&self, now: u64) -> Report {
        let mut census = self.dwells.census();
        self.tracker.open(KtimeNs(now), |open| census.add(open));
        census.report()
    }
}

fn tuple(sk: u64) -> Tuple {
    Tuple {
        laddr: octets("::ffff:10.0.0.1"),
        raddr: octets("::ffff:10.0.0.2"),
        lport: u16::try_from(sk >> 12).unwrap(),
        rport: 80,
    }
}

/// State, count, sum, open and the oldest.
fn told(report: &Report) -> Vec<(TcpState, u64, u128, u64, Option<Dwell>)> {
    let rows = report.rows.iter();
    rows.map(|row| (row.key.state, row.count, row.sum_ns, row.open, row.oldest))
        .collect()
}

#[test]
fn a_connection_is_open_in_one_state_until_its_real_end() {
    let mut story = Story::new(&[]);
    story.connect(SECOND, 0x1000);
    story.connect(2 * SECOND, 0x2000);
    story.close(3 * SECOND, 0x1000);
    let first = told(&story.report(5 * SECOND));
    assert_eq!(
        first,
        [
            (TcpState::SynSent, 2, 2_000_000, 0, None),
            (
                TcpState::Established,
                1,
                1_999_000_000,
                1,
                Some(Dwell::Exact(2_999_000_000))
            ),
            (TcpState::FinWait1, 1, 1_000_000, 0, None),
            (
                TcpState::FinWait2,
                0,
                0,
                1,
                Some(Dwell::Exact(1_999_000_000))
            ),
        ]
    );
    story.minisocket(
        6 * SECOND,
        0x1000,
        TcpState::TimeWait,
        MinisocketEvent::Armed,
    );
    let kinds: Vec<_> = story
        .open(7 * SECOND)
        .iter()
        .map(|it| (it.kind, it.state))
        .collect();
    assert_eq!(
        kinds,
        [
            (SocketKind::Minisocket, TcpState::TimeWait),
            (SocketKind::Full, TcpState::Established),
        ]
    );
    story.minisocket(
        67 * SECOND,
        0x1000,
        TcpState::TimeWait,
        MinisocketEvent::Expired,
    );
    let last = story.report(70 * SECOND);
    assert_eq!(
        told(&last)[2..],
        [
            (TcpState::FinWait1, 1, 1_000_000, 0, None),
            (TcpState::FinWait2, 1, 2_999_000_000, 0, None),
            (TcpState::TimeWait, 1, 61_000_000_000, 0, None),
        ]
    );
    assert_eq!(story.open(70 * SECOND).len(), 1);
}

#[test]
fn what_is_open_has_the_identity_and_the_origin_of_its_lines() {
    let mut story = Story::new(&[By::Process, By::Lport]);
    story.connect(SECOND, 0x1000);
    let full = story.open(2 * SECOND)[0];
    story.close(3 * SECOND, 0x1000);
    let mini = story.open(4 * SECOND)[0];
    assert_eq!(
        (full.conn, full.origin, full.tuple),
        (mini.conn, mini.origin, mini.tuple)
    );
    assert_eq!(full.origin.unwrap().pid, 42);
    let report = story.report(4 * SECOND);
    let one =
        |row: &crate::dwell::Row| row.key.process.unwrap().pid == 42 && row.key.lport == Some(1);
    assert!(report.rows.iter().all(one), "{report:#?}");
}

#[test]
fn sockets_older_than_the_session_are_open_for_a_lower_bound() {
    let mut story = Story::new(&[]);
    let seen = |sk: Option<u64>, state, kind| {
        Event::Snapshot(Snapshot {
            sk: sk.map(SockAddr64),
            netns: 1,
            tuple: tuple(sk.unwrap_or(0x9000)),
            state,
            kind,
            how: How(0),
            inode: 20_000,
            cookie: 0,
        })
    };
    let (full, mini) = (SocketKind::Full, SocketKind::Minisocket);
    for event in [
        Event::Sweep(SweepPhase::Begin),
        seen(Some(0x1000), TcpState::Listen, full),
        seen(Some(0x2000), TcpState::TimeWait, mini),
        seen(None, TcpState::CloseWait, full),
        Event::Sweep(SweepPhase::End),
    ] {
        story.apply(100 * SECOND, event);
    }
    let so_far = |story: &Story, now| -> Vec<_> {
        let open = story.open(now);
        let mut open: Vec<_> = open.iter().map(|it| (it.state, it.so_far)).collect();
        open.sort_by_key(|(state, _)| *state as u8);
        open
    };
    let bound = Dwell::AtLeast;
    // 20 s of its timer's 60 s were left: it has waited for 40 s by then, but
    // for a tick of the kernel's clock.
    assert_eq!(
        so_far(&story, 103 * SECOND),
        [
            (TcpState::TimeWait, bound(43 * SECOND - 11 * MS)),
            (TcpState::CloseWait, bound(3 * SECOND)),
            (TcpState::Listen, bound(3 * SECOND)),
        ]
    );
    // After a loss nobody knows whether they are still there.
    story.tracker.gap();
    let after = so_far(&story, 105 * SECOND);
    assert!(after.iter().all(|(_, so_far)| *so_far == Dwell::Unknown));
}
