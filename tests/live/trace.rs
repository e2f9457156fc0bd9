//! `tcpstate trace -o json`: its lines as they come, and what it said at the end.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    process::{Command, ExitStatus},
    sync::Arc,
};

use rustix::process::Signal;

use crate::{
    clock::wait_for,
    lines::{End, Line, Start, Transition, parse},
    net::Side,
    tool::{Tool, tcpstate},
};

/// A line and when the test had it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub arrived: u64,
    /// What it says.
    pub line: Transition,
}

/// A running `tcpstate … -o json`.
pub(crate) struct Trace {
    /// The process.
    pub tool: Tool,
    parsed: usize,
    /// First line.
    pub start: Start,
    /// When the first line had been read.
    pub started: u64,
    /// Transitions so far.
    pub seen: Vec<Seen>,
    end: Option<End>,
}

impl Trace {
    /// Starts `tcpstate trace -o json` with more arguments and waits for the
    /// start line: from then on nothing is missed.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let all = [&["trace", "-o", "json"], arguments].concat();
        Self::run(&mut tcpstate(&all))
    }

    /// Runs a command whose output is JSON lines.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut trace = Self::launch(command);
        trace.wait_started();
        trace
    }

    /// As [`Self::run`], without waiting for the start line.
    pub(crate) fn launch(command: &mut Command) -> Self {
        Self {
            tool: Tool::start(command),
            parsed: 0,
            start: Start::default(),
            started: 0,
            seen: Vec::new(),
            end: None,
        }
    }

    /// Waits for the start line.
    pub(crate) fn wait_started(&mut self) {
        wait_for("the start line", || {
            let ended = self.tool.has_ended();
            self.read();
            assert!(
                !ended || self.started != 0,
                "ended before its start line: {}",
                self.tool.stderr.text()
            );
            (self.started != 0).then_some(())
        });
    }

    /// Parses what has come since the last time.
    fn read(&mut self) {
        let received = Arc::clone(&self.tool.stdout.received);
        let received = received.lock().unwrap();
        while let Some(length) = received.bytes[self.parsed..]
            .iter()
            .position(|&byte| byte == b'\n')
        {
            let end = self.parsed + length;
            let text = std::str::from_utf8(&received.bytes[self.parsed..end]).unwrap();
            self.parsed = end + 1;
            let piece = received.pieces.partition_point(|piece| piece.0 <= end);
            self.take(parse(text).unwrap(), received.pieces[piece].1);
        }
    }

    fn take(&mut self, line: Line, arrived: u64) {
        assert!(self.end.is_none(), "a line after the end line: {line:?}");
        match line {
            Line::Start(start) => {
                assert_eq!(self.started, 0, "two start lines");
                self.start = start;
                self.started = arrived;
            }
            Line::Transition(line) => {
                assert_ne!(self.started, 0, "a transition before the start line");
                let line = *line;
                self.seen.push(Seen { arrived, line });
            }
            Line::End(end) => self.end = Some(end),
        }
    }

    /// Waits until the transitions so far satisfy `condition`.
    pub(crate) fn until<T>(&mut self, what: &str, condition: impl Fn(&[Seen]) -> Option<T>) -> T {
        wait_for(what, || {
            self.read();
            condition(&self.seen)
        })
        .0
    }

    /// Waits for the line on which `side` enters a state.
    pub(crate) fn until_enters(&mut self, side: &Side, state: &str) {
        self.until(&format!("{side:?} enters {state}"), |seen| {
            let mut lines = seen.iter().map(|seen| &seen.line);
            lines
                .any(|line| line.new == state && is_of(line, side))
                .then_some(())
        });
    }

    /// Ctrl-C, and everything up to the end line; panics if there is none.
    pub(crate) fn stop(self) -> Finished {
        self.tool.signal(Signal::INT);
        self.finish()
    }

    /// Waits until it ends; panics if it does not, or without an end line.
    pub(crate) fn finish(mut self) -> Finished {
        let status = self.tool.wait();
        self.read();
        Finished {
            start: self.start.clone(),
            seen: std::mem::take(&mut self.seen),
            end: self.end.clone().expect("an end line"),
            status,
            stderr: self.tool.stderr.text(),
        }
    }
}

/// A run that ended with an end line.
#[derive(Debug)]
pub(crate) struct Finished {
    /// First line.
    pub start: Start,
    /// Every transition.
    pub seen: Vec<Seen>,
    /// Last line.
    pub end: End,
    /// How the process ended.
    pub status: ExitStatus,
    /// Everything it said otherwise.
    pub stderr: String,
}

impl Finished {
    /// The lines of one end of a connection, in the order they came.
    pub(crate) fn of(&self, side: &Side) -> Vec<&Transition> {
        self.select(|line| is_of(line, side))
    }

    /// The lines that satisfy `wanted`, in the order they came.
    pub(crate) fn select(&self, wanted: impl Fn(&Transition) -> bool) -> Vec<&Transition> {
        let lines = self.seen.iter().map(|seen| &seen.line);
        lines.filter(|line| wanted(line)).collect()
    }

    /// The lines of every connection that name both ends, by end. One end may
    /// have had several connections, one after the other: in this order.
    pub(crate) fn by_side(&self) -> HashMap<Side, VecDeque<Vec<&Transition>>> {
        let mut sides = HashMap::<_, VecDeque<Vec<_>>>::new();
        for line in self.select(|_| true) {
            let Some(side) = side_of(line) else {
                continue;
            };
            let connections = sides.entry(side).or_default();
            let own = |lines: &&mut Vec<&Transition>| lines[0].conn == line.conn;
            match connections.iter_mut().find(own) {
                Some(lines) => lines.push(line),
                None => connections.push_back(vec![line]),
            }
        }
        sides
    }

    /// A session in which nothing was lost ends with status 0 and says so, and
    /// its numbers add up.
    pub(crate) fn assert_sound(&self) -> &Self {
        let end = &self.end;
        let ended = (self.status.code(), end.lost(), end.undecodable);
        assert_eq!(ended, (Some(0), 0, 0), "{end:?}: {}", self.stderr);
        end.assert_conserved();
        assert!(
            end.complete && Some(end.transitions) <= end.delivered,
            "{end:?}"
        );
        let names: HashSet<_> = self.seen.iter().map(|seen| &seen.line.conn).collect();
        assert!(names.len() as u64 <= end.connections, "{end:?}");
        self
    }
}

fn side_of(line: &Transition) -> Option<Side> {
    Some(Side {
        netns: line.netns,
        local: SocketAddr::new(line.laddr?, line.lport?),
        remote: SocketAddr::new(line.raddr?, line.rport?),
    })
}

/// Whether a line is about this end of this connection, or of this listener.
pub(crate) fn is_of(line: &Transition, side: &Side) -> bool {
    let listener = side.remote.port() == 0;
    let remote = if listener {
        line.rport.unwrap_or(0) == 0
    } else {
        line.raddr == Some(side.remote.ip()) && line.rport == Some(side.remote.port())
    };
    remote
        && line.netns == side.netns
        && line.laddr == Some(side.local.ip())
        && line.lport == Some(side.local.port())
}
