//! The first look at the open sockets: which local ports are services', and
//! which are bound.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use tcpstate_common::state::TcpState;

use super::{Census, MAX_BOUND, Ports, Reading, census::Place, room::Room};
use crate::track::{Open, Opened};

/// What is bound now.
#[derive(Debug)]
pub struct Survey<'a> {
    ports: &'a mut Ports,
    reading: Option<&'a Reading>,
    /// Of the ports that were listened on or bound, those that have a socket.
    present: HashSet<(u32, u16), RandomState>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(ports: &'a mut Ports, reading: Option<&'a Reading>) -> Self {
        let mut listening = Vec::new();
        for limits in reading.iter().flat_map(|it| &it.namespaces) {
            let bound = limits.bound.iter().flatten();
            let queues = bound.filter(|it| it.queue.is_some());
            listening.extend(queues.map(|it| (limits.netns, it.port)));
            if let Ok(counters) = limits.counters {
                ports.baselines.entry(limits.netns).or_insert(counters);
            }
        }
        for (netns, port) in &listening {
            ports.serve(*netns, *port);
        }
        Self {
            ports,
            reading,
            present: listening.into_iter().collect(),
        }
    }

    /// Takes one that is open.
    pub fn look(&mut self, open: &Open) {
        if open.state == TcpState::Close || open.tuple.lport == 0 {
            return;
        }
        let key = (open.netns, open.tuple.lport);
        let serves = open.state == TcpState::Listen || open.opened == Opened::Accept;
        if serves {
            self.ports.serve(key.0, key.1);
        }
        let known =
            serves || self.ports.served.contains(&key) || self.ports.bound.contains_key(&key);
        if known && self.present.len() < 2 * MAX_BOUND {
            self.present.insert(key);
        }
    }

    /// Forgets ports that have no socket any more: another `bind()` or
    /// `connect()` may take them. Then every socket is to be counted.
    #[must_use]
    pub fn census(self) -> Census<'a> {
        let Self {
            ports,
            reading,
            present,
        } = self;
        ports.served.retain(|key| present.contains(key));
        ports.bound.retain(|key, _| present.contains(key));
        let mut skipped: HashSet<(u32, u16), RandomState> = ports.bound.keys().copied().collect();
        // A connection that was accepted keeps the listener's port, and mark.
        skipped.extend(ports.served.iter().copied());
        let namespaces = reading.iter().flat_map(|it| &it.namespaces);
        let places: HashMap<u32, Place<'_>, RandomState> = namespaces
            .map(|limits| {
                let room = Room::new(limits, &skipped);
                (limits.netns, Place { limits, room })
            })
            .collect();
        Census::new(ports, reading, places)
    }
}
