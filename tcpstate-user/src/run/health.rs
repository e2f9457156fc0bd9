//! `tcpstate health` as a report of the pipeline.
//!
//! A line ends with a reading of the counters, which is taken before the ring is
//! read for the last time: what happened until then has its events in the same
//! line, whatever comes late.

use std::{
    io::{self, Write},
    path::Path,
};

use anyhow::Result;

use super::view::{Moment, Report};
use crate::{
    cli::{self, FilterSpec, Netns, ResolveError},
    counters::{Counters, Wanted},
    decode::{Event, Record, SockAddr64},
    health::{Census, Health},
    session::{EndInfo, SessionInfo},
    sink::{
        Reports,
        health::{Scope, Told},
    },
    track::{Change, Follows, Process},
};

/// When the titles of the columns come again.
pub(super) struct Page {
    /// Somebody sees only the last rows.
    is_repeated: bool,
    /// Rows since the last titles, if there have been any.
    rows: Option<usize>,
}

impl Page {
    /// Rows between two lines of titles on a terminal.
    const ROWS: usize = 20;

    pub(super) const fn new(is_terminal: bool) -> Self {
        Self {
            is_repeated: is_terminal,
            rows: None,
        }
    }

    /// Whether titles come before the next `rows`.
    fn wants_head(&mut self, rows: usize) -> bool {
        let since = self.rows;
        let since = since.filter(|since| !self.is_repeated || *since < Self::ROWS);
        self.rows = Some(since.unwrap_or(0) + rows);
        since.is_none()
    }
}

/// The session so far, and where its lines go.
pub(super) struct HealthReport<W> {
    pub(super) health: Health,
    /// `None` in a replay.
    pub(super) counters: Option<Counters>,
    pub(super) scope: Scope,
    pub(super) follows: Follows,
    /// Whose `accept` counts.
    pub(super) spec: FilterSpec,
    pub(super) sink: Reports<W>,
    pub(super) page: Page,
}

/// What was asked, of one network namespace: the own one, if none was named. A
/// recording is taken as it is.
pub(super) fn of_one_namespace(asked: &cli::Watch) -> cli::Watch {
    let mut watch = asked.clone();
    if watch.replay.is_none() {
        watch.filter.connections.netns.get_or_insert(Netns::Own);
    }
    watch
}

/// Finds the counters of the namespace; there are none in a replay.
pub(super) fn counters(watch: &cli::Watch, spec: &FilterSpec) -> Result<Option<Counters>> {
    if watch.replay.is_some() {
        return Ok(None);
    }
    let wanted = match &watch.filter.connections.netns {
        None | Some(Netns::Own) => Wanted::Own,
        Some(Netns::Inode(inode)) => Wanted::Inode(*inode),
        Some(Netns::Name(name)) => Wanted::File(Path::new("/run/netns").join(name)),
        Some(Netns::Path(path)) => Wanted::File(path.clone()),
    };
    let not_there = |why| {
        let name = format!("net:[{}]", spec.netns.unwrap_or(0));
        ResolveError::NoNetns(name.into(), why)
    };
    Ok(Some(Counters::open(&wanted).map_err(not_there)?))
}

/// What is counted, by what was asked.
pub(super) fn scope(spec: &FilterSpec, is_replay: bool, info: &SessionInfo) -> Scope {
    let by_connection = FilterSpec {
        netns: None,
        pids: Vec::new(),
        comms: Vec::new(),
        ..spec.clone()
    };
    let is_plain = by_connection == FilterSpec::default();
    let accepts_seen = info.hooks.get("accepted").is_some_and(Option::is_some);
    let by_process = !spec.pids.is_empty() || !spec.comms.is_empty();
    Scope {
        netns: spec.netns,
        is_filtered: !is_plain || by_process,
        is_replay,
        // A record of `accept` does not say of which connection: the kernel
        // filters it, a recording may have more.
        has_accepts: accepts_seen && (!is_replay || is_plain && spec.netns.is_none()),
    }
}

impl<W: Write> Report for HealthReport<W> {
    fn start(&mut self) -> io::Result<()> {
        if let Some(counters) = &self.counters {
            self.health.begin(counters.read());
        }
        self.sink.health_head(&self.scope)
    }

    fn change(&mut self, change: &Change) {
        self.health.change(change);
    }

    fn record(&mut self, record: &Record, _bytes: &[u8]) {
        if let Event::Accepted(_, task) = &record.event {
            let process = Process {
                pid: task.pid,
                comm: task.comm,
            };
            if is_asked(&self.spec, &process) {
                self.health.accepted(record.at, process);
            }
        }
    }

    fn prepare(&mut self, _now: &Moment<'_>, _wanted: &mut Vec<SockAddr64>) {
        if let Some(counters) = &self.counters {
            self.health.read(counters.read());
        }
    }

    fn report(&mut self, now: &Moment<'_>) -> io::Result<()> {
        let mut census = Census::new(self.follows);
        now.tracker.open(now.at, |open| {
            if now.filter.admits(open) {
                census.add(open);
            }
        });
        let line = self.health.line((now.began, now.at), census, now.last);
        let with_head = self.page.wants_head(1 + line.marks.len());
        self.sink.health(&Told {
            line: &line,
            scope: &self.scope,
            with_head,
        })
    }

    fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        self.sink.end(end)
    }
}

/// Whether a process is one of those asked for.
fn is_asked(spec: &FilterSpec, process: &Process) -> bool {
    let end = process.comm.iter().position(|byte| *byte == 0);
    let comm = &process.comm[..end.unwrap_or(process.comm.len())];
    (spec.pids.is_empty() || spec.pids.contains(&process.pid))
        && (spec.comms.is_empty() || spec.comms.iter().any(|wanted| wanted == comm))
}

#[cfg(test)]
mod tests {
    use super::{Page, scope};
    use crate::{cli::FilterSpec, session::SessionInfo};

    #[test]
    fn titles_come_again_on_a_terminal_only() {
        let titles = |is_terminal| {
            let mut page = Page::new(is_terminal);
            let heads = (0..60).filter(|_| page.wants_head(1));
            heads.collect::<Vec<_>>()
        };
        assert_eq!(titles(true), [0, 20, 40]);
        assert_eq!(titles(false), [0]);
        let mut page = Page::new(true);
        assert!(page.wants_head(1 + 30), "marks are rows too");
        assert!(page.wants_head(1));
    }

    #[test]
    fn accepts_are_told_of_what_they_are_known_to_belong_to() {
        let hook = Some("fexit inet_csk_accept".to_owned());
        let info = SessionInfo {
            hooks: [("accepted".to_owned(), hook)].into(),
            ..SessionInfo::default()
        };
        let own = FilterSpec {
            netns: Some(1),
            ..FilterSpec::default()
        };
        let ours = FilterSpec {
            pids: vec![1],
            ..FilterSpec::default()
        };
        let port = FilterSpec {
            lports: vec![80],
            ..FilterSpec::default()
        };
        let told = |spec, is_replay| {
            let scope = scope(spec, is_replay, &info);
            (scope.is_filtered, scope.has_accepts)
        };
        assert_eq!(told(&own, false), (false, true));
        assert_eq!(told(&ours, false), (true, true));
        assert_eq!(told(&port, false), (true, true));
        assert_eq!(told(&port, true), (true, false));
        assert_eq!(told(&own, true), (false, false));
        assert_eq!(told(&ours, true), (true, true));
        let blind = SessionInfo::default();
        assert!(!scope(&own, false, &blind).has_accepts);
    }
}
