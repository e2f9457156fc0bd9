//! One reading: every number by its name, or why it is not there.

use std::{fmt, io};

use crate::decode::KtimeNs;

/// A number, or why there is none.
pub type Value = Result<u64, Absent>;

/// Why a number is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// A recording has no counters.
    Replay,
    /// This kernel, or this namespace, has no such field.
    NoField,
    /// What stands there is no number.
    NoNumber,
    /// The file could not be read, by `errno`.
    Unreadable(i32),
    /// The network namespace has gone.
    Gone,
    /// It is smaller than before: what was counted between is not known.
    WentBack,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replay => f.write_str("a recording has no counters"),
            Self::NoField => f.write_str("not among the counters here"),
            Self::NoNumber => f.write_str("the kernel's text has no number there"),
            Self::Unreadable(errno) => {
                write!(f, "not readable: {}", io::Error::from_raw_os_error(*errno))
            }
            Self::Gone => f.write_str("the network namespace has gone"),
            Self::WentBack => f.write_str("the counter went back"),
        }
    }
}

/// What only grows. All are of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// SYNs sent to open a connection, each once however often it is repeated.
    ActiveOpens,
    /// Sockets made for connections that came in.
    PassiveOpens,
    /// Handshakes that failed.
    AttemptFails,
    /// `ESTABLISHED` or `CLOSE_WAIT` to `CLOSE`.
    EstabResets,
    /// Segments received, bad ones too.
    InSegs,
    /// Segments sent, repeated ones and RSTs too.
    OutSegs,
    /// Segments sent again.
    RetransSegs,
    /// Bad segments.
    InErrs,
    /// RSTs sent.
    OutRsts,
    /// Of the bad segments, those with a wrong checksum.
    InCsumErrors,
    /// Handshakes that found an accept queue full.
    ListenOverflows,
    /// All that listeners dropped, overflows among them.
    ListenDrops,
    /// SYNs dropped because too many handshakes were under way.
    ReqQFullDrop,
    /// The same, answered by a cookie.
    ReqQFullDoCookies,
    /// Minisockets refused: `tcp_max_tw_buckets`.
    TimeWaitOverflow,
    /// Orphans reset because there were too many, or no memory.
    AbortOnMemory,
    /// Connections given up after their retransmissions.
    AbortOnTimeout,
    /// Retransmission timers that ran out.
    Timeouts,
    /// SYNs and SYN-ACKs sent again.
    SynRetrans,
    /// Times that memory came under pressure.
    MemoryPressures,
}

/// How many counters there are.
const COUNTERS: usize = 20;

impl Counter {
    /// All, in the order in which they are written.
    pub const ALL: [Self; COUNTERS] = [
        Self::ActiveOpens,
        Self::PassiveOpens,
        Self::AttemptFails,
        Self::EstabResets,
        Self::InSegs,
        Self::OutSegs,
        Self::RetransSegs,
        Self::InErrs,
        Self::OutRsts,
        Self::InCsumErrors,
        Self::ListenOverflows,
        Self::ListenDrops,
        Self::ReqQFullDrop,
        Self::ReqQFullDoCookies,
        Self::TimeWaitOverflow,
        Self::AbortOnMemory,
        Self::AbortOnTimeout,
        Self::Timeouts,
        Self::SynRetrans,
        Self::MemoryPressures,
    ];

