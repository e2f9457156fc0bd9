//! Walks over the TCP socket tables by the `iter/tcp` program.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

use aya::{Ebpf, programs::ProgramError};

use super::{bpf, candidates::WALK};

/// The loaded `iter/tcp` program. It goes to whichever thread walks, because
/// a walk sees the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Walker {
    program: OwnedFd,
}

impl Walker {
    pub(super) fn new(ebpf: &Ebpf) -> Result<Self, ProgramError> {
        let program = ebpf.program(WALK).ok_or(ProgramError::NotLoaded)?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        Ok(Self { program })
    }

    /// Opens a walk over the network namespace of the calling thread. The file
    /// gives whole [`Snapshot`] records and nothing else.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    ///
    /// [`Snapshot`]: tcpstate_common::record::Snapshot
    pub fn open(&mut self) -> io::Result<File> {
        let link = bpf::link_iterator(self.program.as_fd(), None)?;
        bpf::create_iterator(link.as_fd()).map(File::from)
    }
}
