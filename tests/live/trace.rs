//! The tool under test, running: its lines as they come, and how it ended.

use std::{
    ffi::OsString,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    clock::{now, patience, wait_for},
    lines::{End, Line, Start, Transition, parse},
    net::Side,
    process::own_files,
};

/// A command line of the tool.
pub fn tcpstate(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The binary: `TCPSTATE_BIN`, else what cargo has built for this test.
pub fn binary() -> OsString {
    std::env::var_os("TCPSTATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tcpstate").into())
}

/// Everything a pipe has given so far, and when each piece came.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    /// Length after a piece, and when the piece was there.
    pieces: Vec<(usize, u64)>,
}

/// A pipe read to its end by a thread that does nothing else, so that the
/// tool never waits for its reader.
struct Pipe {
    received: Arc<Mutex<Received>>,
    thread: JoinHandle<()>,
}

impl Pipe {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let thread = thread::spawn({
            let received = Arc::clone(&received);
            move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    let mut received = received.lock().unwrap();
                    received.bytes.extend_from_slice(&buffer[..count]);
                    let piece = (received.bytes.len(), now());
                    received.pieces.push(piece);
                }
            }
        });
        Self { received, thread }
    }

    fn text(&self) -> String {
        let received = self.received.lock().unwrap();
        String::from_utf8_lossy(&received.bytes).into_owned()
    }
}

/// A line and when the test had it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub arrived: u64,
    /// What it says.
    pub line: Transition,
}

/// A running `tcpstate … -o json`.
pub struct Trace {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
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
    pub fn start(arguments: &[&str]) -> Self {
        let all = [&["trace", "-o", "json"], arguments].concat();
        Self::run(&mut tcpstate(&all))
    }

    /// Runs a command whose output is JSON lines.
    pub fn run(command: &mut Command) -> Self {
        own_files();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut trace = Self {
            stdout: Pipe::read(child.stdout.take().unwrap()),
            stderr: Pipe::read(child.stderr.take().unwrap()),
            child,
            parsed: 0,
            start: Start::default(),
            started: 0,
            seen: Vec::new(),
            end: None,
        };
        wait_for("the start line", || {
            trace.read();
            let ended = trace.child.try_wait().unwrap();
            assert!(
                ended.is_none() || trace.started != 0,
                "ended before its start line"
            );
            (trace.started != 0).then_some(())
        });
        trace
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Parses what has come since the last time.
    fn read(&mut self) {
        let received = Arc::clone(&self.stdout.received);
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
                self.seen.push(Seen {
                    arrived,
                    line: *line,
                });
            }
            Line::End(end) => self.end = Some(end),
        }
    }

    /// Waits until the transitions so far satisfy `condition`.
    pub fn until<T>(&mut self, what: &str, condition: impl Fn(&[Seen]) -> Option<T>) -> T {
        wait_for(what, || {
            self.read();
            condition(&self.seen)
        })
        .0
    }

    /// Waits for the line on which `side` enters a state.
    pub fn until_enters(&mut self, side: &Side, state: &str) {
        self.until(&format!("{side:?} enters {state}"), |seen| {
            let mut lines = seen.iter().map(|seen| &seen.line);
            lines
                .any(|line| line.new == state && is_of(line, side))
                .then_some(())
        });
    }

    /// Sends a signal to the tool.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ctrl-C, and everything up to the end line; panics if there is none.
    pub fn stop(self) -> Finished {
        self.signal(Signal::INT);
        self.finish()
    }

    /// Waits until it ends; panics if it does not.
    pub fn finish(mut self) -> Finished {
        let (status, _) = self.wait();
        let pipes = [&mut self.stdout, &mut self.stderr];
        for pipe in pipes {
            wait_for("the end of its output", || {
                pipe.thread.is_finished().then_some(())
            });
        }
        self.read();
        Finished {
            start: self.start.clone(),
            started: self.started,
            seen: std::mem::take(&mut self.seen),
            end: self.end.clone().expect("an end line"),
            status,
            stderr: self.stderr.text(),
        }
    }

    fn wait(&mut self) -> (ExitStatus, crate::clock::Interval) {
        let child = &mut self.child;
        wait_for("the tool's end", || child.try_wait().unwrap())
    }

    /// Kills it as nothing can be prepared for, and waits.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let output = self.stdout.text();
            let from = output.len().saturating_sub(20_000);
            let tail = output.get(from..).unwrap_or_default();
            println!("--- tool's output, at most the last 20 kB\n{tail}");
            println!("--- tool's errors\n{}", self.stderr.text());
        }
    }
}

/// A run that ended with an end line.
#[derive(Debug)]
pub struct Finished {
    /// First line.
    pub start: Start,
    /// When the first line had been read.
    pub started: u64,
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
    pub fn of(&self, side: &Side) -> Vec<&Transition> {
        self.select(|line| is_of(line, side))
    }

    /// The lines that satisfy `wanted`, in the order they came.
    pub fn select(&self, wanted: impl Fn(&Transition) -> bool) -> Vec<&Transition> {
        let lines = self.seen.iter().map(|seen| &seen.line);
        lines.filter(|line| wanted(line)).collect()
    }

    /// A session in which nothing was lost ends with status 0 and says so, and
    /// its numbers add up.
    pub fn assert_sound(&self) -> &Self {
        assert_eq!(self.status.code(), Some(0), "{self:?}");
        assert_eq!(self.end.lost(), 0, "{:?}", self.end);
        assert_eq!(self.end.undecodable, 0, "{:?}", self.end);
        assert_eq!(self.end.seen, self.end.delivered, "{:?}", self.end);
        assert!(self.end.transitions <= self.end.delivered, "{:?}", self.end);
        self
    }
}

/// Whether a line is about this end of this connection, or of this listener.
pub fn is_of(line: &Transition, side: &Side) -> bool {
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

/// How a command that is not traced ended, and what it wrote.
pub struct Done {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

/// Runs a command that ends by itself within the deadline.
pub fn run(command: &mut Command) -> Done {
    own_files();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = Pipe::read(child.stdout.take().unwrap());
    let stderr = Pipe::read(child.stderr.take().unwrap());
    let limit = now() + u64::try_from(patience().as_nanos()).unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if now() > limit {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    };
    for pipe in [&stdout, &stderr] {
        wait_for("the end of its output", || {
            pipe.thread.is_finished().then_some(())
        });
    }
    Done {
        code: status.code(),
        stdout: stdout.text(),
        stderr: stderr.text(),
    }
}
