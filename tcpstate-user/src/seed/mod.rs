//! What existed before: one walk over all socket tables of the host, in every
//! network namespace, as the bytes of records.
//!
//! The walk is bracketed by two [`Sweep`] records and each socket seen is a
//! [`Snapshot`]. It comes from `sock_diag`, which takes references only to what
//! has one already, so that the host cannot be hurt; it tells cookies and no
//! kernel addresses. Dumps of 99,505 sockets took the kernel and a script that read
//! them 0.4 to 1.6 s, on two cores with four times as much other work to do. This
//! module knows neither hooks nor connections: the tracker decides what a snapshot
//! means.
//!
//! The clock is read here because the brackets and the snapshots need the time
//! at which the tables were read.
//!
//! [`Snapshot`]: tcpstate_common::record::Snapshot

mod filter;
mod inet_diag;
mod mountinfo;
mod namespaces;
mod sock_diag;
mod socket;
mod walk;

use std::{io, thread};

use rustix::{
    fd::OwnedFd,
    time::{ClockId, clock_gettime},
};
use tcpstate_common::{
    record::{Header, Sweep, kind, sweep as phase, words_of},
    settings::Filter,
};
use zerocopy::IntoBytes as _;

use self::inet_diag::Asked;
use crate::decode::Inspection;

/// What came of one walk.
#[derive(Clone, Debug, Default)]
pub struct SweepReport {
    /// Network namespaces whose socket tables were read to their end.
    pub namespaces: usize,
    /// Snapshots written.
    pub sockets: usize,
    /// Namespaces that were not read, by inode number (0 where not even that is
    /// known), and why. When there are any, the walk has to end with
    /// [`phase::FAILED`], as [`end`] does.
    pub failed: Vec<(u64, String)>,
}

/// A full socket, as a report needs it, by its cookie; its address is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Never 0: the kernel makes one for each socket that it tells of.
    pub cookie: u64,
    /// What the kernel says of it.
    pub inspection: Inspection,
}

/// Walks over all socket tables and appends the begin of a walk and a snapshot
/// of each socket that passes `filter` to `out`. [`end`] has to follow.
///
/// It blocks: a few milliseconds for each namespace. The namespaces are entered
/// in a thread of its own that ends with the walk, so that the caller never
/// leaves its own.
///
/// Never fails as a whole: what could not be read is in the report.
pub fn sweep(filter: &Filter, out: &mut Vec<u8>) -> SweepReport {
    bracket(phase::BEGIN, out);
    let mut sockets = 0;
    let (namespaces, failed) = apart(filter.netns, &mut |netns| {
        let mut seen = Vec::new();
        sock_diag::dump(netns, Asked::ALL, socket::snapshot, &mut seen)?;
        seen.retain(|it| filter::shows(filter, it));
        sockets += seen.len();
        out.extend_from_slice(seen.as_bytes());
        Ok(())
    });
    SweepReport {
        namespaces,
        sockets,
        failed,
    }
}

/// Appends the end of the walk of which `report` tells.
pub fn end(report: &SweepReport, out: &mut Vec<u8>) {
    let complete = report.failed.is_empty();
    bracket(if complete { phase::END } else { phase::FAILED }, out);
}

/// Every socket of the host that a report on leaks may be about, as the kernel
/// has it now. What cannot be read is left out.
#[must_use]
pub fn inspect() -> Vec<Inspected> {
    let mut all = Vec::new();
    apart(0, &mut |netns| {
        sock_diag::dump(netns, Asked::INSPECTION, socket::inspected, &mut all)
    });
    all
}

/// Whether the kernel answers such questions, asked in the caller's namespace.
///
/// # Errors
///
/// Why it does not.
pub fn probe() -> io::Result<()> {
    let none = &mut Vec::new();
    sock_diag::dump(0, Asked::NOTHING, socket::snapshot, none)
}

/// Calls `read` in each wanted network namespace (0: all), in a thread apart.
fn apart(
    wanted: u32,
    read: &mut (dyn FnMut(u32) -> io::Result<()> + Send),
) -> (usize, Vec<(u64, String)>) {
    let result = thread::scope(|scope| {
        thread::Builder::new()
            .name("tcpstate-seed".to_owned())
            .spawn_scoped(scope, || walk::each_namespace(wanted, read))
            .map(thread::ScopedJoinHandle::join)
    });
    let nothing = |reason: String| (0, vec![(0, reason)]);
    match result {
        Ok(Ok(read)) => read,
        Ok(Err(_panic)) => nothing("the walking thread panicked".to_owned()),
        Err(error) => nothing(format!("no thread for the walk: {error}")),
    }
}

/// The network namespace with this inode number, as an open file that `setns`
/// takes.
///
/// # Errors
///
/// Not found: no process is in it, and it is mounted nowhere. Permission denied:
/// that is not certain, for not everything could be looked at.
pub(crate) fn network_namespace(inode: u64) -> io::Result<OwnedFd> {
    let mut found = None;
    let failed = namespaces::visit(&mut |namespace| {
        if namespace.inode == inode {
            found = Some(namespace.file);
        }
    });
    let reason = "no process is in it, and it is mounted nowhere";
    let missing = match failed.is_empty() {
        true => io::Error::new(io::ErrorKind::NotFound, reason),
        false => io::Error::from_raw_os_error(libc::EACCES),
    };
    found.ok_or(missing)
}

fn bracket(phase: u8, out: &mut Vec<u8>) {
    let record = Sweep {
        header: Header {
            kind: kind::SWEEP,
            words: words_of::<Sweep>(),
            lost: 0,
            netns: 0,
        },
        ktime: monotonic_ns(),
        phase,
        reserved: [0; 7],
    };
    out.extend_from_slice(record.as_bytes());
}

/// `CLOCK_MONOTONIC` in nanoseconds, the clock of `bpf_ktime_get_ns`.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec)
}
