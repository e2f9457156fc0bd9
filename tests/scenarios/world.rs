//! A small host: sockets that live as the kernel lets them, and the ring that
//! reports it, with losses.
//!
//! It knows what is true; it knows nothing of the tracker.

use std::collections::VecDeque;

use tcpstate::{
    decode::{Event, How, KtimeNs, Record, Snapshot, SockAddr64, SocketKind, Transition},
    track::{Cause, Change, Dwell},
};
use tcpstate_common::{
    record::{Task, Tuple, how},
    state::TcpState::{self, *},
};

mod handshake;

use crate::{
    course::{Step, next},
    remnant::{Hooks, Remnant, Walks},
};

/// One connection, numbered; its process and its ports follow from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// From 1.
    pub(crate) number: u16,
    pub(crate) accepted: bool,
    server: bool,
}

impl Life {
    pub(crate) fn pid(self) -> u32 {
        Self::pid_of(self.number)
    }

    pub(crate) fn pid_of(number: u16) -> u32 {
        1_000 + u32::from(number)
    }

    fn task(self) -> Task {
        Task {
            pid: self.pid(),
            tid: self.pid(),
            comm: [0; 16],
        }
    }

    /// Few remote ports, so that connections resemble each other.
    pub(crate) fn tuple(self) -> Tuple {
        Tuple {
            laddr: v4(1),
            raddr: v4(2),
            lport: 10_000 + self.number,
            rport: 80 + self.number % 2,
        }
    }
}

fn v4(last: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last]
}

/// What a change of state really was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    pub(crate) sk: SockAddr64,
    pub(crate) at: KtimeNs,
    /// When it is said to have been, if the record of its real time was lost.
    pub(crate) else_at: Option<KtimeNs>,
    pub(crate) life: Life,
    pub(crate) old: TcpState,
    /// As a user would say it; `None` when nothing changed for one.
    pub(crate) new: Option<TcpState>,
    /// Since when the socket was in `old`, when that was reported at all.
    pub(crate) since: Option<KtimeNs>,
    pub(crate) cause: Option<Cause>,
}

impl Truth {
    /// Whether `line` is about it. The first address of a connection is not
    /// always known; no two things happen at the same time. Of a FIN that came
    /// unseen for a minisocket, the line says when at the latest. A child's
    /// `SYN_RECV` began with its request, or, if that is not known, with itself.
    pub(crate) fn is_told_by(&self, line: &Change) -> bool {
        let minisocket = line.kind == SocketKind::Minisocket;
        let same = if minisocket || line.kind == SocketKind::Request {
            self.life.tuple() == line.tuple
        } else {
            self.sk == line.conn.sk
        };
        let fin = minisocket && (self.old, self.new) == (FinWait2, Some(TimeWait));
        let unseen = fin && line.new == TimeWait && line.dwell == Dwell::Unknown;
        let same_time = self.at == line.at || self.else_at == Some(line.at);
        same && (same_time || unseen && self.at < line.at)
    }
}

/// A socket that exists.
#[derive(Clone, Copy, Debug)]
struct Socket {
    life: Life,
    state: TcpState,
    since: KtimeNs,
}

/// The host.
#[derive(Debug, Default)]
pub(crate) struct World {
    now: u64,
    sockets: [Option<Socket>; 4],
    pub(crate) hooks: Hooks,
    pub(crate) walks: Walks,
    pub(crate) minisockets: Vec<Remnant>,
    /// Minisockets that are over, and whose memory is not another's yet.
    pub(crate) freed: Vec<Remnant>,
    lives: u16,
    /// What the loss counter says.
    pub(crate) lost: u16,
    /// Records that nobody has read yet.
    pub(crate) ring: VecDeque<Record>,
    /// Every change of state, in order.
    pub(crate) truths: Vec<Truth>,
    /// Records lost so far, by the time of the loss.
    pub(crate) losses: Vec<KtimeNs>,
    /// Nobody listens yet: nothing is reported, and nothing counted as lost.
    pub(crate) silent: bool,
    /// Numbers of the connections that the first walk passes over.
    pub(crate) overlooked: Vec<u16>,
    /// No walk passes over anything any more.
    pub(crate) looks_closely: bool,
}