    /// The line that has it.
    pub(super) const fn group(self) -> &'static str {
        if (self as usize) < Self::ListenOverflows as usize {
            "Tcp"
        } else {
            "TcpExt"
        }
    }

    /// The kernel's name.
    #[must_use]
    pub const fn kernel(self) -> &'static str {
        match self {
            Self::ActiveOpens => "ActiveOpens",
            Self::PassiveOpens => "PassiveOpens",
            Self::AttemptFails => "AttemptFails",
            Self::EstabResets => "EstabResets",
            Self::InSegs => "InSegs",
            Self::OutSegs => "OutSegs",
            Self::RetransSegs => "RetransSegs",
            Self::InErrs => "InErrs",
            Self::OutRsts => "OutRsts",
            Self::InCsumErrors => "InCsumErrors",
            Self::ListenOverflows => "ListenOverflows",
            Self::ListenDrops => "ListenDrops",
            Self::ReqQFullDrop => "TCPReqQFullDrop",
            Self::ReqQFullDoCookies => "TCPReqQFullDoCookies",
            Self::TimeWaitOverflow => "TCPTimeWaitOverflow",
            Self::AbortOnMemory => "TCPAbortOnMemory",
            Self::AbortOnTimeout => "TCPAbortOnTimeout",
            Self::Timeouts => "TCPTimeouts",
            Self::SynRetrans => "TCPSynRetrans",
            Self::MemoryPressures => "TCPMemoryPressures",
        }
    }

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActiveOpens => "active_opens",
            Self::PassiveOpens => "passive_opens",
            Self::AttemptFails => "attempt_fails",
            Self::EstabResets => "estab_resets",
            Self::InSegs => "in_segs",
            Self::OutSegs => "out_segs",
            Self::RetransSegs => "retrans_segs",
            Self::InErrs => "in_errs",
            Self::OutRsts => "out_rsts",
            Self::InCsumErrors => "in_csum_errors",
            Self::ListenOverflows => "listen_overflows",
            Self::ListenDrops => "listen_drops",
            Self::ReqQFullDrop => "request_queue_drops",
            Self::ReqQFullDoCookies => "request_queue_cookies",
            Self::TimeWaitOverflow => "timewait_overflows",
            Self::AbortOnMemory => "aborts_on_memory",
            Self::AbortOnTimeout => "aborts_on_timeout",
            Self::Timeouts => "timeouts",
            Self::SynRetrans => "syn_retrans",
            Self::MemoryPressures => "memory_pressures",
        }
    }
}

/// What goes up and down, and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Sockets in `ESTABLISHED` and `CLOSE_WAIT`, of the namespace.
    Established,
    /// Orphans, of the whole host.
    Orphans,
    /// Minisockets, of the namespace.
    TimeWait,
    /// TCP sockets, of the whole host.
    Allocated,
    /// Pages in the buffers of TCP sockets, of the whole host.
    MemoryPages,
    /// `tcp_max_tw_buckets`, of the namespace.
    MaxTimeWait,
    /// `tcp_max_orphans`, of the whole host.
    MaxOrphans,
    /// The second number of `tcp_mem`, of the whole host.
    PressurePages,
}

/// How many gauges there are.
const GAUGES: usize = 8;

impl Gauge {
    /// All.
    pub const ALL: [Self; GAUGES] = [
        Self::Established,
        Self::Orphans,
        Self::TimeWait,
        Self::Allocated,
        Self::MemoryPages,
        Self::MaxTimeWait,
        Self::MaxOrphans,
        Self::PressurePages,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established_now",
            Self::Orphans => "orphans",
            Self::TimeWait => "timewait",
            Self::Allocated => "allocated",
            Self::MemoryPages => "memory_bytes",
            Self::MaxTimeWait => "timewait_max",
            Self::MaxOrphans => "orphans_max",
            Self::PressurePages => "memory_pressure_bytes",
        }
    }
}

/// Every number at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: KtimeNs,
    counters: [Value; COUNTERS],
    gauges: [Value; GAUGES],
}

impl Reading {
    /// Nothing at all, and why.
    #[must_use]
    pub const fn absent(at: KtimeNs, why: Absent) -> Self {
        Self {
            at,
            counters: [Err(why); COUNTERS],
            gauges: [Err(why); GAUGES],
        }
    }

    /// Sets a counter.
    pub const fn set_counter(&mut self, counter: Counter, value: Value) {
        self.counters[counter as usize] = value;
    }

    /// Sets a gauge. Sums over processors that are read one after the other can
    /// be negative for a moment, which looks like a number beyond all bounds.
    pub const fn set_gauge(&mut self, gauge: Gauge, value: Value) {
        self.gauges[gauge as usize] = match value {
            Ok(number) if number > i64::MAX as u64 => Err(Absent::NoNumber),
            value => value,
        };
    }

    /// A gauge.
    ///
    /// # Errors
    ///
    /// Why it is absent.
    pub const fn gauge(&self, gauge: Gauge) -> Value {
        self.gauges[gauge as usize]
    }

    /// A counter since the machine, or the namespace, began.
    ///
    /// # Errors
    ///
    /// Why it is absent.
    pub const fn counter(&self, counter: Counter) -> Value {
        self.counters[counter as usize]
    }

    /// What was counted since `earlier`.
    ///
    /// # Errors
    ///
    /// Why it is absent.
    pub fn since(&self, earlier: &Self, counter: Counter) -> Value {
        let (before, now) = (earlier.counter(counter)?, self.counter(counter)?);
        now.checked_sub(before).ok_or(Absent::WentBack)
    }
}
