//! Random histories of a small host against an oracle that knows the truth.

use std::collections::{HashMap, HashSet};

use proptest::{
    collection::vec,
    prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest},
};
use tcpstate::{
    decode::{Event, KtimeNs, Record, SweepPhase},
    track::{Cause, Change, ConnId, Dwell, Limits, Tracker},
};
use tcpstate_common::state::TcpState;

use crate::{
    remnant::{Hooks, Walks},
    world::{Life, Truth, World},
};

/// What happens next, on the host or at the reader.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A socket does something after a while; bits say which of the records are
    /// lost.
    Act(usize, u8, u64, u8),
    /// The reader empties the ring, looks at the sockets that are wanted, and
    /// says how far it has read.
    Read,
    /// The reader walks over the socket tables without reading the ring, unless
    /// it has to look at sockets; bits say which of the answers are lost.
    Walk(u8),
    /// The same, but the walk breaks off.
    BrokenWalk,
}

fn op(lossy: bool) -> impl Strategy<Value = Op> {
    let lost = if lossy {
        prop_oneof![8 => Just(0_u8), 1 => any::<u8>()].boxed()
    } else {
        Just(0).boxed()
    };
    let lost_answers = lost.clone();
    let ns = prop_oneof![1..100_000_u64, 1_000_000..30_000_000_u64];
    let act = (0..6_usize, any::<u8>(), ns, lost);
    prop_oneof![
        20 => act.prop_map(|(index, choice, ns, lost)| Op::Act(index, choice, ns, lost)),
        3 => Just(Op::Read),
        1 => lost_answers.prop_map(Op::Walk),
        1 => Just(Op::BrokenWalk),
    ]
}

fn hooks() -> impl Strategy<Value = Hooks> {
    prop_oneof![Just(Hooks::None), Just(Hooks::Calls), Just(Hooks::Timers),]
}

fn walks() -> impl Strategy<Value = Walks> {
    prop_oneof![
        1 => Just(Walks::Addresses),
        4 => Just(Walks::Cookies),
        1 => Just(Walks::CookiesOnly),
    ]
}

fn overlooked() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0_u8), any::<u8>()]
}

struct Session {
    world: World,
    tracker: Tracker,
    changes: Vec<Change>,
    /// The state of things at each walk's end.
    walks: HashMap<KtimeNs, Vec<(u16, Option<TcpState>)>>,
}

impl Session {
    /// Runs `unseen` before anybody traces, then traces `seen` to the end. Bits
    /// say which minisockets the first walk passes over.
    fn of((hooks, walks): (Hooks, Walks), unseen: &[Op], overlooked: u8, seen: &[Op]) -> Self {
        let mut session = Self {
            world: World::with(hooks, walks),
            tracker: Tracker::new(Limits::default(), hooks.follows(walks)),
            changes: Vec::new(),
            walks: HashMap::new(),
        };
        session.world.silent = true;
        for op in unseen.iter().filter(|op| matches!(op, Op::Act(..))) {
            session.run(*op);
        }
        session.world.silent = false;
        session.world.pass(1_000);
        session.world.overlook(overlooked);
        session.walk(SweepPhase::End, 0);
        session.world.looks_closely = true;
        for op in seen {
            session.run(*op);
        }
        session.run(Op::Read);
        session.tracker.finish(&mut session.changes);
        session
    }

    fn run(&mut self, op: Op) {
        self.world.pass(1);
        match op {
            Op::Act(index, choice, ns, mut lost) => {
                self.world.pass(ns);
                self.world.act(index, choice, || {
                    let lose = lost & 1 == 1;
                    lost >>= 1;
                    lose
                });
            }
            Op::Read => self.read(),
            Op::Walk(lost) => self.walk(SweepPhase::End, lost),
            Op::BrokenWalk => self.walk(SweepPhase::Failed, 0),
        }
    }

    fn apply(&mut self, record: &Record) {
        self.tracker.apply(record, &mut self.changes);
    }

