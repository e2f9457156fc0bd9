//! What the threads of a process are doing at this moment.
//!
//! Read, not stopped: each line is true of its thread alone.

use std::{fs, path::Path};

use super::scan::{number, socket};

/// At most this many threads of a process are looked at.
const MOST: usize = 10_000;

/// A thread, and where it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thread {
    /// Thread id.
    pub tid: u32,
    /// Its name: any bytes.
    pub comm: Vec<u8>,
    /// The kernel function in which it sleeps; `None` when it runs, or the
    /// kernel does not tell: x86-64 before Linux 5.16 does not, unless it was
    /// built with frame pointers.
    pub wait_channel: Option<String>,
    /// The descriptor that its system call is about, when that call is about one.
    pub fd: Option<u32>,
    /// Inode number of the socket behind `fd`, when it is one.
    pub socket: Option<u64>,
    /// Its user stack and instruction pointer; `None` when it runs, or the kernel
    /// does not tell.
    pub at: Option<(u64, u64)>,
}

/// The threads of `pid`, by thread id, and how many more there are; none when it
/// has gone.
#[must_use]
pub fn threads(pid: u32) -> (Vec<Thread>, usize) {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let Ok(entries) = fs::read_dir(tasks) else {
        return (Vec::new(), 0);
    };
    let mut entries = entries.filter_map(Result::ok);
    let mut threads: Vec<_> = entries
        .by_ref()
        .take(MOST)
        .filter_map(|task| {
            let tid = number(task.file_name().as_encoded_bytes())?;
            thread(&task.path(), tid)
        })
        .collect();
    threads.sort_unstable();
    (threads, entries.count())
}

fn thread(directory: &Path, tid: u32) -> Option<Thread> {
    let comm = fs::read(directory.join("comm")).ok()?;
    let channel = fs::read_to_string(directory.join("wchan")).unwrap_or_default();
    let call = fs::read_to_string(directory.join("syscall")).unwrap_or_default();
    let fd = descriptor(&call);
    let link = fd.and_then(|fd| fs::read_link(directory.join("fd").join(fd.to_string())).ok());
    let target = link.map(|link| socket(link.as_os_str().as_encoded_bytes()));
    Some(Thread {
        tid,
        comm: comm.strip_suffix(b"\n").unwrap_or(&comm).to_vec(),
        wait_channel: (!matches!(channel.as_str(), "" | "0")).then_some(channel),
        fd,
        socket: target.flatten(),
        at: pointers(&call),
    })
}

/// The last two words of the line that [`descriptor`] describes.
fn pointers(call: &str) -> Option<(u64, u64)> {
    let mut words = call.split_ascii_whitespace();
    let mut last = || u64::from_str_radix(words.next_back()?.strip_prefix("0x")?, 16).ok();
    let ip = last()?;
    Some((last()?, ip))
}

/// The first argument of the system call in which a thread is, if that is a
/// descriptor from which or to which it moves data. The line has the number of
/// the call, six arguments, stack and instruction pointer, or a word instead
/// (`proc_pid_syscall(5)`).
fn descriptor(call: &str) -> Option<u32> {
    let mut words = call.split_ascii_whitespace();
    let number: libc::c_long = words.next()?.parse().ok()?;
    let moves_data = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_connect,
        libc::SYS_accept,
        libc::SYS_accept4,
    ]
    .contains(&number);
    let argument = words.next()?.strip_prefix("0x")?;
    let fd = u64::from_str_radix(argument, 16).ok()?;
    moves_data.then(|| u32::try_from(fd).ok())?
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::fd::AsRawFd, thread};

    use super::*;

    #[test]
    fn a_call_is_about_a_descriptor_only_when_it_moves_data() {
        let read = format!("{} 0x69 0x7f 0x10 0 0 0 0x7ffd 0x7f01", libc::SYS_read);
        let futex = format!("{} 0x69 0x80 0x0 0 0 0 0x7ffd 0x7f01", libc::SYS_futex);
        assert_eq!(descriptor(&read), Some(105));
        for other in [futex.as_str(), "running", "-1 0x7ffd 0x7f01", ""] {
            assert_eq!(descriptor(other), None, "{other}");
        }
        assert_eq!(pointers(&futex), Some((0x7ffd, 0x7f01)));
        assert_eq!(pointers("-1 0x7ffd 0x7f01"), Some((0x7ffd, 0x7f01)));
        for none in ["running", "-1", ""] {
            assert_eq!(pointers(none), None, "{none}");
        }
    }

    #[test]
    fn a_thread_that_accepts_shows_its_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
        let address = listener.local_addr().unwrap();
        let fd = listener.as_raw_fd().cast_unsigned();
        let waiting = thread::spawn(move || listener.accept().map(|_| ()));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let found = loop {
            let (all, more) = threads(std::process::id());
            assert_eq!(more, 0);
            let mut accepting = all.into_iter().filter(|it| it.socket == Some(inode));
            if let Some(thread) = accepting.next() {
                break thread;
            }
            assert!(std::time::Instant::now() < deadline, "no thread accepts");
            thread::yield_now();
        };
        assert_eq!(found.fd, Some(fd));
        std::net::TcpStream::connect(address).unwrap();
        waiting.join().unwrap().unwrap();
    }
}
