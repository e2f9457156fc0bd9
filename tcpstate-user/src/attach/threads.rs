//! Walks over the threads of one process by the `iter.s/task` program.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
    programs::ProgramError,
};

use super::{bpf, candidates::THREADS};

/// Name of the array with the process whose threads are walked over.
const WATCHED: &str = "WATCHED";

/// The loaded `iter.s/task` program.
pub struct ThreadWalker {
    program: OwnedFd,
    watched: Array<MapData, u32>,
}

impl fmt::Debug for ThreadWalker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadWalker")
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}

impl ThreadWalker {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, ProgramError> {
        let program = ebpf.program(THREADS).ok_or(ProgramError::NotLoaded)?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let map = ebpf.take_map(WATCHED).ok_or(ProgramError::NotLoaded)?;
        let watched = Array::try_from(map)?;
        Ok(Self { program, watched })
    }

    /// Opens a walk over the threads of a process. The file gives whole
    /// [`Thread`] records and nothing else, until another walk is opened.
    ///
    /// Before Linux 6.1 the kernel walks over all tasks, and the program picks.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    ///
    /// [`Thread`]: tcpstate_common::record::Thread
    pub fn open(&mut self, pid: u32) -> io::Result<File> {
        let set = self.watched.set(0, pid, 0);
        set.map_err(|error: MapError| io::Error::other(error))?;
        let program = self.program.as_fd();
        let link = bpf::link_iterator(program, Some(pid))
            .or_else(|_unknown| bpf::link_iterator(program, None))?;
        bpf::create_iterator(link.as_fd()).map(File::from)
    }
}
