//! A process that the benchmark started: its CPU time, its memory, its end.
//!
//! Only these are signalled, while they are not reaped, so that an id is never
//! another's.

use std::{
    fs,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at that has no event.
const LOOK: Duration = Duration::from_millis(20);

/// A running process; killed with the value if it has not ended.
pub(crate) struct Process {
    child: Child,
    /// Its end, once it has been reaped.
    usage: Option<Usage>,
}

/// What the kernel says of a process at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// As `wait` gives it.
    pub(crate) status: i32,
    /// User and system, with those of its children that it has waited for.
    pub(crate) cpu_ns: u64,
    /// The most that was resident.
    pub(crate) most_resident: u64,
}

/// Somebody wants the benchmark to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Lets Ctrl-C end the benchmark in order: what was started is ended, what was
/// measured is told.
pub(crate) fn watch_interrupts() {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    let handler = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a handler may store to an atomic.
        unsafe { libc::signal(signal, handler) };
    }
}

/// Whether it is to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Waits until something is there; never longer than [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(!interrupted(), "interrupted");
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} for {what}");
        }
        thread::sleep(LOOK);
    }
}

impl Process {
    /// Starts it. Signals are as they are by default, whoever started us: SIGINT
    /// ends every tool here.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        // SAFETY: signal(2) may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                // Nothing is left if the benchmark is killed.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.spawn();
        let child = child.with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, usage: None })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn raw(&self) -> Result<Pid> {
        let raw = i32::try_from(self.child.id())?;
        Pid::from_raw(raw).context("a process id")
    }

    /// CPU time of all its threads so far, those that have ended included.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: the pointer is to a value of the type it wants.
        let code = unsafe {
            libc::clock_getcpuclockid(self.raw()?.as_raw_nonzero().get(), &raw mut clock)
        };
        if code != 0 {
            return Err(anyhow!("CPU clock of {}: error {code}", self.pid()));
        }
        // SAFETY: all bits zero is a value, and the kernel writes another.
        let mut time: libc::timespec = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a value of the type it wants.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Err(std::io::Error::last_os_error()).context("CPU clock");
        }
        Ok(u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec)?)
    }

    /// Waits until it sleeps and has used next to nothing for a while: it has
    /// nothing more to do. What waits for a CPU has used nothing either.
    pub(crate) fn quiet(&self, what: &str) -> Result<()> {
        /// Of [`LOOK`], and so often in a row. Idle tools use 2 % at most.
        const NOTHING: u64 = 1_500_000;
        const TIMES: u32 = 4;
        let (mut before, mut times) = (self.cpu_ns()?, 0);
        wait_for(&format!("{what} to be quiet"), || {
            let now = self.cpu_ns()?;
            let is_quiet = now - before < NOTHING && self.is_asleep()?;
            times = if is_quiet { times + 1 } else { 0 };
            before = now;
            Ok((times >= TIMES).then_some(()))
        })
    }

    /// Bytes resident now, without the buffers that it shares with the kernel:
    /// those are maps, or belong to perf.
    pub(crate) fn resident(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps", self.pid());
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        Ok(resident(&text))
    }

    /// Whether none of its threads runs or waits for a CPU or a disk.
    fn is_asleep(&self) -> Result<bool> {
        let directory = format!("/proc/{}/task", self.pid());
        for task in fs::read_dir(&directory).with_context(|| directory.clone())? {
            // A thread may have ended meanwhile.
            let stat = fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            if matches!(state(&stat), Some('R' | 'D')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How often its threads were given a CPU.
    pub(crate) fn switches(&self) -> Result<u64> {
        let directory = format!("/proc/{}/task", self.pid());
        let mut sum = 0;
        for task in fs::read_dir(&directory).with_context(|| directory.clone())? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let slices = text.split_whitespace().nth(2);
            sum += slices
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
        Ok(sum)
    }

    /// Whether any of its descriptors is a hook in the kernel.
    pub(crate) fn holds_hooks(&self) -> bool {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.pid())) else {
            return false;
        };
        let targets = entries
            .flatten()
            .filter_map(|it| fs::read_link(it.path()).ok());
        targets.into_iter().any(|target| is_hook(&target))
    }

    /// Whether it has ended without being told to.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.usage.is_some() || self.reap(libc::WNOHANG)?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if self.usage.is_none() {
            kill_process(self.raw()?, signal)?;
        }
        Ok(())
    }

    /// Tells it to end (Ctrl-C, which every tool here handles), and waits.
    pub(crate) fn stop(mut self) -> Result<Usage> {
        self.signal(Signal::INT)?;
        self.wait()
    }

    /// Waits for an end that comes.
    pub(crate) fn wait(&mut self) -> Result<Usage> {
        wait_for("the end of a process", || {
            Ok(self.has_ended()?.then_some(()))
        })?;
        self.usage.context("reaped")
    }

    /// `wait4`: the standard library's wait leaves the usage out.
    fn reap(&mut self, options: i32) -> Result<bool> {
        let pid = self.raw()?.as_raw_nonzero().get();
        let mut status = 0;
        // SAFETY: all bits zero is a value, and the kernel writes another.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to values of the types it wants.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        match reaped {
            0 => Ok(false),
            -1 => Err(std::io::Error::last_os_error()).context("wait4"),
            _ => {
                self.usage = Some(Usage {
                    status,
                    cpu_ns: micros(usage.ru_utime)? + micros(usage.ru_stime)?,
                    most_resident: u64::try_from(usage.ru_maxrss)? * 1024,
                });
                Ok(true)
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.usage.is_none() {
            // It may end by itself meanwhile; it is not reaped before the next line.
            let _ended = self.signal(Signal::KILL);
            let _reaped = self.reap(0);
        }
    }
}