    fn drain(&mut self) {
        while let Some(record) = self.world.ring.pop_front() {
            self.apply(&record);
        }
    }

    fn read(&mut self) {
        let now = self.world.now();
        self.drain();
        let mut wanted = Vec::new();
        self.tracker.wanted(&mut wanted);
        self.world.pass(1);
        for sk in wanted {
            self.world.look(sk, &mut || false);
        }
        self.drain();
        self.tracker.note_lost(self.world.lost);
        self.tracker.settle(now, &mut self.changes);
    }

    fn sweep(&mut self, phase: SweepPhase) {
        self.world.pass(1);
        let at = self.world.now();
        self.apply(&Record {
            at,
            lost: 0,
            event: Event::Sweep(phase),
        });
    }

    fn walk(&mut self, how: SweepPhase, mut lost: u8) {
        self.sweep(SweepPhase::Begin);
        let seen = self.world.walk();
        for record in &seen {
            self.apply(record);
        }
        if self.world.walks == Walks::Cookies {
            let mut doubted = Vec::new();
            self.tracker.doubted(&mut doubted);
            for sk in doubted {
                self.world.pass(1);
                self.world.look(sk, &mut || {
                    let lose = lost & 1 == 1;
                    lost >>= 1;
                    lose
                });
                self.drain();
            }
            self.tracker.note_lost(self.world.lost);
        }
        self.sweep(how);
        let lives = self.world.truths.iter().map(|truth| truth.life);
        let where_now = lives.map(|life| (life.number, self.world.minisocket(life)));
        self.walks.insert(self.world.now(), where_now.collect());
    }

    /// The change that `line` is about, if it is about one.
    fn truth(&self, line: &Change) -> &Truth {
        let mut truths = self.world.truths.iter();
        let found = truths.find(|truth| truth.is_told_by(line));
        found.unwrap_or_else(|| panic!("nothing happened then: {line:?}"))
    }

    fn lost_between(&self, from: KtimeNs, to: KtimeNs) -> bool {
        let mut losses = self.world.losses.iter();
        losses.any(|at| (from..=to).contains(at))
    }

    /// What must hold of every history.
    fn check(&self) {
        let mut by_conn: HashMap<ConnId, Vec<&Change>> = HashMap::new();
        let mut told = HashSet::new();
        for line in &self.changes {
            if line.cause == Some(Cause::Unseen) {
                self.check_unseen(line);
            } else {
                self.check_line(line);
                let truth = self.truth(line);
                let first = told.insert((truth.life.number, truth.at));
                assert!(first, "told twice: {line:?}");
            }
            by_conn.entry(line.conn).or_default().push(line);
        }
        for lines in by_conn.values() {
            self.check_connection(lines);
        }
    }

    fn check_line(&self, line: &Change) {
        let truth = self.truth(line);
        assert_eq!(line.old, truth.old, "{line:?}");
        assert_eq!(Some(line.new), truth.new, "{line:?}");
        if let Some(since) = truth.since {
            let dwell = truth.at.since(since);
            match line.dwell {
                Dwell::Exact(ns) => assert_eq!(ns, dwell, "{line:?}"),
                Dwell::AtLeast(ns) => assert!(ns <= dwell, "{line:?}"),
                Dwell::Unknown => {}
            }
        } else {
            assert_eq!(line.dwell, Dwell::Unknown, "{line:?}");
        }
        if line.cause.is_some() {
            assert_eq!(line.cause, truth.cause, "{line:?}");
        }
        if let Some(origin) = line.origin {
            assert_eq!(origin.pid, truth.life.pid(), "{line:?}");
        }
        let (seen, real) = (line.tuple, truth.life.tuple());
        if seen.lport != 0 && seen.rport != 0 {
            assert_eq!(seen, real, "{line:?}");
        }
    }

