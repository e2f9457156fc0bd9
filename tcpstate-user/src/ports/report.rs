//! What a report says.

use super::{
    Advice, Counters, Counts, Known, Limits, Maker, Outlook, Queue, Rates, Service, Space, Verdict,
    census::{Census, States},
    rows, services,
};
use crate::decode::KtimeNs;

/// `TCP_TIMEWAIT_LEN`, the same in every version.
pub const TIME_WAIT_NS: u64 = 60_000_000_000;

/// Everything that is known at one time.
#[derive(Clone, Debug)]
pub struct Report {
    /// Tuple spaces, the worst first, then the most used.
    pub rows: Vec<Row>,
    /// The others.
    pub rest: Rest,
    /// Ports of services, those with the most connections first.
    pub servers: Vec<Server>,
    /// The others.
    pub other_servers: Rest,
    /// Listeners, the fullest first.
    pub listeners: Vec<Listener>,
    /// How many others there are.
    pub other_listeners: u64,
    /// Network namespaces with sockets, those with the most minisockets first.
    pub namespaces: Vec<Namespace>,
    /// How many others there are.
    pub other_namespaces: u64,
    /// Of the host.
    pub orphans: Known<u64>,
    /// Of the host.
    pub max_orphans: Known<u64>,
    /// See [`super::Reading::bound_unknown`].
    pub bound_unknown: Option<Box<str>>,
    /// Connects of which no rates were kept: too many tuple spaces.
    pub unaccounted: u64,
}

/// One tuple space.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub space: Space,
    /// Sockets by state number.
    pub states: States,
    /// All of them.
    pub sockets: u64,
    /// Of those in `FIN_WAIT2`, closed by the application.
    pub fin_wait2: u64,
    /// On ports that `connect()` could choose.
    pub used: u64,
    /// Of these, in `TIME_WAIT` and to be taken over by `connect()`.
    pub reusable: u64,
    /// What `connect()` can choose from.
    pub room: Known<Counts>,
    /// Ports left for `connect()`.
    pub left: Known<u64>,
    /// After which time in `TIME_WAIT` a port may be taken over.
    pub reuse_after_ns: Option<u64>,
    /// How long `TIME_WAIT` takes here.
    pub time_wait: Waits,
    /// Connections a second that the ports last for.
    pub sustainable: Option<f64>,
    /// Of late.
    pub rates: Option<Rates>,
    /// When none is left.
    pub outlook: Outlook,
    /// Whose sockets they are.
    pub makers: Vec<Maker>,
    /// Connects that got a port, since the beginning.
    pub opened: u64,
    /// How minisockets ended, since the beginning.
    pub ended: Vec<(&'static str, u64)>,
    /// Connects that found no port, since the beginning.
    pub failed: u64,
    /// Some of these in the last ten seconds.
    pub failed_lately: bool,
    /// Ports of the namespace with a `bind()` before `connect()`.
    pub bound_before: u64,
    /// How it is doing.
    pub verdict: Verdict,
    /// What helps, and what does not.
    pub advice: Vec<Advice>,
}

/// How long `TIME_WAIT` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// The mean of those that were seen to run out, else [`TIME_WAIT_NS`].
    pub ns: u64,
    /// How many were seen.
    pub measured: u64,
}

/// Rows that are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many; a lower bound when sockets are beyond all tables.
    pub count: u64,
    /// Whether it is only a lower bound.
    pub at_least: bool,
    /// Their sockets, by state number.
    pub states: States,
    /// All of them.
    pub sockets: u64,
    /// Connects that found no port.
    pub failed: u64,
}

/// The connections of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Which.
    pub service: Service,
    /// Sockets by state number.
    pub states: States,
    /// All of them.
    pub sockets: u64,
    /// Of those in `FIN_WAIT2`, closed by the application.
    pub fin_wait2: u64,
}

/// Sockets that listen on the same address and port.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Address.
    pub addr: [u8; 16],
    /// Port.
    pub port: u16,
    /// A process that has it, and what it is called.
    pub pid: Option<u32>,
    /// Where it was seen to listen.
    pub comm: Option<[u8; 16]>,
    /// How many share the port (`SO_REUSEPORT`), each with a queue.
    pub sockets: u64,
    /// Their queues together.
    pub queue: Known<Queue>,
    /// One of the queues takes no more.
    pub is_full: bool,
}

/// A network namespace and its limits.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// What was read.
    pub limits: Limits,
    /// What `connect()` can choose from.
    pub room: Known<Counts>,
    /// What was counted since the run began.
    pub grown: Known<Grown>,
}

/// Increase of [`Counters`].
pub type Grown = Counters;

impl Report {
    /// The space to speak of first: the worst, where one is not fine.
    #[must_use]
    pub fn worst(&self) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| matches!(row.verdict, Verdict::Exhausted | Verdict::RunningOut))
    }
}

pub(super) fn build(mut census: Census<'_>, now: KtimeNs) -> Report {
    let reading = census.reading;
    let absent = || Err("no limits were read".into());
    let (rows, rest) = rows::rows(&census, now);
    let (servers, other_servers) = services::servers(&mut census);
    let (listeners, other_listeners) = services::listeners(&census);
    let (namespaces, other_namespaces) = services::namespaces(&census, &rows);
    let report = Report {
        rows,
        rest,
        servers,
        other_servers,
        listeners,
        other_listeners,
        namespaces,
        other_namespaces,
        orphans: reading.map_or_else(absent, |it| it.orphans.clone()),
        max_orphans: reading.map_or_else(absent, |it| it.max_orphans.clone()),
        bound_unknown: reading.and_then(|it| it.bound_unknown.clone()),
        unaccounted: census.ports.unaccounted,
    };
    census.ports.reported.get_or_insert(now);
    census.ports.forget_idle(now);
    for account in census.ports.accounts.values_mut() {
        account.pace.mark(now);
    }
    report
}
