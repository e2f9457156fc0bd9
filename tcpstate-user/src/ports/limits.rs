//! What limits the sockets of a network namespace, as somebody else has read it.

/// A value, or why there is none.
pub type Known<T> = Result<T, Box<str>>;

/// What was read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Of each network namespace that could be entered.
    pub namespaces: Vec<Limits>,
    /// Sockets without a descriptor, of the whole host.
    pub orphans: Known<u64>,
    /// `tcp_max_orphans`, of the whole host.
    pub max_orphans: Known<u64>,
    /// Why there is nothing of the namespaces that are not there.
    pub missing: Box<str>,
    /// Why sockets that are bound and not connected are not among
    /// [`Limits::bound`], where this kernel does not tell.
    pub bound_unknown: Option<Box<str>>,
}

/// What limits one network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its inode number.
    pub netns: u32,
    /// `ip_local_port_range`, both ends included.
    pub range: Known<(u16, u16)>,
    /// `ip_local_reserved_ports`, both ends of each included.
    pub reserved: Known<Vec<(u16, u16)>>,
    /// `tcp_tw_reuse`: 0 off, 1 everywhere, 2 on loopback.
    pub tw_reuse: Known<u8>,
    /// `tcp_tw_reuse_delay`, from Linux 6.14 on.
    pub tw_reuse_delay_ms: Known<u32>,
    /// `tcp_timestamps`: 0 off.
    pub timestamps: Known<u8>,
    /// `tcp_max_tw_buckets`.
    pub max_tw_buckets: Known<u64>,
    /// Minisockets now.
    pub tw_buckets: Known<u64>,
    /// Since the namespace was made.
    pub counters: Known<Counters>,
    /// Sockets that listen, or are bound and not connected.
    pub bound: Known<Vec<Bound>>,
}

/// What `TcpExt` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// `ListenOverflows`: a handshake met a full accept queue.
    pub listen_overflows: u64,
    /// `ListenDrops`: of these and others, what a listener dropped.
    pub listen_drops: u64,
    /// `TCPTimeWaitOverflow`: minisockets refused.
    pub time_wait_overflows: u64,
}

/// A socket that has a port by `bind()` or `listen()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its address.
    pub addr: [u8; 16],
    /// Its port.
    pub port: u16,
    /// Of a listener.
    pub queue: Option<Queue>,
    /// Who has it, where that is known.
    pub pid: Option<u32>,
}

/// A listener's accept queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Connections that wait.
    pub waiting: u32,
    /// `sk_max_ack_backlog`; the queue is full with one more than that.
    pub limit: u32,
    /// Segments that it dropped since it exists: `sk_drops`.
    pub drops: Option<u32>,
}

impl Queue {
    /// Of sockets that share a port.
    pub(super) fn and(self, other: &Self) -> Self {
        let drops = self
            .drops
            .unwrap_or(0)
            .saturating_add(other.drops.unwrap_or(0));
        Self {
            waiting: self.waiting.saturating_add(other.waiting),
            limit: self.limit.saturating_add(other.limit),
            drops: self.drops.or(other.drops).map(|_told| drops),
        }
    }
}

impl Limits {
    /// After which time in `TIME_WAIT` `connect()` may take a port over, in
    /// nanoseconds; `None` when it may not.
    ///
    /// Before there was `tcp_tw_reuse_delay` it was the next whole second.
    #[must_use]
    pub fn reuse_after(&self, loopback: bool) -> Option<u64> {
        let on = match self.tw_reuse {
            Ok(2) => loopback,
            Ok(mode) => mode != 0,
            Err(_) => false,
        };
        let stamped = self.timestamps.as_ref().is_ok_and(|&mode| mode != 0);
        let delay_ms = self.tw_reuse_delay_ms.as_ref().map_or(1_000, |&ms| ms);
        (on && stamped).then_some(u64::from(delay_ms) * 1_000_000)
    }
}
