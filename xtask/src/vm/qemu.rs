//! One virtual machine, from its boot to the verdict of its tests.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    exec::say,
    matrix::{Column, Fact},
    vm::console::{self, Line},
};

/// An emulated boot takes 4 to 10 s on an idle machine of two CPUs.
const BOOT_DEADLINE: Duration = Duration::from_secs(120);
/// A boot's tests take 2 to 5 minutes there, and the more the busier it is.
const TEST_DEADLINE: Duration = Duration::from_secs(12 * 60);

/// How long no test may say anything: 50 s were measured at most, by those that wait
/// for a minute of `TIME_WAIT` and began late. What the kernel says does not count:
/// a CPU that stands still is complained of by the other one for ever.
const SILENCE: Duration = Duration::from_secs(180);

/// About one emulated boot in some dozens panics early, in `do_sync_core`: the
/// emulator's failure, not the tests'. So the boot is tried again. Later the same
/// failure shows as [`PATCHED`], and all begins anew.
const BOOTS: u32 = 4;

/// The kernel changes code of its own under a breakpoint (at tracepoints, for
/// one), which is gone before any CPU can run it, but not for an emulated CPU that
/// has translated it. Seen on 6.12 and 7.3, in functions that were being hooked and
/// in those of timers, once in some five runs of a hundred tests.
const PATCHED: &str = "Oops: int3";

/// What the same mistake leads to where the kernel takes the breakpoint for one that
/// has just gone, and goes back to it (5.10): a CPU that is for ever at one
/// instruction, the first of a function that is being hooked (seen in `tcp_recvmsg`)
/// or a jump that is being switched (both CPUs in `syscall_exit_to_user_mode+0xb3`).
/// So two soft lockups in a row name the same instruction; others are no more than a
/// host that is busy.
const WHERE: &str = "RIP: 0010:";

pub(crate) struct Machine {
    pub(crate) version: &'static str,
    pub(crate) vmlinuz: PathBuf,
    pub(crate) initrd: PathBuf,
    /// Gets the whole console of the last boot.
    pub(crate) log: PathBuf,
}

/// How one boot ended.
enum End {
    /// Before any test, or by the emulator's fault: worth another try.
    NotBooted(String),
    Verdict(Result<()>),
}

impl Machine {
    /// Fills the column with what the guest tells, whatever the verdict.
    pub(crate) fn run(&self, column: &mut Column) -> Result<()> {
        let (told, tests) = (column.facts.len(), column.tests);
        // The table says which boots were in vain.
        let mut anew = Vec::new();
        for boot in 1..=BOOTS {
            // What a boot that failed has told is told again.
            column.facts.truncate(told);
            column.tests = tests;
            let mut running = Running::start(self, column)?;
            let reason = match running.watch() {
                End::Verdict(verdict) => {
                    drop(running);
                    column.facts.extend(anew);
                    return verdict.with_context(|| format!("see {}", self.log.display()));
                }
                End::NotBooted(reason) => reason,
            };
            drop(running);
            say(format_args!(
                "kernel {}: boot {boot} of {BOOTS}: {reason}",
                self.version
            ));
            self.keep(boot)?;
            anew.push(Fact {
                topic: "again".to_owned(),
                key: format!("boot {boot}"),
                value: reason,
            });
        }
        bail!("{BOOTS} boots failed, see {}", self.log.display())
    }

    /// The console of a boot that is tried again: beside that of the next one.
    fn keep(&self, boot: u32) -> Result<()> {
        let kept = self.log.with_extension(format!("boot{boot}.log"));
        fs::rename(&self.log, &kept).with_context(|| kept.display().to_string())
    }

    /// Always emulated: a virtual machine in a virtual machine may hang, and a
    /// test that passes on one machine only is no test.
    fn command(&self) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"])
            .args(["-smp", "2", "-m", "2G", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            // panic=0: the machine waits for us to have read the report.
            // loglevel=5: where a CPU is that does not get on.
            .args([
                "-append",
                "console=ttyS0 panic=0 quiet loglevel=5 log_buf_len=4M",
            ])
            .arg("-kernel")
            .arg(&self.vmlinuz)
            .arg("-initrd")
            .arg(&self.initrd);
        qemu
    }
}

struct Running<'a> {
    machine: &'a Machine,
    child: Child,
    lines: Receiver<String>,
    log: File,
    begin: Instant,
    /// When something other than the kernel spoke last.
    heard: Instant,
    booted: bool,
    /// Whether the emulator has run code that was being changed.
    patched: bool,
    /// Whether a CPU has just been said not to get on.
    locked_up: bool,
    /// Where the last one was that did not.
    stuck_at: Option<String>,
    splats: usize,
    column: &'a mut Column,
}

