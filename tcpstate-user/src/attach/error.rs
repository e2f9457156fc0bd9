//! Why a session could not be opened, and what to do about it.

use std::{fmt, io};

use aya::{EbpfError, maps::MapError};

use super::{loader::EVENTS, trial::errno};

/// Why a session could not be opened. Printed, it is one line that says what
/// to do.
#[derive(Debug)]
pub enum AttachError {
    /// This process may not load BPF programs.
    NoPrivilege,
    /// The kernel does not describe its types.
    NoBtf,
    /// The kernel does not tell of state changes.
    NoTracepoint(String),
    /// There is no memory for the ring buffer.
    Ring {
        /// Size asked for.
        bytes: u32,
        /// What the kernel said.
        error: io::Error,
    },
    /// Anything else.
    Other(String),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrivilege => f.write_str(
                "not permitted to load BPF programs: run with sudo (or as root), \
                 or give it the capabilities CAP_BPF and CAP_PERFMON",
            ),
            Self::NoBtf => f.write_str(
                "the kernel does not describe its types (no /sys/kernel/btf/vmlinux): \
                 boot one that was built with CONFIG_DEBUG_INFO_BTF=y",
            ),
            Self::NoTracepoint(reason) => write!(
                f,
                "cannot watch TCP state changes (raw_tp inet_sock_set_state): {reason}: \
                 boot Linux 5.10 or later, built with CONFIG_BPF_EVENTS=y"
            ),
            Self::Ring { bytes, error } => write!(
                f,
                "cannot allocate a ring buffer of {} KiB: {error}: \
                 ask for a smaller one, or raise the memory limit (ulimit -l)",
                bytes / 1024
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for AttachError {}

impl AttachError {
    /// What it means that the object could not be loaded.
    pub(super) fn from_load(error: EbpfError, ring_bytes: u32) -> Self {
        match error {
            // Before Linux 5.11 a locked-memory limit refuses with EPERM.
            EbpfError::MapError(MapError::CreateError { name, io_error }) if name == EVENTS => {
                Self::Ring {
                    bytes: ring_bytes,
                    error: io_error,
                }
            }
            error if errno(&error) == Some(libc::EPERM) => Self::NoPrivilege,
            error => Self::Other(format!(
                "cannot load the BPF programs: {:#}",
                anyhow::Error::new(error)
            )),
        }
    }
}
