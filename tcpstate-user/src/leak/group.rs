//! Suspects that have the same class, process and place in the code, together.

use std::collections::BTreeMap;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Class, Socket, Verdict, judge};
use crate::{
    decode::Family,
    holders::Descriptor,
    stack::StackId,
    track::{Opened, Process},
};

/// Pools of HTTP and database clients keep 10 to 100 idle connections: up to
/// so many that the server has closed are no alarm.
pub(super) const POOL_MOST: usize = 100;

/// At most so many peers are told of a group.
const PEERS: usize = 8;

/// Who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// The process that opened the sockets, though it need not have them any more.
    Opener(u32),
    /// Their opener is not known; this one has them.
    Holder(u32),
    /// No process has a descriptor for them.
    Nobody,
}

impl Owner {
    /// The process, if it is one.
    #[must_use]
    pub const fn pid(self) -> Option<u32> {
        match self {
            Self::Opener(pid) | Self::Holder(pid) => Some(pid),
            Self::Nobody => None,
        }
    }
}

/// A listener, and who accepts from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// Its local address.
    pub addr: [u8; 16],
    /// Its port.
    pub port: u16,
    /// Connections that wait for `accept()`.
    pub queue: u32,
    /// How many may wait.
    pub limit: u32,
    /// Processes that have a descriptor for it, the first one that listens first.
    pub pids: Vec<u32>,
}

/// How long the sockets of a group have been in their state, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// The longest.
    pub oldest: u64,
    /// Whether the begin of that was seen.
    pub oldest_exact: bool,
    /// The one in the middle.
    pub median: u64,
}

/// Suspects of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What keeps them open.
    pub class: Class,
    /// What is thought of that.
    pub verdict: Verdict,
    /// The state in which they are.
    pub state: TcpState,
    /// Who is to blame.
    pub owner: Owner,
    /// The process at their origin, where that is known.
    pub origin: Option<Process>,
    /// How they were opened.
    pub opened: Opened,
    /// Where in its code.
    pub origin_stack: Option<StackId>,
    /// Of how many of them that was seen; of the others it is taken for the
    /// same, when stacks were captured of a sample only and all of that agree.
    pub origin_seen: usize,
    /// Where the last of them read end-of-file, where all of which that was seen
    /// did so at one place.
    pub eof_stack: Option<StackId>,
    /// How many.
    pub count: usize,
    /// Sockets that came to this per minute of the trace.
    pub growth_per_min: f64,
    /// For how long.
    pub ages: Ages,
    /// Bytes that nobody has read, FINs not counted.
    pub unread: u64,
    /// Every descriptor for any of them.
    pub held: Vec<Descriptor>,
    /// The listener that they came through.
    pub listener: Option<Listener>,
    /// Inode number of their network namespace.
    pub netns: u32,
    /// Family of the first.
    pub family: Family,
    /// Addresses of their peers, the most frequent first, and how often. For
    /// connections opened from here with the remote port.
    pub peers: Vec<(Tuple, usize)>,
}

/// All groups at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Worst first.
    pub groups: Vec<Group>,
    /// Sockets that look like leaks, too young to say.
    pub too_early: usize,
}

/// Puts together what belongs together, worst first.
///
/// `traced_ns` is for how long the trace has been running.
#[must_use]
pub fn group(sockets: &[Socket], min_age_ns: u64, traced_ns: u64) -> Report {
    let mut report = Report::default();
    let mut groups: BTreeMap<Key, Vec<&Socket>> = BTreeMap::new();
    for socket in sockets {
        match judge(socket, min_age_ns) {
            Some((_, Verdict::TooEarly)) => report.too_early += 1,
            Some((class, _)) => groups
                .entry(Key::of(class, socket))
                .or_default()
                .push(socket),
            None => {}
        }
    }
    let groups = with_unsampled(groups);
    let made = groups.into_iter();
    let made = made.filter_map(|(key, members)| make(&key, &members, traced_ns));
    report.groups = made.collect();
    report.groups.sort_by(|a, b| {
        let worse = |it: &Group| (it.verdict, std::cmp::Reverse((it.count, it.ages.oldest)));
        worse(a).cmp(&worse(b))
    });
    report
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    class: Class,
    state: u8,
    owner: Owner,
    origin: Option<u32>,
    opened: Opened,
    stack: Option<StackId>,
    listener: Option<([u8; 16], u16)>,
    netns: u32,
}

impl Key {
    fn of(class: Class, socket: &Socket) -> Self {
        let listener = socket.listener.as_ref();
        // The listener is the place of what nobody has accepted, and of what
        // has no better one.
        let placed = class != Class::NeverAccepted && socket.origin_stack.is_some();
        Self {
            class,
            state: socket.state as u8,
            owner: owner(class, socket),
            origin: socket.origin.map(|process| process.pid),
            opened: socket.opened,
            stack: socket.origin_stack,
            listener: listener.filter(|_| !placed).map(|it| (it.addr, it.port)),
            netns: socket.netns,
        }
    }
}

