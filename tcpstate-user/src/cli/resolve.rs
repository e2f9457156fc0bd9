//! What a filter names, looked up on this host: processes and network
//! namespaces.

use std::{
    fmt, fs,
    fs::File,
    io,
    os::{fd::AsRawFd, linux::fs::MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Filter, FilterSpec, Leaks, Netns, Record, Trace, Watch, filter::Connections};

/// `NSFS_MAGIC`: <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/magic.h#L86>
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Why a filter cannot be used here. A usage error.
#[derive(Debug)]
pub enum ResolveError {
    /// No process has this id.
    NoProcess(u32),
    /// It is the id of a thread.
    Thread {
        /// What was given.
        tid: u32,
        /// The process it belongs to.
        pid: u32,
    },
    /// The namespace's file cannot be opened.
    NoNetns(PathBuf, io::Error),
    /// The file is no network namespace.
    NotNetns(PathBuf),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProcess(pid) => {
                write!(f, "no process {pid}: -p takes ids of running processes")
            }
            Self::Thread { tid, pid } => write!(f, "{tid} is a thread: use -p {pid}"),
            Self::NoNetns(path, why) => write!(
                f,
                "--netns: {}: {why}: give an inode number, a name of `ip netns`, a path or self",
                path.display()
            ),
            Self::NotNetns(path) => write!(
                f,
                "--netns: {} is no network namespace: give a file such as /proc/PID/ns/net",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ResolveError {}

impl Trace {
    /// The filter with everything looked up, as [`Watch::resolve`] does.
    ///
    /// # Errors
    ///
    /// When a process or namespace is not there.
    pub fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        let nanos = |dwell: Duration| u64::try_from(dwell.as_nanos()).unwrap_or(u64::MAX);
        Ok(FilterSpec {
            states: self.lines.states.clone(),
            min_dwell_ns: self.lines.min_dwell.map(nanos),
            ..self.watch.resolve()?
        })
    }
}

impl Watch {
    /// The filter with everything looked up. Processes of a replay need not
    /// exist any more.
    ///
    /// # Errors
    ///
    /// When a process or namespace is not there.
    pub fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        if self.replay.is_none() {
            self.filter.pids.iter().try_for_each(|&pid| running(pid))?;
        }
        self.filter.resolve()
    }
}

impl Leaks {
    /// The filter with everything looked up.
    ///
    /// # Errors
    ///
    /// When a process or namespace is not there.
    pub fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        self.filter.pids.iter().try_for_each(|&pid| running(pid))?;
        self.filter.resolve()
    }
}

impl Record {
    /// The filter with everything looked up.
    ///
    /// # Errors
    ///
    /// When a namespace is not there.
    pub fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        self.filter.resolve()
    }
}

impl Filter {
    /// Plain data, with the namespace looked up.
    ///
    /// # Errors
    ///
    /// When the namespace is not there.
    pub fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        Ok(FilterSpec {
            pids: self.pids.clone(),
            comms: self.comms.clone(),
            ..self.connections.resolve()?
        })
    }
}

impl Connections {
    fn resolve(&self) -> Result<FilterSpec, ResolveError> {
        Ok(FilterSpec {
            lports: self.lports.clone(),
            rports: self.rports.clone(),
            lnets: self.lnets.clone(),
            rnets: self.rnets.clone(),
            family: self.family(),
            netns: self.netns.as_ref().map(inode_of).transpose()?,
            ..FilterSpec::default()
        })
    }
}

/// Whether `pid` is a process. `/proc` also answers for the id of a thread,
/// which a socket's origin never has.
fn running(pid: u32) -> Result<(), ResolveError> {
    let missing = |_gone| ResolveError::NoProcess(pid);
    let status = fs::read(format!("/proc/{pid}/status")).map_err(missing)?;
    match thread_group(&status) {
        Some(group) if group != pid => Err(ResolveError::Thread {
            tid: pid,
            pid: group,
        }),
        _ => Ok(()),
    }
}

fn thread_group(status: &[u8]) -> Option<u32> {
    let status = String::from_utf8_lossy(status);
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}

fn inode_of(netns: &Netns) -> Result<u32, ResolveError> {
    match netns {
        Netns::Inode(inode) => Ok(*inode),
        Netns::Own => inode_of_file(Path::new("/proc/self/ns/net")),
        Netns::Name(name) => inode_of_file(&Path::new("/run/netns").join(name)),
        Netns::Path(path) => inode_of_file(path),
    }
}

fn inode_of_file(path: &Path) -> Result<u32, ResolveError> {
    let not_there = |why: io::Error| ResolveError::NoNetns(path.to_owned(), why);
    let not_netns = || ResolveError::NotNetns(path.to_owned());
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let found = rustix::fs::statfs(path).map_err(|errno| not_there(errno.into()))?;
    if found.f_type != NSFS_MAGIC {
        return Err(not_netns());
    }
    let file = File::open(path).map_err(not_there)?;
    if namespace_type(&file) != libc::CLONE_NEWNET {
        return Err(not_netns());
    }
    let inode = file.metadata().map_err(not_there)?.st_ino();
    u32::try_from(inode).map_err(|_too_big| not_netns())
}

/// `CLONE_NEW*` of a namespace file, -1 when the kernel does not say.
fn namespace_type(file: &File) -> libc::c_int {
    // SAFETY: NS_GET_NSTYPE (ioctl_ns(2)) takes no argument and touches no
    // memory of this process; the descriptor is open as long as `file` lives.
    unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) }
}
