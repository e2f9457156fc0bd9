//! The second look at the open sockets: who has how many of which space.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::state::TcpState;

use super::{
    Limits, Ports, Reading, Service, Space,
    limits::Known,
    makers::{Held, Who},
    room::Room,
};
use crate::{
    decode::{KtimeNs, SocketKind},
    track::{Dwell, Open, Opened, Process},
};

/// Spaces, and processes in them, that are counted one by one: 12 MB.
const CANDIDATES: usize = 1 << 16;
/// Ports of services, and listeners.
const SERVICES: usize = 1 << 14;

/// Sockets by state number.
pub(super) type States = [u64; 12];

/// What is in use now.
#[derive(Debug)]
pub struct Census<'a> {
    pub(super) ports: &'a mut Ports,
    pub(super) reading: Option<&'a Reading>,
    pub(super) places: HashMap<u32, Place<'a>, RandomState>,
    pub(super) spaces: HashMap<Space, Still, RandomState>,
    pub(super) makers: HashMap<(Space, Who), Held, RandomState>,
    pub(super) services: HashMap<Service, Still, RandomState>,
    pub(super) listeners: Vec<Listening>,
    /// What there was no room for.
    pub(super) beyond: Still,
    pub(super) beyond_services: Still,
}

/// A network namespace that has been read.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) limits: &'a Limits,
    pub(super) room: Known<Room>,
}

/// A listener, as the tracker knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listening {
    pub(super) netns: u32,
    pub(super) addr: [u8; 16],
    pub(super) port: u16,
    pub(super) origin: Option<Process>,
}

/// The sockets of one space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Still {
    pub(super) states: States,
    pub(super) sockets: u64,
    /// Of `FIN_WAIT2`, closed by the application.
    pub(super) fin_wait2: u64,
    /// On ports that `connect()` could choose.
    pub(super) used: u64,
    /// Of these, in `TIME_WAIT`, and not to be reused.
    pub(super) waiting: u64,
    /// Of these, in `TIME_WAIT`, and `connect()` may take the port over.
    pub(super) reusable: u64,
}

impl<'a> Census<'a> {
    pub(super) fn new(
        ports: &'a mut Ports,
        reading: Option<&'a Reading>,
        places: HashMap<u32, Place<'a>, RandomState>,
    ) -> Self {
        Self {
            ports,
            reading,
            places,
            spaces: HashMap::default(),
            makers: HashMap::default(),
            services: HashMap::default(),
            listeners: Vec::new(),
            beyond: Still::default(),
            beyond_services: Still::default(),
        }
    }

    /// Counts one that is open and was asked for.
    pub fn add(&mut self, open: &Open) {
        let port = open.tuple.lport;
        if open.state == TcpState::Close || port == 0 {
            return;
        }
        if open.state == TcpState::Listen {
            if self.listeners.len() < SERVICES {
                self.listeners.push(Listening {
                    netns: open.netns,
                    addr: open.tuple.laddr,
                    port,
                    origin: open.origin,
                });
            }
            return;
        }
        let chosen = self.room(open.netns).is_none_or(|room| room.has(port));
        if self.is_server(open) {
            self.add_server(open);
        } else {
            self.add_client(open, chosen);
        }
    }

    /// A connection whose listener is gone has a port outside the range, as a
    /// rule; one in it would have come by `connect()`.
    fn is_server(&self, open: &Open) -> bool {
        match open.opened {
            Opened::Connect => false,
            Opened::Accept => true,
            Opened::Unknown => {
                let port = open.tuple.lport;
                let range = self.limits(open.netns).map(|it| &it.range);
                let outside = range.is_some_and(|range| {
                    range
                        .as_ref()
                        .is_ok_and(|(low, high)| port < *low || port > *high)
                });
                self.ports.is_served(open.netns, port)
                    || (outside && !self.ports.bound.contains_key(&(open.netns, port)))
            }
        }
    }

    fn add_server(&mut self, open: &Open) {
        let key = Service {
            netns: open.netns,
            port: open.tuple.lport,
        };
        let still = if self.services.len() < SERVICES || self.services.contains_key(&key) {
            self.services.entry(key).or_default()
        } else {
            &mut self.beyond_services
        };
        still.count(open);
    }

    fn add_client(&mut self, open: &Open, chosen: bool) {
        let key = Space::of(open.netns, &open.tuple);
        if let Some(wanted) = self.ports.asked.family
            && wanted != key.family()
        {
            return;
        }
        let limits = self.limits(open.netns);
        let reuse = limits.and_then(|limits| limits.reuse_after(key.is_loopback()));
        let reusable = reuse.is_some_and(|after| has_lasted(open.so_far, after));
        let known = self.spaces.len() < CANDIDATES || self.spaces.contains_key(&key);
        let still = if known {
            self.spaces.entry(key).or_default()
        } else {
            &mut self.beyond
        };
        still.count(open);
        if chosen {
            still.used += 1;
            match open.state {
                TcpState::TimeWait if reusable => still.reusable += 1,
                TcpState::TimeWait => still.waiting += 1,
                _ => {}
            }
        }
        if known {
            let mut who = (key, Who::of(open.origin));
            if self.makers.len() >= CANDIDATES && !self.makers.contains_key(&who) {
                who.1 = Who::Others;
            }
            let held = self.makers.entry(who).or_default();
            held.add(open.state, open.kind == SocketKind::Minisocket);
        }
    }

    pub(super) fn room(&self, netns: u32) -> Option<&Room> {
        self.places.get(&netns)?.room.as_ref().ok()
    }

    pub(super) fn limits(&self, netns: u32) -> Option<&'a Limits> {
        Some(self.places.get(&netns)?.limits)
    }

    /// The report of `now`.
    #[must_use]
    pub fn report(self, now: KtimeNs) -> super::Report {
        super::report::build(self, now)
    }
}

impl Still {
    fn count(&mut self, open: &Open) {
        self.sockets += 1;
        self.states[open.state as usize] += 1;
        let closed = open.kind == SocketKind::Minisocket && open.state == TcpState::FinWait2;
        self.fin_wait2 += u64::from(closed);
    }

    pub(super) fn and(mut self, other: &Self) -> Self {
        for (sum, more) in self.states.iter_mut().zip(other.states) {
            *sum += more;
        }
        self.sockets += other.sockets;
        self.fin_wait2 += other.fin_wait2;
        self.used += other.used;
        self.waiting += other.waiting;
        self.reusable += other.reusable;
        self
    }
}

fn has_lasted(so_far: Dwell, ns: u64) -> bool {
    matches!(so_far, Dwell::Exact(lasted) | Dwell::AtLeast(lasted) if lasted > ns)
}