fn micros(time: libc::timeval) -> Result<u64> {
    Ok(u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec)? * 1_000)
}

/// Behind the name, which is in brackets and may have brackets and spaces itself.
fn state(stat: &str) -> Option<char> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.trim_start().chars().next()
}

/// Mappings begin with a line that has the file's name, if it has one; there is
/// no structure that tells them apart.
fn resident(smaps: &str) -> u64 {
    let (mut sum, mut is_buffer) = (0, false);
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if !first.ends_with(':') {
            is_buffer = line.contains("bpf-map") || line.contains("[perf_event]");
        } else if first == "Rss:" && !is_buffer {
            let kilobytes = line.split_whitespace().nth(1);
            sum += kilobytes
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    sum * 1024
}

fn is_hook(target: &Path) -> bool {
    let name = target.to_string_lossy();
    ["bpf-prog", "bpf_link", "bpf-raw-tracepoint", "[perf_event]"]
        .iter()
        .any(|kind| name.contains(kind))
}

/// Runs a short program to its end and gives what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    command.stdout(std::process::Stdio::piped());
    let mut process = Process::start(command)?;
    let mut text = Vec::new();
    if let Some(mut pipe) = process.child().stdout.take() {
        pipe.read_to_end(&mut text)?;
    }
    let usage = process.wait()?;
    if usage.status != 0 {
        bail!("{command:?} ended with {:#x}", usage.status);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_by_its_clock_and_at_its_end() {
        let mut busy = Command::new("sh");
        busy.args([
            "-c",
            "i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; exec sleep 60",
        ]);
        let process = Process::start(&mut busy).unwrap();
        wait_for("CPU time", || {
            Ok((process.cpu_ns()? > 1_000_000).then_some(()))
        })
        .unwrap();
        process.quiet("the shell").unwrap();
        let before = process.cpu_ns().unwrap();
        let usage = process.stop().unwrap();
        assert!(usage.cpu_ns >= before / 2, "{usage:?} {before}");
        assert_eq!(usage.status & 0x7f, libc::SIGINT);
        assert!(usage.most_resident > 100_000);
    }

    #[test]
    fn the_state_stands_behind_any_name() {
        assert_eq!(state("12 (a ) R (b) S 1 12"), Some('S'));
        assert_eq!(state(""), None);
    }

    #[test]
    fn buffers_shared_with_the_kernel_are_not_the_processs() {
        let smaps = "00400000-00401000 r-xp 00000000 fe:00 1   /usr/bin/tool\n\
            Size:  4 kB\nRss:  8 kB\n\
            7f00-7f01 rw-s 00000000 00:0f 9   anon_inode:bpf-map\nRss:  16384 kB\n\
            7f02-7f03 rw-s 00000000 00:0f 9   anon_inode:[perf_event]\nRss:  64 kB\n\
            7f04-7f05 rw-p 00000000 00:00 0 \nRss:  2 kB\nPss:  1 kB\n";
        assert_eq!(resident(smaps), 10 * 1024);
    }

    #[test]
    fn what_has_not_ended_is_killed_with_its_value() {
        let process = Process::start(Command::new("sleep").arg("60")).unwrap();
        let pid = process.raw().unwrap();
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
