//! The kernel's own TCP counters of one network namespace, read as often as asked.
//!
//! What a number means is told beside its name ([`Counter`], [`Gauge`]); what
//! to make of two readings is `health`'s business. It knows no events.
//!
//! The files are found once, by a thread that enters the namespace and ends. What
//! is kept is where they are (`O_PATH`), not an open file: an open one would keep
//! the namespace, its interfaces and routes alive after everybody has left it
//! (`get_proc_net`,
//! <https://github.com/torvalds/linux/blob/v6.12/fs/proc/proc_net.c#L34-L37>).
//! Opening such a place again fails once the namespace has gone.

mod reading;
mod text;

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fd::{AsFd as _, AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags, fstat, open},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

pub use reading::{Absent, Counter, Gauge, Reading, Value};

use crate::{decode::KtimeNs, seed, source::clock::ktime_now};

/// Every file that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Snmp,
    Netstat,
    Sockstat,
    MaxTimeWait,
    MaxOrphans,
    Memory,
}

const SOURCES: usize = 6;

impl Source {
    const ALL: [Self; SOURCES] = [
        Self::Snmp,
        Self::Netstat,
        Self::Sockstat,
        Self::MaxTimeWait,
        Self::MaxOrphans,
        Self::Memory,
    ];

    const fn path(self) -> &'static str {
        match self {
            Self::Snmp => "/proc/thread-self/net/snmp",
            Self::Netstat => "/proc/thread-self/net/netstat",
            Self::Sockstat => "/proc/thread-self/net/sockstat",
            Self::MaxTimeWait => "/proc/sys/net/ipv4/tcp_max_tw_buckets",
            Self::MaxOrphans => "/proc/sys/net/ipv4/tcp_max_orphans",
            Self::Memory => "/proc/sys/net/ipv4/tcp_mem",
        }
    }

    /// One for the whole host, which only its first namespace shows
    /// (`ipv4_table` in
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/sysctl_net_ipv4.c#L484-L511>).
    const fn is_of_host(self) -> bool {
        matches!(self, Self::MaxOrphans | Self::Memory)
    }
}

/// Which network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one of this process.
    Own,
    /// That of a file, such as `/run/netns/NAME`.
    File(PathBuf),
    /// One that a process is in, or that is mounted somewhere.
    Inode(u32),
}

/// Where the counters of a namespace are.
#[derive(Debug)]
pub struct Counters {
    places: [Result<OwnedFd, Absent>; SOURCES],
}

impl Counters {
    /// Finds the files of a namespace.
    ///
    /// # Errors
    ///
    /// When the namespace cannot be found. A single file that is not there, or a
    /// namespace that may not be entered, is no error: what it would tell is absent from every reading.
    pub fn open(wanted: &Wanted) -> io::Result<Self> {
        thread::scope(|scope| {
            let find = || {
                // A thread in another namespace has other sysctls.
                let of_host = Source::ALL.map(|it| it.is_of_host().then(|| place(it)));
                let denied = enter(wanted)?;
                let of_namespace = |source| match denied {
                    Some(errno) => Err(Absent::Unreadable(errno)),
                    None => place(source),
                };
                let mut places = of_host.into_iter().zip(Source::ALL);
                Ok(Self {
                    places: std::array::from_fn(|_| match places.next() {
                        Some((Some(found), _)) => found,
                        Some((None, source)) => of_namespace(source),
                        None => Err(Absent::NoField),
                    }),
                })
            };
            let thread = thread::Builder::new()
                .name("tcpstate-net".to_owned())
                .spawn_scoped(scope, find)?;
            let panicked = |_panic| io::Error::other("the thread that looks for it panicked");
            thread.join().map_err(panicked)?
        })
    }

    /// Reads all of them. The time is the middle of the reading of the counters.
    #[must_use]
    pub fn read(&self) -> Reading {
        let before = ktime_now();
        let snmp = self.text(Source::Snmp);
        let netstat = self.text(Source::Netstat);
        let middle = KtimeNs(before.0 + ktime_now().since(before) / 2);
        let mut reading = Reading::absent(middle, Absent::NoField);
        for counter in Counter::ALL {
            let text = match counter.group() {
                "Tcp" => &snmp,
                _ => &netstat,
            };
            let value = |text: &String| text::paired(text, counter.group(), counter.kernel());
            reading.set_counter(counter, text.as_ref().map_err(|why| *why).and_then(value));
        }
        let sockstat = self.text(Source::Sockstat);
        let memory = self.text(Source::Memory);
        let one = |text: Result<String, Absent>| text::number(&text?, 0);
        for gauge in Gauge::ALL {
            let told = |text: &Result<String, Absent>, name| {
                text::named(text.as_ref().map_err(|why| *why)?, "TCP", name)
            };
            let value = match gauge {
                Gauge::Established => match &snmp {
                    Ok(snmp) => text::paired(snmp, "Tcp", "CurrEstab"),
                    Err(why) => Err(*why),
                },
                Gauge::Orphans => told(&sockstat, "orphan"),
                Gauge::TimeWait => told(&sockstat, "tw"),
                Gauge::Allocated => told(&sockstat, "alloc"),
                Gauge::MemoryPages => told(&sockstat, "mem"),
                Gauge::MaxTimeWait => one(self.text(Source::MaxTimeWait)),
                Gauge::MaxOrphans => one(self.text(Source::MaxOrphans)),
                Gauge::PressurePages => match &memory {
                    Ok(memory) => text::number(memory, 1),
                    Err(why) => Err(*why),
                },
            };
            reading.set_gauge(gauge, value);
        }
        reading
    }

    fn text(&self, source: Source) -> Result<String, Absent> {
        let found = Source::ALL.iter().position(|it| *it == source);
        let place = found.map_or(Err(Absent::NoField), |at| match &self.places[at] {
            Ok(place) => Ok(place),
            Err(why) => Err(*why),
        })?;
        contents(place).map_err(|error| match error.raw_os_error() {
            // The file was there once: its namespace is not any more.
            Some(libc::ENOENT | libc::ENXIO | libc::ESTALE) => Absent::Gone,
            errno => Absent::Unreadable(errno.unwrap_or(libc::EIO)),
        })
    }
}

/// Leads the calling thread into the namespace. Gives the `errno` where it may not:
/// events need another privilege than that, and can be told all the same.
fn enter(wanted: &Wanted) -> io::Result<Option<i32>> {
    let file = match wanted {
        Wanted::Own => return Ok(None),
        Wanted::File(path) => open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?,
        Wanted::Inode(inode) => {
            let own = fstat(File::open("/proc/thread-self/ns/net")?)?.st_ino;
            if own == u64::from(*inode) {
                return Ok(None);
            }
            match seed::network_namespace(u64::from(*inode)) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Ok(error.raw_os_error());
                }
                found => found?,
            }
        }
    };
    match move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)) {
        Ok(()) => Ok(None),
        Err(errno @ (Errno::PERM | Errno::ACCESS)) => Ok(Some(errno.raw_os_error())),
        Err(other) => Err(other.into()),
    }
}

fn place(source: Source) -> Result<OwnedFd, Absent> {
    let path = Path::new(source.path());
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| match errno {
        Errno::NOENT => Absent::NoField,
        other => Absent::Unreadable(other.raw_os_error()),
    })
}

fn contents(place: &OwnedFd) -> io::Result<String> {
    let path = format!("/proc/thread-self/fd/{}", place.as_raw_fd());
    let mut bytes = Vec::with_capacity(8 << 10);
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
