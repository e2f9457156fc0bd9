//! The descriptors of all processes, looked through for a set of sockets.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, RawDir, open, readlinkat},
    io::Errno,
};

/// A descriptor for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Descriptor {
    /// Process, in the pid namespace of `/proc`.
    pub pid: u32,
    /// Its number there.
    pub fd: u32,
}

/// Who holds the sockets that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Inode number of a socket to its descriptors, by process and number.
    pub of: HashMap<u64, Vec<Descriptor>>,
    /// Processes whose descriptors could not be looked at.
    pub denied: usize,
}

impl Holders {
    /// The descriptors for the socket with this inode number.
    #[must_use]
    pub fn of(&self, inode: u64) -> &[Descriptor] {
        self.of.get(&inode).map_or(&[], Vec::as_slice)
    }
}

/// Looks for `sockets`, by inode number, in the descriptors of every process.
///
/// # Errors
///
/// When `/proc` cannot be listed.
pub fn scan(sockets: &HashSet<u64>) -> io::Result<Holders> {
    scan_in(Path::new("/proc"), sockets)
}

fn scan_in(proc: &Path, sockets: &HashSet<u64>) -> io::Result<Holders> {
    let mut holders = Holders::default();
    for entry in fs::read_dir(proc)?.filter_map(Result::ok) {
        if let Some(pid) = number(entry.file_name().as_encoded_bytes()) {
            process(&entry.path(), pid, sockets, &mut holders);
        }
    }
    for descriptors in holders.of.values_mut() {
        descriptors.sort_unstable();
    }
    Ok(holders)
}

fn process(directory: &Path, pid: u32, sockets: &HashSet<u64>, holders: &mut Holders) {
    let mut add = |fd, inode| {
        let of = holders.of.entry(inode).or_default();
        of.push(Descriptor { pid, fd });
    };
    match table(&directory.join("fd"), sockets, &mut add) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => holders.denied += 1,
        // A first thread that has ended shows no descriptors; the process's
        // other threads still have the table.
        Ok(0) => {
            for task in tasks(directory, pid) {
                if matches!(table(&task, sockets, &mut add), Ok(1..)) {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// The descriptor tables of a process's other threads.
fn tasks(directory: &Path, pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory.join("task")) else {
        return Vec::new();
    };
    let names = entries.filter_map(Result::ok);
    let others = names.filter(|task| number(task.file_name().as_encoded_bytes()) != Some(pid));
    others.map(|task| task.path().join("fd")).collect()
}

/// Goes through one table; gives the number of descriptors in it.
///
/// The text of the link is what there is to read: `stat` would tell the number
/// in a structure, but can block for ever on a file of a server that is gone.
fn table(path: &Path, sockets: &HashSet<u64>, add: &mut impl FnMut(u32, u64)) -> io::Result<usize> {
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut listed = Vec::with_capacity(1 << 15);
    let mut entries = RawDir::new(&directory, listed.spare_capacity_mut());
    let mut target = Vec::new();
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let Some(fd) = number(entry.file_name().to_bytes()) else {
            continue;
        };
        count += 1;
        let link = match readlinkat(&directory, entry.file_name(), target) {
            Ok(link) => link,
            // Who has CAP_DAC_READ_SEARCH and no CAP_SYS_PTRACE may list them only.
            Err(refused @ (Errno::ACCESS | Errno::PERM)) => return Err(refused.into()),
            // Closed meanwhile: not held.
            Err(_gone) => {
                target = Vec::new();
                continue;
            }
        };
        if let Some(inode) = socket(link.to_bytes())
            && sockets.contains(&inode)
        {
            add(fd, inode);
        }
        target = link.into_bytes();
    }
    Ok(count)
}

/// `socket:[12345]`, as `sockfs_dname` writes it:
/// <https://github.com/torvalds/linux/blob/v6.12/net/socket.c#L375-L379>.
pub(super) fn socket(link: &[u8]) -> Option<u64> {
    number(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::fd::{AsFd, AsRawFd},
    };

    use super::*;

    fn inode(socket: &impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn every_descriptor_of_a_socket_is_found_and_no_other() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let double = socket.try_clone().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let holders = scan(&HashSet::from([inode(&socket)])).unwrap();
        let pid = std::process::id();
        let mut expected = [socket.as_raw_fd(), double.as_raw_fd()].map(|fd| Descriptor {
            pid,
            fd: fd.cast_unsigned(),
        });
        expected.sort_unstable();
        assert_eq!(holders.of(inode(&socket)), expected);
        assert_eq!(holders.of(inode(&other)), []);
    }

    #[test]
    fn only_a_sockets_link_is_a_socket() {
        assert_eq!(socket(b"socket:[4026]"), Some(4026));
        for other in ["socket:[]", "socket:[-1]", "pipe:[4026]", "/socket:[1]", ""] {
            assert_eq!(socket(other.as_bytes()), None, "{other}");
        }
    }
}
