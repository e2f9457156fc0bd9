//! The network namespaces of the host, each visited once, as an open file.
//!
//! Found through the processes and threads that are in them, and through the
//! bind mounts (`/run/netns/*` and the like) of every mount namespace that a
//! process is in. A namespace that only a descriptor or a socket keeps alive is
//! not found: the kernel has no list of them.
//!
//! It knows no sockets. Processes come and go meanwhile: one that has gone is
//! no failure.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fd::{AsFd as _, AsRawFd as _, OwnedFd},
    fs::{Mode, OFlags, fstat, open},
};

use super::mountinfo::bind_mount;

/// At most this many are visited; more are a failure. A namespace costs the
/// kernel some 100 KiB, so that few hosts could have as many.
const MOST: usize = 65_536;

/// A network namespace, held open.
pub(super) struct Namespace {
    /// What `setns` takes.
    pub(super) file: OwnedFd,
    /// Its identity, as in `ls -l /proc/PID/ns/net`.
    pub(super) inode: u64,
}

/// A namespace that could not be opened, by inode number (0: not known), and why.
pub(super) type Failure = (u64, String);

/// Calls `visit` once for each network namespace, the calling thread's own
/// first, and returns what could not be opened. `visit` may leave the thread in
/// the namespace: one in which it has been is not missed where a process that
/// may not be looked at is found to be in the same.
pub(super) fn visit(visit: &mut dyn FnMut(Namespace)) -> Vec<Failure> {
    let mut finder = Finder {
        nsfs: 0,
        seen: HashSet::new(),
        mounts: HashSet::new(),
        been: HashSet::new(),
        denied: Vec::new(),
        failed: Vec::new(),
        visit,
    };
    // The visitor relies on being in the first one.
    let result = finder.own().and_then(|()| fs::read_dir("/proc"));
    match result {
        Ok(entries) => numbered(entries).for_each(|process| finder.process(&process)),
        Err(error) => finder.failed.push((0, format!("/proc: {error}"))),
    }
    finder.check_denied();
    finder.failed
}

struct Finder<'a> {
    /// The device of all namespace files; a kernel has one.
    nsfs: u64,
    /// Inode numbers of network namespaces.
    seen: HashSet<u64>,
    /// Inode numbers of mount namespaces whose mounts have been read.
    mounts: HashSet<u64>,
    /// Namespaces in which the thread has been: see [`marker`].
    been: HashSet<u64>,
    /// Processes that may not be looked at.
    denied: Vec<PathBuf>,
    failed: Vec<Failure>,
    visit: &'a mut dyn FnMut(Namespace),
}