impl<'a> Running<'a> {
    fn start(machine: &'a Machine, column: &'a mut Column) -> Result<Self> {
        let mut command = machine.command();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let console = child.stdout.take().context("no console")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // A console may carry any bytes. Ends with the machine, or with us.
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            machine,
            child,
            lines,
            log: File::create(&machine.log).with_context(|| machine.log.display().to_string())?,
            begin: Instant::now(),
            heard: Instant::now(),
            booted: false,
            patched: false,
            locked_up: false,
            stuck_at: None,
            splats: 0,
            column,
        })
    }

    fn watch(&mut self) -> End {
        loop {
            let end = match self.lines.recv_timeout(self.left()) {
                Ok(line) => self.line(&line),
                Err(RecvTimeoutError::Timeout) => Some(self.late()),
                Err(RecvTimeoutError::Disconnected) => Some(self.broken("the machine stopped")),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn left(&self) -> Duration {
        if !self.booted {
            return BOOT_DEADLINE.saturating_sub(self.begin.elapsed());
        }
        let silence = SILENCE.saturating_sub(self.heard.elapsed());
        silence.min(TEST_DEADLINE.saturating_sub(self.begin.elapsed()))
    }

    /// A machine in which nothing happens any more is the emulator's failure, as far as
    /// was seen: both CPUs in one function's first instruction, interrupts off. A test
    /// that never ends looks the same, at each of the boots, and fails by that.
    fn late(&self) -> End {
        let silence = self.heard.elapsed();
        match self.booted && silence >= SILENCE {
            true => End::NotBooted(format!(
                "no test has said anything for {} s",
                silence.as_secs()
            )),
            false => self.broken("the deadline has passed"),
        }
    }

    fn line(&mut self, line: &str) -> Option<End> {
        // With the time, which the console does not have.
        let at = self.begin.elapsed().as_secs_f64();
        if let Err(error) = writeln!(self.log, "{at:6.1} {line}") {
            return Some(End::Verdict(Err(error.into())));
        }
        if !console::is_kernels(line) {
            self.heard = Instant::now();
        }
        self.patched |= line.contains(PATCHED);
        if self.is_in_a_circle(line) {
            let reason = "the emulator runs a breakpoint that the kernel has taken away";
            return Some(End::NotBooted(reason.to_owned()));
        }
        match console::read(line) {
            Line::Booted => {
                self.booted = true;
                say(format_args!(
                    "kernel {}: booted in {:.1} s",
                    self.machine.version,
                    self.begin.elapsed().as_secs_f64()
                ));
            }
            Line::Panic if self.patched => {
                let reason = "the emulator ran code that the kernel was changing";
                return Some(End::NotBooted(reason.to_owned()));
            }
            Line::Panic => return Some(self.broken("the kernel panicked")),
            Line::Exit(status) => return Some(End::Verdict(self.verdict(status))),
            Line::Splat(text) => {
                self.splats += 1;
                say(format_args!(
                    "kernel {}: splat: {text}",
                    self.machine.version
                ));
            }
            Line::Fact(text) => self.column.facts.extend(Fact::parse(text)),
            Line::Text(text) if self.booted => {
                self.column.read(text);
                say(format_args!("{:>5} | {text}", self.machine.version));
            }
            Line::Text(_) => {}
        }
        None
    }

    /// Whether `line` is the second in a row that names one instruction at which a CPU
    /// does not get on.
    fn is_in_a_circle(&mut self, line: &str) -> bool {
        self.locked_up |= line.contains("soft lockup");
        let at = line.split_once(WHERE).map(|(_, at)| at.to_owned());
        let Some(at) = at.filter(|_| self.locked_up) else {
            return false;
        };
        self.locked_up = false;
        let again = self.stuck_at.as_ref() == Some(&at);
        self.stuck_at = Some(at);
        again
    }

    fn verdict(&self, status: i32) -> Result<()> {
        ensure!(
            self.splats == 0,
            "the kernel complained of itself {} times; the tests ended with status {status}",
            self.splats
        );
        ensure!(status == 0, "the tests ended with status {status}");
        Ok(())
    }

    fn broken(&self, reason: &str) -> End {
        match self.booted {
            true => End::Verdict(Err(anyhow::Error::msg(reason.to_owned()))),
            false => End::NotBooted(reason.to_owned()),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
