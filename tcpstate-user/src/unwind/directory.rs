//! `/proc/PID`, held open: whatever is read through it is that process's, also
//! when its id is used again.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat, openat2};

use super::processes::ProcessKey;

/// A process, as the files below `/proc` show it.
#[derive(Debug)]
pub(crate) struct ProcessDirectory(OwnedFd);

/// A device or a pipe must not hold us up.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl ProcessDirectory {
    /// Opens that of a process; an error when it is gone, or another has its id.
    pub(crate) fn open(key: ProcessKey) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(format!("/proc/{}", key.pid), flags, Mode::empty())?;
        let opened = Self(directory);
        if opened.started_at(key.start_boottime)? {
            Ok(opened)
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// Opens a file in it.
    pub(crate) fn open_file(&self, name: impl rustix::path::Arg) -> io::Result<File> {
        Ok(openat(&self.0, name, READ, Mode::empty())?.into())
    }

    /// All of a file in it.
    pub(crate) fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open_file(name)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file that has this path for the process itself. Links lead where
    /// they lead for the process, and never out of its root.
    pub(crate) fn open_in_root(&self, path: impl rustix::path::Arg) -> io::Result<File> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(&self.0, "root", flags, Mode::empty())?;
        let stay = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(root, path, READ, Mode::empty(), stay)?.into())
    }

    /// The number by which the process knows itself.
    pub(crate) fn own_pid(&self) -> Option<u32> {
        let status = self.read("status").ok()?;
        let line = status
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"NSpid:"))?;
        let last = std::str::from_utf8(line).ok()?.split_whitespace().last()?;
        last.parse().ok()
    }

    /// Whether the process started then, as far as `/proc` tells: by ticks of
    /// 10 ms (`USER_HZ`, which is 100 wherever stacks are captured).
    fn started_at(&self, start_boottime: u64) -> io::Result<bool> {
        const TICK_NS: u64 = 10_000_000;
        let stat = self.read("stat")?;
        // The name, in parentheses, may hold anything.
        let behind_name = stat.iter().rposition(|byte| *byte == b')');
        let fields = stat.get(behind_name.unwrap_or(0)..).unwrap_or_default();
        let started = fields.split(|byte| *byte == b' ').nth(20);
        let started = started.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        Ok(started.is_none_or(|started: u64| started == start_boottime / TICK_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(start_boottime: u64) -> ProcessKey {
        ProcessKey {
            pid: std::process::id(),
            start_boottime,
            mm: 0,
        }
    }

    #[test]
    fn another_process_with_the_same_id_is_refused() {
        let gone = ProcessDirectory::open(key(1)).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_process_is_read() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        let ticks: u64 = fields.split(' ').nth(20).unwrap().parse().unwrap();
        let me = ProcessDirectory::open(key(ticks * 10_000_000 + 123)).unwrap();
        assert!(me.own_pid().is_some());
        assert!(!me.read("maps").unwrap().is_empty());
        assert!(me.open_in_root("/proc/self/../../etc/passwd").is_ok());
        assert!(me.open_in_root("/etc/no such file").is_err());
    }
}
