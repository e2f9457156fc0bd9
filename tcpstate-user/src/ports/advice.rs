//! What a row means, and what helps: decided here, worded elsewhere.

use tcpstate_common::state::TcpState;

use super::{Outlook, Row};

/// What runs out within this time is running out.
const SOON: u64 = 600 * 1_000_000_000;

/// How a tuple space is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No port is left, or connects have just failed for want of one.
    Exhausted,
    /// Not within ten minutes, if it goes on like this.
    RunningOut,
    /// Nothing can be said yet.
    TooEarly,
    /// How many ports are left is not known.
    Unknown,
    /// There is enough.
    Fine,
}

/// What to do, or what not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Most of the sockets are in `CLOSE_WAIT`: they are not closed.
    CloseSockets,
    /// Most of the sockets are in use.
    FewerConnections,
    /// The real lever: fewer connections, used longer.
    ReuseConnections,
    /// `tcp_tw_reuse=1` would let `connect()` take ports over.
    TwReuse,
    /// Many sockets are bound before they connect.
    BindNoPort,
    /// More of what a tuple space is made of.
    MoreTuples,
    /// False: it ends `FIN_WAIT2` sooner, not `TIME_WAIT`.
    NotFinTimeout,
    /// False: it throws data away.
    NotLinger,
}

impl Verdict {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::RunningOut => "running_out",
            Self::TooEarly => "too_early",
            Self::Unknown => "unknown",
            Self::Fine => "fine",
        }
    }
}

impl Advice {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CloseSockets => "close_sockets",
            Self::FewerConnections => "fewer_connections",
            Self::ReuseConnections => "reuse_connections",
            Self::TwReuse => "tcp_tw_reuse",
            Self::BindNoPort => "ip_bind_address_no_port",
            Self::MoreTuples => "more_addresses",
            Self::NotFinTimeout => "not_tcp_fin_timeout",
            Self::NotLinger => "not_so_linger",
        }
    }
}

pub(super) fn verdict(row: &Row) -> Verdict {
    match row.outlook {
        _ if row.failed_lately => Verdict::Exhausted,
        Outlook::Now => Verdict::Exhausted,
        Outlook::In(ns) if ns <= SOON => Verdict::RunningOut,
        Outlook::Unknown if row.left.is_err() => Verdict::Unknown,
        Outlook::Unknown => Verdict::TooEarly,
        Outlook::In(_) | Outlook::NotAtThisRate => Verdict::Fine,
    }
}

/// Of a space that is in trouble; the levers first, the false ones last.
pub(super) fn advice(row: &Row) -> Vec<Advice> {
    if !matches!(row.verdict, Verdict::Exhausted | Verdict::RunningOut) {
        return Vec::new();
    }
    let most = |count: u64| count * 2 > row.sockets;
    let of = |state: TcpState| row.states[state as usize];
    let waits = most(of(TcpState::TimeWait)) || row.sockets == 0;
    let mut all = Vec::new();
    if most(of(TcpState::CloseWait)) {
        all.push(Advice::CloseSockets);
    } else if most(of(TcpState::Established)) {
        all.push(Advice::FewerConnections);
    } else {
        all.push(Advice::ReuseConnections);
    }
    // A tenth of what there is, given away by `bind()`.
    let range = row.room.as_ref().map_or(0, |room| room.range);
    if row.bound_before * 10 > u64::from(range) && row.bound_before > 0 {
        all.push(Advice::BindNoPort);
    }
    if waits && row.reuse_after_ns.is_none() {
        all.push(Advice::TwReuse);
    }
    all.push(Advice::MoreTuples);
    if waits || row.fin_wait2 > 0 {
        all.push(Advice::NotFinTimeout);
        all.push(Advice::NotLinger);
    }
    all
}
