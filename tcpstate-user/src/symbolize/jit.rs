//! Names of code that no file has: made at run time, or the kernel's.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

use super::{Frame, perf_map::PerfMap, runtime::Runtime, system};
use crate::unwind::{ProcessDirectory, ProcessKey};

/// A greater file of names is not read; a large Java program has 10 MiB.
const MAX_MAP: u64 = 64 << 20;

/// A map that has changed is read again, but not for more than a hundredth of
/// the time: Node adds to it all the time.
const OF_THE_TIME: u32 = 100;

/// Perf maps that were read, or why they could not be.
#[derive(Debug, Default)]
pub(super) struct JitNames {
    known: HashMap<ProcessKey, Known>,
}

#[derive(Debug)]
struct Known {
    map: Result<PerfMap, String>,
    runtime: Option<Runtime>,
    version: Option<Version>,
    read_at: Instant,
    reading_took: Duration,
}

/// What tells a file from what it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl JitNames {
    /// What lies at an address in the memory of a process.
    pub(super) fn frame(&mut self, process: ProcessKey, address: u64, mapping: &OsStr) -> Frame {
        let name = mapping.to_string_lossy();
        let mut frame = Frame {
            module: (!name.is_empty()).then(|| name.clone().into_owned()),
            offset: Some(address),
            ..Frame::default()
        };
        if name.starts_with("[v") {
            frame.reason = Some("the kernel's own code".to_owned());
            frame.system = true;
            return frame;
        }
        frame.jit = true;
        match &self.of(process).map {
            Ok(map) => match map.find(address) {
                Some(name) => set_name(&mut frame, &name),
                None => {
                    frame.reason = Some(lacks(map.unreadable));
                }
            },
            Err(reason) => frame.reason = Some(reason.clone()),
        }
        frame.system = system::is_system(&frame);
        frame
    }

    /// What runs the program of a process in which there is such code.
    pub(super) fn runtime(&mut self, process: ProcessKey) -> Option<Runtime> {
        self.of(process).runtime
    }

    /// Forgets maps that have been written since they were read; whether there
    /// were any. (A program may be told to write one when the report has said
    /// how.)
    pub(super) fn forget_changed(&mut self) -> bool {
        let before = self.known.len();
        self.known.retain(|key, known| !known.has_changed(*key));
        self.known.len() < before
    }

    fn of(&mut self, process: ProcessKey) -> &Known {
        let known = self.known.entry(process);
        known.or_insert_with(|| Known::read(process))
    }
}

impl Known {
    fn read(process: ProcessKey) -> Self {
        let began = Instant::now();
        let (runtime, version, map) = match ProcessDirectory::open(process) {
            Ok(directory) => {
                let read_all = |name| directory.read(name).unwrap_or_default();
                let runtime = Runtime::of(&read_all("maps"), &read_all("cmdline"));
                let (version, map) = read(&directory, process.pid);
                (runtime, version, map)
            }
            Err(_gone) => {
                let gone = "code made at run time, and its process is gone";
                (None, None, Err(gone.to_owned()))
            }
        };
        Self {
            map,
            runtime,
            version,
            read_at: began,
            reading_took: began.elapsed(),
        }
    }

    fn has_changed(&self, process: ProcessKey) -> bool {
        if self.read_at.elapsed() < self.reading_took * OF_THE_TIME {
            return false;
        }
        // Of a process that is gone, what was read is what there is.
        let Ok(directory) = ProcessDirectory::open(process) else {
            return false;
        };
        let opened = directory.open_in_root(path(&directory, process.pid));
        let about = opened.and_then(|file| file.metadata());
        about.is_ok_and(|about| Some(version(&about)) != self.version)
    }
}

fn version(about: &Metadata) -> Version {
    Version {
        inode: about.ino(),
        size: about.size(),
        modified: (about.mtime(), about.mtime_nsec()),
    }
}

/// Where a program writes it, by the number that it knows itself by.
fn path(directory: &ProcessDirectory, pid: u32) -> String {
    format!("/tmp/perf-{}.map", directory.own_pid().unwrap_or(pid))
}

fn lacks(unreadable: usize) -> String {
    let lacks = "code made at run time that the program's perf map lacks";
    if unreadable == 0 {
        lacks.to_owned()
    } else {
        format!("{lacks}, of which {unreadable} lines cannot be read")
    }
}

/// Python writes `py::FUNCTION:FILE`.
fn set_name(frame: &mut Frame, name: &str) {
    let python = name
        .strip_prefix("py::")
        .and_then(|name| name.split_once(':'));
    if let Some((function, file)) = python {
        frame.function = Some(function.to_owned());
        frame.file = Some(file.to_owned());
    } else {
        frame.function = Some(name.to_owned());
    }
}

fn read(directory: &ProcessDirectory, pid: u32) -> (Option<Version>, Result<PerfMap, String>) {
    let path = path(directory, pid);
    let opened = directory.open_in_root(&path);
    let about = opened.as_ref().ok().and_then(|file| file.metadata().ok());
    let map = match opened.and_then(|file| trusted(file, directory)) {
        Ok(bytes) => Ok(PerfMap::parse(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "code made at run time, and the program has not written {path}"
        )),
        Err(error) => Err(format!("code made at run time, and {path}: {error}")),
    };
    (about.as_ref().map(version), map)
}

/// Anybody may put a file into `/tmp`; the process's own or root's is believed.
fn trusted(file: File, directory: &ProcessDirectory) -> io::Result<Vec<u8>> {
    let about = file.metadata()?;
    let owner = directory.open_file("status")?.metadata()?.uid();
    if !about.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if about.uid() != owner && about.uid() != 0 {
        return Err(io::Error::other("written by another user"));
    }
    let mut bytes = Vec::new();
    if file.take(MAX_MAP).read_to_end(&mut bytes)? as u64 == MAX_MAP {
        return Err(io::Error::other("too large"));
    }
    Ok(bytes)
}
