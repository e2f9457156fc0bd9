//! Names of code that no file has: made at run time, or the kernel's.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
};

use super::{Frame, perf_map::PerfMap, system};
use crate::unwind::{ProcessDirectory, ProcessKey};

/// A greater file of names is not read; a large Java program has 10 MiB.
const MAX_MAP: u64 = 64 << 20;

/// Perf maps that were read, or why they could not be.
#[derive(Debug, Default)]
pub(super) struct JitNames {
    maps: HashMap<ProcessKey, Result<PerfMap, String>>,
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
        let map = self.maps.entry(process);
        match map.or_insert_with(|| read(process)) {
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

fn read(process: ProcessKey) -> Result<PerfMap, String> {
    let directory = ProcessDirectory::open(process)
        .map_err(|_gone| "code made at run time, and its process is gone".to_owned())?;
    let pid = directory.own_pid().unwrap_or(process.pid);
    let path = format!("/tmp/perf-{pid}.map");
    let file = directory.open_in_root(&path);
    let bytes = file.and_then(|file| trusted(file, &directory));
    match bytes {
        Ok(bytes) => Ok(PerfMap::parse(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "code made at run time, and the program has not written {path}"
        )),
        Err(error) => Err(format!("code made at run time, and {path}: {error}")),
    }
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