/// A process that opens more than its share has stacks of a sample. What was
/// not sampled belongs to the sample, when that has one place only.
fn with_unsampled(mut groups: BTreeMap<Key, Vec<&Socket>>) -> BTreeMap<Key, Vec<&Socket>> {
    let keys: Vec<_> = groups.keys().cloned().collect();
    for key in keys.iter().filter(|it| it.stack.is_none()) {
        let Some(members) = groups.get(key) else {
            continue;
        };
        let came_through = |it: &Socket| it.listener.as_ref().map(|it| (it.addr, it.port));
        let through = members.first().and_then(|it| came_through(it));
        let mut sampled = keys.iter().filter(|it| {
            let same = Key {
                stack: None,
                listener: key.listener,
                ..(*it).clone()
            };
            it.stack.is_some()
                && same == *key
                && groups[it]
                    .first()
                    .is_some_and(|it| came_through(it) == through)
        });
        let (Some(place), None) = (sampled.next(), sampled.next()) else {
            continue;
        };
        let unsampled = groups.remove(key).unwrap_or_default();
        groups.entry(place.clone()).or_default().extend(unsampled);
    }
    groups
}

fn owner(class: Class, socket: &Socket) -> Owner {
    if class == Class::NeverAccepted {
        let listener = socket.listener.as_ref();
        let pid = listener.and_then(|listener| listener.pids.first());
        return pid.map_or(Owner::Nobody, |&pid| Owner::Holder(pid));
    }
    if let (Class::HeldElsewhere, Some(origin)) = (class, socket.origin) {
        // Its code let them go astray, to however many others.
        return Owner::Opener(origin.pid);
    }
    let holds = |pid| socket.holders.iter().any(|holder| holder.pid == pid);
    match (socket.origin, socket.holders.first()) {
        (Some(origin), _) if holds(origin.pid) => Owner::Opener(origin.pid),
        (_, Some(holder)) => Owner::Holder(holder.pid),
        (_, None) => Owner::Nobody,
    }
}

fn make(key: &Key, members: &[&Socket], traced_ns: u64) -> Option<Group> {
    let first = members.first()?;
    let mut held: Vec<_> = members.iter().flat_map(|it| &it.holders).copied().collect();
    held.sort_unstable();
    held.dedup();
    let (class, verdict) = match key.class {
        Class::IdlePool if members.len() > POOL_MOST => (Class::EofNotRead, Verdict::Suspect),
        Class::IdlePool => (Class::IdlePool, Verdict::Notice),
        class => (class, Verdict::Suspect),
    };
    Some(Group {
        class,
        verdict,
        state: first.state,
        owner: key.owner,
        origin: first.origin,
        opened: key.opened,
        origin_stack: key.stack,
        origin_seen: members
            .iter()
            .filter(|it| it.origin_stack.is_some())
            .count(),
        eof_stack: common(members.iter().filter_map(|it| it.eof_stack)),
        count: members.len(),
        growth_per_min: growth(members, traced_ns),
        ages: ages(members),
        unread: members
            .iter()
            .map(|it| u64::from(it.unread.saturating_sub(1)))
            .sum(),
        held,
        listener: first.listener.clone(),
        netns: first.netns,
        family: first.family,
        peers: peers(members, key.opened),
    })
}

/// What all have, if it is the same.
fn common(mut all: impl Iterator<Item = StackId>) -> Option<StackId> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

/// Only what was seen to come during the trace counts.
fn growth(members: &[&Socket], traced_ns: u64) -> f64 {
    const MINUTE: f64 = 60e9;
    let came = members.iter().filter(|it| it.age_exact).count();
    #[expect(clippy::cast_precision_loss, reason = "a rate, rounded for a person")]
    let (came, traced) = (came as f64, traced_ns.max(1) as f64);
    came * MINUTE / traced
}

fn ages(members: &[&Socket]) -> Ages {
    let mut all: Vec<_> = members.iter().map(|it| (it.age_ns, it.age_exact)).collect();
    all.sort_unstable();
    let oldest = all.last().copied().unwrap_or_default();
    Ages {
        oldest: oldest.0,
        oldest_exact: oldest.1,
        median: all.get(all.len() / 2).map_or(0, |age| age.0),
    }
}

fn peers(members: &[&Socket], opened: Opened) -> Vec<(Tuple, usize)> {
    let mut counts: BTreeMap<([u8; 16], u16), (Tuple, usize)> = BTreeMap::new();
    for member in members {
        let mut tuple = member.tuple;
        // The port of a client is a new one each time.
        if opened != Opened::Connect {
            tuple.rport = 0;
        }
        counts
            .entry((tuple.raddr, tuple.rport))
            .or_insert((tuple, 0))
            .1 += 1;
    }
    let mut peers: Vec<_> = counts.into_values().collect();
    peers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    peers.truncate(PEERS);
    peers
}
