//! Records that no kernel would write, in any order: duplicates, clocks that
//! jump, states that do not follow each other.

use std::collections::{HashMap, HashSet};

use proptest::{
    collection::vec,
    prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    },
};
use tcpstate::{
    decode::{
        Event, How, KtimeNs, Minisocket, MinisocketEvent, Record, Request, RequestEvent, ResetSent,
        Snapshot, SockAddr64, SocketKind, SweepPhase, Transition,
    },
    track::{Cause, Change, Dwell, Follows, Limits, Tracker},
};
use tcpstate_common::{
    record::{Task, Tuple},
    state::TcpState,
};

const TASK: Task = Task {
    pid: 42,
    tid: 42,
    comm: [0; 16],
};

fn sk() -> impl Strategy<Value = SockAddr64> {
    (1..4_u64).prop_map(SockAddr64)
}

fn state() -> impl Strategy<Value = TcpState> {
    (0..TcpState::ALL.len()).prop_map(|index| TcpState::ALL[index])
}

fn tuple() -> impl Strategy<Value = Tuple> {
    (0..3_u8, 0..2_u8, 0..3_u16, 0..2_u16).prop_map(|(local, remote, lport, rport)| Tuple {
        laddr: [local; 16],
        raddr: [remote; 16],
        lport,
        rport,
    })
}

fn transition() -> impl Strategy<Value = Event> {
    let err = prop_oneof![0..1_u8, any::<u8>()];
    let shape = (state(), state(), any::<u8>(), err, any::<bool>());
    (sk(), tuple(), shape).prop_map(|(sk, tuple, (old, new, how, err, in_task))| {
        Event::Transition(Transition {
            sk,
            netns: 1,
            tuple,
            old,
            new,
            how: How(how),
            err,
            task: in_task.then_some(TASK),
        })
    })
}

fn snapshot() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        4 => (0..1).prop_map(|_| SocketKind::Full),
        1 => (0..1).prop_map(|_| SocketKind::Minisocket),
    ];
    let sk = proptest::option::of(sk());
    (sk, tuple(), state(), kind, 0..3_u64).prop_map(|(sk, tuple, state, kind, cookie)| {
        Event::Snapshot(Snapshot {
            sk,
            netns: 1,
            tuple,
            state,
            kind,
            how: How(0),
            inode: 0,
            cookie,
        })
    })
}

fn minisocket() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        4 => Just(MinisocketEvent::Begun),
        1 => Just(MinisocketEvent::Armed),
        1 => any::<u8>().prop_map(|flags| MinisocketEvent::Handled { flags }),
        2 => (0..9_u8).prop_map(|caller| MinisocketEvent::Stopped { caller }),
        1 => Just(MinisocketEvent::Expired),
        1 => (0..9_u8).prop_map(|caller| MinisocketEvent::Ended { caller }),
        1 => (0..9_u8).prop_map(|caller| MinisocketEvent::Destroyed { caller }),
    ];
    let substate = prop_oneof![
        4 => Just(TcpState::FinWait2),
        4 => Just(TcpState::TimeWait),
        1 => state(),
    ];
    let shape = (substate, 40..45_u32, any::<u32>(), what);
    (sk(), proptest::option::of(sk()), tuple(), shape).prop_map(
        |(tw, sk, tuple, (substate, pid, left_ms, what))| {
            Event::Minisocket(Minisocket {
                tw,
                sk,
                netns: 1,
                tuple,
                how: How(0),
                substate,
                pid,
                left_ms,
                what,
            })
        },
    )
}

fn request() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        Just(RequestEvent::Cloned),
        Just(RequestEvent::Stopped),
        Just(RequestEvent::Expired),
        Just(RequestEvent::Armed),
        Just(RequestEvent::Ended),
    ];
    let begun = prop_oneof![0..1_000_u64, any::<u64>()];
    let shape = (any::<bool>(), begun, 0..11_u8, what);
    (sk(), sk(), tuple(), shape).prop_map(|(req, listener, tuple, (listens, begun, by, what))| {
        Event::Request(Request {
            req,
            listener,
            listener_state: if listens {
                TcpState::Listen
            } else {
                TcpState::Close
            },
            netns: 1,
            tuple,
            how: How(0),
            begun: KtimeNs(begun),
            by,
            what,
        })
    })
}