impl Finder<'_> {
    fn own(&mut self) -> io::Result<()> {
        let path = Path::new("/proc/thread-self/ns/net");
        self.nsfs = fs::metadata(path)?.dev();
        self.link(path)
    }

    fn process(&mut self, process: &Path) {
        let result = self
            .link(&process.join("ns/net"))
            .and_then(|()| self.mounts_of(process));
        match result {
            // Its threads would be denied just so.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.missed(process, &error);
                return;
            }
            Err(error) => self.missed(process, &error),
            Ok(()) => {}
        }
        self.threads(process);
    }

    /// A thread may be in another namespace than its process (8,000 threads take
    /// 80 ms to look at), and a process
    /// whose first thread has ended is in none.
    fn threads(&mut self, process: &Path) {
        let tasks = process.join("task");
        // Two links and one for each thread (`proc_task_getattr`): saves
        // listing the one thread that most processes are.
        if fs::metadata(&tasks).map_or(0, |tasks| tasks.nlink()) <= 3 {
            return;
        }
        let Ok(entries) = fs::read_dir(&tasks) else {
            return;
        };
        for task in numbered(entries).filter(|task| task.file_name() != process.file_name()) {
            if let Err(error) = self.link(&task.join("ns/net")) {
                self.missed(process, &error);
            }
        }
    }

    /// Visits what a link of `/proc/PID/ns` names. Reading the link is cheaper
    /// than opening it, and nearly always names a namespace seen before.
    fn link(&mut self, path: &Path) -> io::Result<()> {
        let inode = named(fs::read_link(path)?.as_os_str().as_bytes(), "net");
        if inode.is_none_or(|inode| !self.seen.contains(&inode)) {
            let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            self.found(file)?;
        }
        Ok(())
    }

    fn found(&mut self, file: OwnedFd) -> io::Result<()> {
        let inode = fstat(&file)?.st_ino;
        if self.seen.len() == MOST && !self.seen.contains(&inode) {
            self.failed.push((inode, format!("more than {MOST}")));
        } else if self.seen.insert(inode) {
            (self.visit)(Namespace { file, inode });
            self.been.extend(marker(Path::new("/proc/thread-self")));
        }
        Ok(())
    }

    /// The bind mounts that a process sees.
    fn mounts_of(&mut self, process: &Path) -> io::Result<()> {
        let table = fs::read_link(process.join("ns/mnt"))?;
        let table = named(table.as_os_str().as_bytes(), "mnt").unwrap_or(0);
        if self.mounts.contains(&table) {
            return Ok(());
        }
        let text = fs::read(process.join("mountinfo"))?;
        self.mounts.insert(table);
        for (inode, path) in text.split(|&byte| byte == b'\n').filter_map(bind_mount) {
            if self.seen.contains(&inode) {
                continue;
            }
            let path = process.join("root").join(path);
            if let Err(error) = self.bind_mounted(&path, inode) {
                self.failed
                    .push((inode, format!("{}: {error}", path.display())));
            }
        }
        Ok(())
    }

    /// Opens a path that somebody else may have made: without following a last
    /// link, and with `O_PATH` first, which has no effect on what is there (it
    /// might be a device by now).
    fn bind_mounted(&mut self, path: &Path, inode: u64) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = open(path, flags, Mode::empty())?;
        let there = fstat(&place)?;
        if (there.st_dev, there.st_ino) != (self.nsfs, inode) {
            return Err(io::Error::other("hidden by something else"));
        }
        let again = format!("/proc/thread-self/fd/{}", place.as_fd().as_raw_fd());
        let file = open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        self.found(file)
    }

    /// Fails those of the denied processes that have a thread in a namespace
    /// where this thread has not been.
    fn check_denied(&mut self) {
        let been = |task: PathBuf| {
            // A task that has ended meanwhile is in no namespace.
            marker(&task).map_or(!task.exists(), |marker| self.been.contains(&marker))
        };
        let missed = self.denied.iter().filter(|process| {
            fs::read_dir(process.join("task")).is_ok_and(|tasks| !numbered(tasks).all(been))
        });
        let missed = missed.count();
        if missed > 0 {
            let reason = format!("{missed} processes: permission denied");
            self.failed.push((0, reason));
        }
    }

    /// A process that has ended is denied too (`proc_ns_readlink` returns
    /// `-EACCES` when there is no task), so look whether it is still there.
    fn missed(&mut self, process: &Path, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::PermissionDenied if process.exists() => {
                self.denied.push(process.to_owned());
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {}
            _ if !process.exists() => {}
            // mountinfo of a process that has ended but not been waited for.
            io::ErrorKind::InvalidInput => {}
            _ => self
                .failed
                .push((0, format!("{}: {error}", process.display()))),
        }
    }
}

/// A number that only processes of one network namespace share, and that can be
/// read where `ns/net` is denied (a security module, another user): the inode
/// number of a file in `/proc/PID/net`, of which each namespace has its own.
fn marker(process: &Path) -> Option<u64> {
    let file = fs::metadata(process.join("net/dev")).ok()?;
    Some(file.ino())
}

/// The entries whose names are numbers: processes, or threads.
fn numbered(entries: fs::ReadDir) -> impl Iterator<Item = PathBuf> {
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit))
        .map(|entry| entry.path())
}

/// The inode number in `net:[4026531840]`.
pub(super) fn named(link: &[u8], kind: &str) -> Option<u64> {
    let number = link.strip_prefix(kind.as_bytes())?.strip_prefix(b":[")?;
    std::str::from_utf8(number.strip_suffix(b"]")?)
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{named, visit};

    #[test]
    fn a_link_of_another_kind_is_not_a_network_namespace() {
        assert_eq!(named(b"net:[4026531840]", "net"), Some(4_026_531_840));
        assert_eq!(named(b"mnt:[4026531841]", "net"), None);
        assert_eq!(named(b"net:[99999999999999999999999]", "net"), None);
    }

    #[test]
    fn the_own_namespace_is_visited_first_and_none_twice() {
        let mut inodes = Vec::new();
        visit(&mut |namespace| inodes.push(namespace.inode));
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        assert_eq!(own.to_str().unwrap(), format!("net:[{}]", inodes[0]));
        let count = inodes.len();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), count);
    }
}
