//! Processes and threads of a test: forked, busy, named.

use std::{
    cell::Cell,
    ffi::CString,
    fs,
    process::{Child, Command, Stdio},
};

use rustix::{
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
    thread::{UnshareFlags, set_name, unshare_unsafe},
};

thread_local! {
    static OWN_FILES: Cell<bool> = const { Cell::new(false) };
}

/// Gives the calling test thread a descriptor table of its own, once.
///
/// Tests run as threads of one process. When one of them forks, the child has
/// a copy of every descriptor until it executes a program or exits, and a
/// socket that another test closes meanwhile would stay open: its FIN would
/// leave late, at a time which that test did not measure.
pub(crate) fn own_files() {
    if OWN_FILES.replace(true) {
        return;
    }
    // SAFETY: the thread has opened nothing yet that another thread would
    // miss: every helper that opens something calls this first.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }.unwrap();
}

/// A forked child, which is waited for.
pub(crate) struct Forked(Pid);

/// Forks; the child runs `work` and exits.
///
/// `work` may only make system calls: another thread may have held the
/// allocator's lock at the fork.
pub(crate) fn fork(work: impl FnOnce()) -> Forked {
    own_files();
    // SAFETY: the child makes system calls only, and leaves by _exit, which
    // runs no handler of the parent's.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            work();
            // SAFETY: always sound.
            unsafe { libc::_exit(0) }
        }
        pid => Forked(Pid::from_raw(pid).unwrap()),
    }
}

impl Forked {
    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.0.as_raw_pid()).unwrap()
    }

    /// Waits until it has exited, and demands that it did so in peace.
    pub(crate) fn wait(self) {
        let (_, status) = waitpid(Some(self.0), WaitOptions::empty())
            .unwrap()
            .unwrap();
        assert_eq!(status.exit_status(), Some(0), "the forked child failed");
        std::mem::forget(self);
    }
}

impl Drop for Forked {
    /// A test that failed leaves no child behind.
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
        let _ = waitpid(Some(self.0), WaitOptions::empty());
    }
}

/// A program that ends with the value.
pub(crate) struct Running(pub Child);

impl Running {
    /// Starts it, without input and output.
    pub(crate) fn start(command: &mut Command) -> Self {
        own_files();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// A process that does nothing but use a CPU.
    pub(crate) fn busy() -> Self {
        Self::start(Command::new("sh").args(["-c", "while :; do :; done"]))
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a needed program printed; panics with what to install without it.
pub(crate) fn output(program: &str, package: &str, arguments: &[&str]) -> String {
    own_files();
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| missing(program, package, &error));
    assert!(
        done.status.success(),
        "{program} {arguments:?}: {}: {}",
        done.status,
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

/// The end of a test that lacks a program.
pub(crate) fn missing(program: &str, package: &str, error: &std::io::Error) -> ! {
    panic!("{program}: {error}: this test needs it; apt-get install {package}")
}

/// This process, as the tool should name it.
pub(crate) fn own_pid() -> u32 {
    std::process::id()
}

/// The calling thread's name.
pub(crate) fn own_comm() -> String {
    let comm = fs::read_to_string("/proc/thread-self/comm").unwrap();
    comm.trim_end_matches('\n').to_owned()
}

/// Renames the calling thread; the kernel keeps 15 bytes, of any value but 0.
pub(crate) fn rename(name: &[u8]) {
    set_name(&CString::new(name).unwrap()).unwrap();
}