impl World {
    pub(crate) fn with(hooks: Hooks, walks: Walks) -> Self {
        Self {
            hooks,
            walks,
            ..Self::default()
        }
    }

    pub(crate) fn now(&self) -> KtimeNs {
        KtimeNs(self.now)
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.now += ns;
    }

    /// What a walk over the socket tables finds now.
    pub(crate) fn walk(&self) -> Vec<Record> {
        let overlooked = |it: &&Remnant| self.overlooked.contains(&it.life.number);
        let minisockets = self.minisockets.iter();
        let minisockets = minisockets.filter(|it| self.looks_closely || !overlooked(it));
        let sockets = self.sockets.iter().enumerate();
        let alive = sockets.filter_map(|(index, socket)| {
            let socket = socket.filter(|socket| socket.state != Close)?;
            Some(self.seen(address(index), socket.life, socket.state))
        });
        let mut all: Vec<_> = alive
            .chain(minisockets.map(|it| self.remnant(it)))
            .collect();
        for record in &mut all {
            if let Event::Snapshot(seen) = &mut record.event
                && self.walks != Walks::Addresses
            {
                seen.sk = None;
            }
        }
        all
    }

    /// Puts what a look at an address finds now into the ring: a socket, or what
    /// is left of one.
    pub(crate) fn look(&mut self, sk: SockAddr64, lose: &mut impl FnMut() -> bool) {
        let sockets = self.sockets.iter().enumerate();
        let full = sockets.filter(|(index, _)| address(*index) == sk);
        let full = full.filter_map(|(_, socket)| *socket);
        let full = full.map(|socket| self.seen(sk, socket.life, socket.state));
        let small = self.minisockets.iter().chain(&self.freed);
        let small = small.filter(|it| it.tw == sk).map(|it| self.remnant(it));
        let found = full.chain(small).next();
        if let Some(found) = found {
            self.report(found.event, lose);
        }
    }

    fn remnant(&self, it: &Remnant) -> Record {
        let mut record = self.seen(it.tw, it.life, it.state);
        if let Event::Snapshot(seen) = &mut record.event {
            seen.kind = SocketKind::Minisocket;
            seen.inode = it.left_ms(self.now()).into();
        }
        record
    }

    /// Whether the connection is over and in no table of the kernel.
    pub(crate) fn minisocket(&self, life: Life) -> Option<TcpState> {
        let mut found = self.minisockets.iter();
        let same = found.find(|known| known.life.number == life.number);
        same.map(|known| known.state)
    }

    fn seen(&self, sk: SockAddr64, life: Life, state: TcpState) -> Record {
        let event = Event::Snapshot(Snapshot {
            sk: Some(sk),
            netns: 1,
            tuple: life.tuple(),
            state,
            kind: SocketKind::Full,
            how: How(0),
            inode: 0,
            cookie: life.number.into(),
        });
        Record {
            at: self.now(),
            lost: 0,
            event,
        }
    }

    /// Puts a record into the ring, or loses it.
    pub(crate) fn report(&mut self, event: Event, lose: &mut impl FnMut() -> bool) {
        if self.silent {
            return;
        }
        if lose() {
            self.lost = self.lost.wrapping_add(1);
            self.losses.push(self.now());
            return;
        }
        self.ring.push_back(Record {
            at: self.now(),
            lost: self.lost,
            event,
        });
    }

