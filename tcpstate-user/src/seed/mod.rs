//! What existed before: one walk over all socket tables of the host, in every
//! network namespace, as the bytes of records.
//!
//! The walk is bracketed by two [`Sweep`] records and each socket seen is a
//! [`Snapshot`]. It knows neither hooks nor connections: the caller brings the
//! `iter/tcp` program, the tracker decides what a snapshot means.
//!
//! The clock is read here because the brackets, and the snapshots that do not
//! come from the kernel's side, need the time at which the tables were read.
//!
//! [`Snapshot`]: tcpstate_common::record::Snapshot

pub(crate) mod inet_diag;
mod mountinfo;
mod namespaces;
pub(crate) mod sock_diag;
pub(crate) mod walk;

use std::{fs::File, io, thread};

use rustix::time::{ClockId, clock_gettime};
use tcpstate_common::record::{Header, Sweep, kind, sweep as phase, words_of};
use zerocopy::IntoBytes as _;

/// Opens an `iter/tcp` iterator over the network namespace of the calling
/// thread. Its file gives whole `Snapshot` records and nothing else.
pub type OpenIterator<'a> = dyn FnMut() -> io::Result<File> + Send + 'a;

/// What came of one walk.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// Network namespaces whose socket tables were read to their end.
    pub namespaces: usize,
    /// Snapshots written.
    pub sockets: usize,
    /// Of the namespaces, how many the iterator read; `sock_diag` read the rest.
    pub by_iterator: usize,
    /// Why the iterator did not read a namespace, the first time it did not.
    pub refusal: Option<String>,
    /// Namespaces that were not read, by inode number (0 where not even that is
    /// known), and why. When there are any, the walk ends with
    /// [`phase::FAILED`].
    pub failed: Vec<(u64, String)>,
}

impl SweepReport {
    /// The source's name for reports.
    #[must_use]
    pub const fn how(&self) -> &'static str {
        match (self.by_iterator, self.namespaces) {
            (_, 0) => "nothing",
            (0, _) => "sock_diag",
            (read, all) if read == all => "iter/tcp",
            _ => "iter/tcp and sock_diag",
        }
    }
}

/// Walks over all socket tables and appends the records to `out`.
///
/// It blocks: a few milliseconds for each namespace. The namespaces are entered
/// in a thread of its own that ends with the walk, so that the caller never
/// leaves its own. Without an iterator, or where it fails, `sock_diag` reads.
///
/// Never fails as a whole: what could not be read is in the report, and the
/// walk's last record says so too.
pub fn sweep(iterator: Option<&mut OpenIterator<'_>>, out: &mut Vec<u8>) -> SweepReport {
    bracket(phase::BEGIN, out);
    let report = thread::scope(|scope| {
        thread::Builder::new()
            .name("tcpstate-seed".to_owned())
            .spawn_scoped(scope, || walk::walk(iterator, out))
            .map(thread::ScopedJoinHandle::join)
    });
    let report = match report {
        Ok(Ok(report)) => report,
        Ok(Err(_panic)) => nothing("the walking thread panicked".to_owned()),
        Err(error) => nothing(format!("no thread for the walk: {error}")),
    };
    let complete = report.failed.is_empty();
    bracket(if complete { phase::END } else { phase::FAILED }, out);
    report
}

fn nothing(reason: String) -> SweepReport {
    SweepReport {
        failed: vec![(0, reason)],
        ..SweepReport::default()
    }
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