    /// A walk that did not see a socket says where its connection is.
    fn check_unseen(&self, line: &Change) {
        assert_eq!(line.dwell, Dwell::Unknown);
        let life = line.tuple.lport.wrapping_sub(10_000);
        if let Some(origin) = line.origin {
            assert_eq!(origin.pid, Life::pid_of(life), "{line:?}");
        }
        let Some(then) = self.walks.get(&line.at) else {
            return self.check_ended(line, life);
        };
        let mut lives = then.iter().filter(|(number, _)| *number == life);
        let (_, minisocket) = lives.next().unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(line.new, minisocket.unwrap_or(TcpState::Close), "{line:?}");
    }

    /// Another minisocket at its address said that it is over.
    fn check_ended(&self, line: &Change, life: u16) {
        let mut truths = self.world.truths.iter();
        let ended = truths.any(|truth| {
            truth.life.number == life && truth.new == Some(TcpState::Close) && truth.at <= line.at
        });
        assert!(ended && line.new == TcpState::Close, "{line:?}");
    }

    fn check_connection(&self, lines: &[&Change]) {
        for pair in lines.windows(2) {
            let [first, second] = pair else { continue };
            let broken = first.new != second.old;
            let excused = self.lost_between(first.at, second.at);
            assert!(!broken || excused, "{first:?}\n{second:?}");
            let other = self.life(first) != self.life(second);
            assert!(!other, "one name, two connections: {first:?}\n{second:?}");
        }
    }

    fn life(&self, line: &Change) -> u16 {
        if line.cause == Some(Cause::Unseen) {
            return line.tuple.lport.wrapping_sub(10_000);
        }
        self.truth(line).life.number
    }

    /// What must hold when nothing was lost: every change has its line, with
    /// everything that can be known.
    fn check_complete(&self, since: KtimeNs) {
        let truths = self.world.truths.iter();
        for truth in truths.filter(|truth| truth.at > since && truth.new.is_some()) {
            let mut lines = self.changes.iter();
            let line = lines.find(|line| truth.is_told_by(line));
            if line.is_none() && self.world.is_overlooked(truth) {
                continue;
            }
            let line = line.unwrap_or_else(|| panic!("no line: {truth:?}"));
            assert_eq!(line.cause, truth.cause, "{line:?}");
            assert_eq!(line.tuple, truth.life.tuple(), "{line:?}");
            assert!(
                line.at >= truth.at && truth.else_at != Some(line.at),
                "{line:?}"
            );
            // Nobody knows when one that was passed over changed.
            let overlooked = self.world.overlooked.contains(&truth.life.number);
            let seen_from = truth.since.filter(|from| *from > since && !overlooked);
            let requests = self.world.hooks.follows(self.world.walks).requests;
            if let Some(from) = seen_from
                && (requests || truth.old != TcpState::SynRecv)
            {
                let exact = Dwell::Exact(truth.at.since(from));
                assert_eq!(line.dwell, exact, "{line:?}");
            }
        }
        let counters = self.tracker.counters();
        assert_eq!(counters.chain_breaks, 0);
        assert_eq!(counters.ended_unseen, 0);
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        // More with `PROPTEST_CASES`.
        cases: 1_000.max(ProptestConfig::default().cases),
        // The failing history is printed; it becomes a scenario.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn whatever_is_lost_no_line_is_wrong(
        hooks in (hooks(), walks()),
        unseen in vec(op(false), 0..20),
        overlooked in overlooked(),
        seen in vec(op(true), 0..150),
    ) {
        Session::of(hooks, &unseen, overlooked, &seen).check();
    }

    #[test]
    fn without_loss_every_change_has_its_line_with_all_that_can_be_known(
        hooks in (hooks(), walks()),
        unseen in vec(op(false), 0..20),
        overlooked in overlooked(),
        seen in vec(op(false), 0..150),
    ) {
        let session = Session::of(hooks, &unseen, overlooked, &seen);
        session.check();
        let mut walks: Vec<_> = session.walks.keys().copied().collect();
        walks.sort_unstable();
        session.check_complete(walks[0]);
    }
}