fn event() -> impl Strategy<Value = Event> {
    let reset = (proptest::option::of(sk()), any::<bool>()).prop_map(|(sk, active)| {
        Event::ResetSent(ResetSent {
            sk,
            reason: Some(14),
            active,
        })
    });
    let phase = (0..3_usize).prop_map(|index| {
        let phases = [SweepPhase::Begin, SweepPhase::End, SweepPhase::Failed];
        Event::Sweep(phases[index])
    });
    prop_oneof![
        10 => transition(),
        2 => snapshot(),
        8 => minisocket(),
        6 => request(),
        2 => reset,
        1 => phase,
        1 => sk().prop_map(|sk| Event::Accepted(sk, TASK)),
        1 => sk().prop_map(|sk| Event::CloseCalled(sk, TASK)),
        1 => sk().prop_map(Event::ResetReceived),
        2 => sk().prop_map(Event::Destroyed),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let at = prop_oneof![0..1_000_u64, 0..100_000_000_u64, any::<u64>()];
    let lost = prop_oneof![8 => 0..1_u16, 1 => 0..3_u16];
    (at, lost, event()).prop_map(|(at, lost, event)| Record {
        at: KtimeNs(at),
        lost,
        event,
    })
}

/// A record, how often it comes, and whether the reader pauses after it.
fn records() -> impl Strategy<Value = Vec<(Record, usize, bool)>> {
    vec((record(), 1..3_usize, any::<bool>()), 0..100)
}

/// The stamps under which each socket was heard of; sockets without an address
/// under 0.
#[derive(Default)]
struct Stamps(HashMap<u64, HashSet<u64>>);

impl Stamps {
    fn note(&mut self, record: &Record) {
        let sk = match record.event {
            Event::Transition(event) => event.sk.0,
            Event::Snapshot(seen) => seen.sk.map_or(0, |sk| sk.0),
            Event::Minisocket(_) => 0,
            Event::Request(event) => {
                self.0.entry(0).or_default().insert(event.begun.0);
                0
            }
            _ => return,
        };
        self.0.entry(sk).or_default().insert(record.at.0);
    }

    fn has(&self, sk: SockAddr64, at: u64) -> bool {
        let known = |sk| self.0.get(&sk).is_some_and(|stamps| stamps.contains(&at));
        known(sk.0) || known(0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_of_records_breaks_the_tracker_or_stretches_a_dwell(
        begins in any::<bool>(),
        ends in any::<bool>(),
        requests in any::<bool>(),
        looks in any::<bool>(),
        records in records(),
    ) {
        let limits = Limits { max_sockets: 3 };
        let mut tracker = Tracker::new(limits, Follows { begins, ends, requests, looks });
        let mut changes: Vec<Change> = Vec::new();
        let mut stamps = Stamps::default();
        for (record, times, pause) in &records {
            stamps.note(record);
            for _ in 0..*times {
                tracker.apply(record, &mut changes);
            }
            if *pause {
                tracker.doubted(&mut Vec::new());
                tracker.settle(record.at, &mut changes);
            }
            prop_assert!(tracker.len() <= limits.max_sockets);
        }
        tracker.finish(&mut changes);
        let mut wanted = Vec::new();
        tracker.wanted(&mut wanted);
        prop_assert_eq!(wanted, []);
        for line in &changes {
            let (Dwell::Exact(ns) | Dwell::AtLeast(ns)) = line.dwell else { continue };
            // 0 is also what a clock that jumped back gives.
            let begin = line.at.0.checked_sub(ns);
            // Of a minisocket it may be reckoned from the timer.
            let reckoned = line.kind == SocketKind::Minisocket;
            prop_assert!(begin.is_some_and(|at| ns == 0 || reckoned || stamps.has(line.conn.sk, at)));
        }
        let unseen = |line: &Change| line.cause == Some(Cause::Unseen)
            || line.kind == SocketKind::Minisocket && line.dwell == Dwell::Unknown;
        for line in changes.iter().filter(|line| !unseen(line)) {
            prop_assert!(stamps.has(line.conn.sk, line.at.0));
        }
    }
}