    /// Lets the socket at `index` do one thing that the kernel allows.
    pub(crate) fn act(&mut self, index: usize, choice: u8, mut lose: impl FnMut() -> bool) {
        let Some(place) = self.sockets.get(index) else {
            return self.act_on_minisocket(index - self.sockets.len(), choice, &mut lose);
        };
        let Some(socket) = *place else {
            return self.open(index, choice, &mut lose);
        };
        if socket.state == Close {
            if choice.is_multiple_of(3) {
                return self.open(index, 0, &mut lose);
            }
            self.report(Event::Destroyed(address(index)), &mut lose);
            self.sockets[index] = None;
            return;
        }
        if !socket.life.accepted && socket.life.server && choice.is_multiple_of(4) {
            self.report(
                Event::Accepted(address(index), socket.life.task()),
                &mut lose,
            );
            if let Some(socket) = &mut self.sockets[index] {
                socket.life.accepted = true;
            }
            return;
        }
        let step = next(address(index), socket.state, choice);
        self.step(index, socket, step, &mut lose);
    }

    /// Another connection.
    fn new_life(&mut self, server: bool) -> Life {
        self.lives += 1;
        Life {
            number: self.lives,
            accepted: false,
            server,
        }
    }

    fn open(&mut self, index: usize, choice: u8, lose: &mut impl FnMut() -> bool) {
        let reused = self.sockets[index];
        let server = reused.is_none() && choice.is_multiple_of(3);
        let life = self.new_life(server);
        if server && self.hooks.follows(self.walks).requests {
            return self.shake_hands(index, life, choice / 3, lose);
        }
        let (old, new) = match (reused.is_some(), choice % 3) {
            (false, 0) => (Listen, SynRecv),
            (_, 1 | 2) | (true, _) => (Close, SynSent),
            _ => unreachable!("three choices"),
        };
        let mut tuple = life.tuple();
        if server {
            tuple = listener();
        } else {
            tuple.lport = 0;
        }
        let event = Transition {
            sk: address(index),
            netns: 1,
            tuple,
            old,
            new,
            how: How(if reused.is_some() { how::REUSED } else { 0 }),
            err: 0,
            task: (!server).then(|| life.task()),
        };
        self.truths.push(Truth {
            sk: address(index),
            at: self.now(),
            else_at: None,
            life,
            old,
            new: Some(new),
            since: reused.map(|socket| socket.since),
            cause: None,
        });
        self.sockets[index] = Some(Socket {
            life,
            state: new,
            since: self.now(),
        });
        self.report(Event::Transition(event), lose);
    }

    fn step(&mut self, index: usize, socket: Socket, step: Step, lose: &mut impl FnMut() -> bool) {
        if let Some(event) = step.before {
            self.report(event, lose);
        }
        let carried_on = match step.truth {
            Some(TimeWait) => Some(TimeWait),
            None => Some(FinWait2),
            _ => None,
        };
        let refused = carried_on.is_some_and(|state| {
            !self.hand_over(address(index), socket.life, state, socket.since, lose)
        });
        let event = Transition {
            sk: address(index),
            netns: 1,
            tuple: socket.life.tuple(),
            old: socket.state,
            new: step.new,
            how: How(step.how),
            err: step.err,
            task: None,
        };
        self.truths.push(Truth {
            sk: address(index),
            at: self.now(),
            else_at: None,
            life: socket.life,
            old: socket.state,
            new: if refused { Some(Close) } else { step.truth },
            since: Some(socket.since),
            cause: if refused {
                Some(Cause::EvictedLimit)
            } else {
                step.cause
            },
        });
        self.report(Event::Transition(event), lose);
        self.sockets[index] = Some(Socket {
            state: step.new,
            since: self.now(),
            ..socket
        });
        for event in step.after.into_iter().flatten() {
            self.report(event, lose);
            if matches!(event, Event::Destroyed(_)) {
                self.sockets[index] = None;
            }
        }
    }
}

/// What a child has for its tuple when it is made, up to Linux 6.12.
fn listener() -> Tuple {
    Tuple {
        laddr: v4(1),
        raddr: [0; 16],
        lport: 80,
        rport: 0,
    }
}

pub(crate) fn address(index: usize) -> SockAddr64 {
    SockAddr64(0xffff_8880_0000_0000 + 0x1000 * index as u64)
}
