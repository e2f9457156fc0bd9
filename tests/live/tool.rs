//! The program under test as a process: what it writes, and how it ends.

use std::{
    ffi::OsString,
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    clock::{now, wait_for},
    process::own_files,
};

/// A command line of the tool.
pub(crate) fn tcpstate(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The binary: `TCPSTATE_BIN`, else what cargo has built for this test.
pub(crate) fn binary() -> OsString {
    std::env::var_os("TCPSTATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tcpstate").into())
}

/// Everything a pipe has given so far, and when each piece came.
#[derive(Default)]
pub(crate) struct Received {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Length after a piece, and when the piece was there.
    pub pieces: Vec<(usize, u64)>,
}

/// A pipe read to its end by a thread that does nothing else, so that the
/// tool never waits for its reader.
pub(crate) struct Pipe {
    /// What has come.
    pub received: Arc<Mutex<Received>>,
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

    /// What has come, as text.
    pub(crate) fn text(&self) -> String {
        let received = self.received.lock().unwrap();
        String::from_utf8_lossy(&received.bytes).into_owned()
    }

    fn wait(&self) {
        wait_for("the end of its output", || {
            self.thread.is_finished().then_some(())
        });
    }
}

/// A running command.
pub(crate) struct Tool {
    child: Child,
    /// Its standard output.
    pub stdout: Pipe,
    /// Its standard error.
    pub stderr: Pipe,
}

impl Tool {
    /// Starts it with both outputs read.
    pub(crate) fn start(command: &mut Command) -> Self {
        own_files();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            stdout: Pipe::read(child.stdout.take().unwrap()),
            stderr: Pipe::read(child.stderr.take().unwrap()),
            child,
        }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended and both outputs have been read.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        let (status, _) = wait_for("the tool's end", || child.try_wait().unwrap());
        self.stdout.wait();
        self.stderr.wait();
        status
    }

    /// Waits until it has ended by itself.
    pub(crate) fn done(mut self) -> Done {
        let status = self.wait();
        Done {
            code: status.code(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
        }
    }

    /// Kills it as nothing can be prepared for.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Tool {
    /// Lets it say what it has lost, if it still can.
    fn last_words(&mut self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // Not reaped yet, so that the id is its own.
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, Signal::INT);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How much of its output a failed test shows. More hides what the test says.
const SHOWN: usize = 20;
/// Characters of a line.
const LONGEST: usize = 600;

impl Drop for Tool {
    #[expect(clippy::print_stdout, reason = "shown with the failure")]
    fn drop(&mut self) {
        if thread::panicking() {
            self.last_words();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let output = self.stdout.text();
            let lines: Vec<_> = output.lines().collect();
            println!("--- tool's output, its last {SHOWN} lines");
            for line in &lines[lines.len().saturating_sub(SHOWN)..] {
                let cut: String = line.chars().take(LONGEST).collect();
                println!("{cut}");
            }
            println!("--- tool's errors\n{}", self.stderr.text());
        }
    }
}

/// How a command ended, and what it wrote.
#[derive(Debug)]
pub(crate) struct Done {
    /// Exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

/// Runs a command that ends by itself.
pub(crate) fn run(command: &mut Command) -> Done {
    Tool::start(command).done()
}
