//! The accepting side of a report: services, listeners and their queues, and
//! the limits of the network namespaces.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::{
    Asked, Counters, Known, Limits, Listener, Namespace, Queue, Rest, Row, Server, Service,
    census::{Census, Listening, Still},
};

/// Network namespace, port and address of a listener.
type Place = (u32, u16, [u8; 16]);

/// The queues of one place together, whether one of them takes no more, and a
/// process that has one.
type Queues = (Queue, bool, Option<u32>);

pub(super) fn servers(census: &mut Census<'_>) -> (Vec<Server>, Rest) {
    let mut all: Vec<_> = census.services.drain().collect();
    all.sort_unstable_by_key(|(service, still)| (Reverse(still.sockets), *service));
    let beyond = all.split_off(census.ports.asked.top.min(all.len()));
    let sum = |sum: Still, (_, still): &(Service, Still)| sum.and(still);
    let still = beyond.iter().fold(census.beyond_services, sum);
    let rest = Rest {
        count: beyond.len() as u64,
        at_least: census.beyond_services.sockets > 0,
        states: still.states,
        sockets: still.sockets,
        failed: 0,
    };
    let server = |(service, still): (Service, Still)| Server {
        service,
        states: still.states,
        sockets: still.sockets,
        fin_wait2: still.fin_wait2,
    };
    (all.into_iter().map(server).collect(), rest)
}

pub(super) fn listeners(census: &Census<'_>) -> (Vec<Listener>, u64) {
    let mut queues: HashMap<Place, Queues, RandomState> = HashMap::default();
    let namespaces = census.reading.iter().flat_map(|it| &it.namespaces);
    for limits in namespaces {
        for bound in limits.bound.iter().flatten() {
            let Some(queue) = bound.queue else { continue };
            let key = (limits.netns, bound.port, bound.addr);
            let known = queues.entry(key).or_default();
            known.0 = known.0.and(&queue);
            // `sk_acceptq_is_full`.
            known.1 |= queue.waiting > queue.limit;
            known.2 = known.2.or(bound.pid);
        }
    }
    let mut found: HashMap<Place, Listener, RandomState> = HashMap::default();
    for it in &census.listeners {
        let key = (it.netns, it.port, it.addr);
        let told = queues.get(&key);
        let listener = found
            .entry(key)
            .or_insert_with(|| Listener::new(census, it, told.copied()));
        listener.sockets += 1;
        if let Some(process) = it.origin {
            listener.pid.get_or_insert(process.pid);
            listener.comm.get_or_insert(process.comm);
        }
    }
    let asked = &census.ports.asked;
    let mut all: Vec<_> = found.into_values().filter(|it| it.is_of(asked)).collect();
    all.sort_unstable_by_key(|it| {
        let queue = it.queue.as_ref().copied().unwrap_or_default();
        let order = (it.netns, it.port, it.addr);
        let news = (queue.waiting, queue.drops);
        (Reverse(it.is_full), Reverse(news), order)
    });
    let beyond = all.len().saturating_sub(asked.top);
    all.truncate(asked.top);
    (all, beyond as u64)
}

impl Listener {
    fn new(census: &Census<'_>, it: &Listening, told: Option<Queues>) -> Self {
        let absent = || match census.limits(it.netns) {
            None => census.reading.map_or_else(
                || "no limits were read".into(),
                |reading| reading.missing.clone(),
            ),
            Some(limits) => match &limits.bound {
                Err(why) => why.clone(),
                Ok(_) => "it was not there when the queues were read".into(),
            },
        };
        Self {
            netns: it.netns,
            addr: it.addr,
            port: it.port,
            // Who listened first may have gone.
            pid: told.and_then(|(_, _, pid)| pid),
            comm: None,
            sockets: 0,
            queue: told.map(|(queue, ..)| queue).ok_or_else(absent),
            is_full: told.is_some_and(|(_, full, _)| full),
        }
    }
}

impl Listener {
    fn is_of(&self, asked: &Asked) -> bool {
        let pid = asked.pids.is_empty() || self.pid.is_some_and(|pid| asked.pids.contains(&pid));
        let named = |comm: [u8; 16]| asked.names(&comm);
        pid && (asked.comms.is_empty() || self.comm.is_some_and(named))
    }
}

/// Those with sockets that were asked for; with nothing asked for, all.
pub(super) fn namespaces(census: &Census<'_>, rows: &[Row]) -> (Vec<Namespace>, u64) {
    let clients = rows.iter().map(|row| row.space.netns);
    let listening = census.listeners.iter().map(|it| it.netns);
    let spaces = census.spaces.keys().map(|space| space.netns);
    let used: HashSet<u32, RandomState> = clients.chain(listening).chain(spaces).collect();
    let places = census.places.values();
    let here = places.filter(|place| used.contains(&place.limits.netns));
    let mut all: Vec<_> = here.collect();
    all.sort_unstable_by_key(|place| {
        let buckets = place.limits.tw_buckets.as_ref().map_or(0, |count| *count);
        (Reverse(buckets), place.limits.netns)
    });
    let beyond = all.split_off(census.ports.asked.top.min(all.len()));
    let told = all.into_iter().map(|place| Namespace {
        limits: Limits {
            bound: Ok(Vec::new()),
            ..place.limits.clone()
        },
        room: place
            .room
            .as_ref()
            .map(|room| room.counts)
            .map_err(Clone::clone),
        grown: grown(census, place.limits),
    });
    (told.collect(), beyond.len() as u64)
}

/// Counters that went back are another namespace's, with the same number.
fn grown(census: &Census<'_>, limits: &Limits) -> Known<Counters> {
    let now = limits.counters.clone()?;
    let then = census
        .ports
        .baselines
        .get(&limits.netns)
        .copied()
        .unwrap_or(now);
    let increase = |of: fn(&Counters) -> u64| of(&now).checked_sub(of(&then));
    let all = || {
        Some(Counters {
            listen_overflows: increase(|it| it.listen_overflows)?,
            listen_drops: increase(|it| it.listen_drops)?,
            time_wait_overflows: increase(|it| it.time_wait_overflows)?,
        })
    };
    all().ok_or_else(|| "the counters went back".into())
}
