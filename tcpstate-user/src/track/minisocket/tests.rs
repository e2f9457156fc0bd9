//! Very many minisockets at the same time.

use tcpstate_common::{record::Tuple, state::TcpState};

use super::Minisocket;
use crate::{
    decode::{
        Event, How, KtimeNs, Minisocket as Of, MinisocketEvent, Record, SockAddr64, Transition,
    },
    track::{Cause, Change, Dwell, Follows, Limits, Tracker},
};

const MANY: u32 = 200_000;
const SECOND: u64 = 1_000_000_000;

struct Host {
    tracker: Tracker,
    out: Vec<Change>,
}

fn tuple(number: u32) -> Tuple {
    let mut raddr = [0; 16];
    raddr[12..].copy_from_slice(&(number / 20_000).to_be_bytes());
    Tuple {
        laddr: [1; 16],
        raddr,
        lport: 32_768 + u16::try_from(number % 20_000).unwrap(),
        rport: 80,
    }
}

fn sk(number: u32) -> SockAddr64 {
    SockAddr64(0xffff_8880_0000_0000 + u64::from(number % 64) * 0x1000)
}

fn tw(number: u32) -> SockAddr64 {
    SockAddr64(0xffff_8881_0000_0000 + u64::from(number) * 0x100)
}

impl Host {
    fn apply(&mut self, at: u64, event: Event) {
        let record = Record {
            at: KtimeNs(at),
            lost: 0,
            event,
        };
        self.tracker.apply(&record, &mut self.out);
    }

    fn step(&mut self, at: u64, number: u32, old: TcpState, new: TcpState) {
        let event = Transition {
            sk: sk(number),
            netns: 1,
            tuple: tuple(number),
            old,
            new,
            how: How(tcpstate_common::record::how::ORPHAN),
            err: 0,
            task: None,
        };
        self.apply(at, Event::Transition(event));
    }

    fn timer(&mut self, at: u64, number: u32, substate: TcpState, what: MinisocketEvent) {
        let event = Of {
            tw: tw(number),
            sk: None,
            netns: 1,
            tuple: tuple(number),
            how: How(0),
            substate,
            pid: 0,
            left_ms: 60_000,
            what,
        };
        self.apply(at, Event::Minisocket(event));
    }

    /// Each connection ends as an orphan, whose minisocket gets the peer's FIN a
    /// second later; then all of their timers run out, in bursts.
    fn round(&mut self, start: u64) {
        use TcpState::{Close, FinWait1, FinWait2, TimeWait};
        for number in 0..MANY {
            let at = start + u64::from(number) * 10_000;
            self.step(at, number, FinWait1, FinWait2);
            self.timer(at + 1, number, FinWait2, MinisocketEvent::Begun);
            self.step(at + 2, number, FinWait2, Close);
            self.apply(at + 3, Event::Destroyed(sk(number)));
        }
        assert_eq!(self.tracker.len(), MANY as usize);
        for number in 0..MANY {
            let at = start + 3 * SECOND + u64::from(number) * 10_000;
            let handled = MinisocketEvent::Handled { flags: 17 };
            self.timer(at, number, TimeWait, handled);
        }
        for number in 0..MANY {
            let at = start + 66 * SECOND + u64::from(number) * 100;
            let stopped = MinisocketEvent::Stopped { caller: 0 };
            self.timer(at, number, TimeWait, stopped);
            self.timer(at + 1, number, TimeWait, MinisocketEvent::Expired);
        }
    }

    /// Bytes of the table, and what the queues have room for.
    fn memory(&self) -> [usize; 2] {
        let minisockets = &self.tracker.minisockets;
        [minisockets.map.allocation_size(), minisockets.queued()]
    }
}

#[test]
fn two_hundred_thousand_at_once_all_end_as_they_began_and_the_tables_stop_growing() {
    let follows = Follows {
        looks: true,
        begins: true,
        ends: true,
        requests: false,
    };
    let mut host = Host {
        tracker: Tracker::new(Limits::default(), follows),
        out: Vec::new(),
    };
    host.round(SECOND);
    let grown = host.memory();
    host.out.clear();
    host.round(200 * SECOND);
    assert_eq!(host.memory(), grown);
    assert!(host.tracker.is_empty());

    let lines = |new: TcpState| host.out.iter().filter(move |line| line.new == new);
    let mut begun: Vec<_> = lines(TcpState::TimeWait).map(|line| line.conn).collect();
    let mut ended: Vec<_> = lines(TcpState::Close).map(|line| line.conn).collect();
    begun.sort_unstable();
    begun.dedup();
    ended.sort_unstable();
    assert_eq!(begun.len(), MANY as usize);
    assert_eq!(begun, ended);
    for line in lines(TcpState::TimeWait) {
        assert_eq!(line.dwell, Dwell::Exact(3 * SECOND), "{line:?}");
    }
    for line in lines(TcpState::Close) {
        assert_eq!(line.cause, Some(Cause::Expired), "{line:?}");
        assert!(matches!(line.dwell, Dwell::Exact(_)), "{line:?}");
    }
    let counters = host.tracker.counters();
    assert_eq!(counters.handed_over, 2 * u64::from(MANY));
    assert_eq!((counters.ended_unseen, counters.refused), (0, 0));

    let place = size_of::<(SockAddr64, Minisocket)>();
    assert!(place <= 120, "{place} bytes");
    // A table is full to 7 / 8 at most, and its size a power of 2.
    let each = grown[0] / MANY as usize;
    assert!(each <= 160, "{each} bytes a connection");
}
