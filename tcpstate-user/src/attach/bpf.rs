//! The few `bpf` commands that aya does not offer as we need them.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use zerocopy::{FromBytes, IntoBytes};

// enum bpf_cmd and enum bpf_attach_type of
// https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_ITER_CREATE: libc::c_long = 33;
const BPF_TRACE_ITER: u32 = 28;

/// Offset of `recursion_misses` in `struct bpf_prog_info`, a stable interface.
const RECURSION_MISSES: usize = 208;

/// How often a program did not run because it was running on that CPU already;
/// 0 before Linux 5.12, which does not count it.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = [0_u8; RECURSION_MISSES + 8];
    let mut attr = Attr {
        fd: number(program),
        info_len: 0,
        info: info.as_mut_ptr().expose_provenance() as u64,
    };
    attr.info_len = u32::try_from(info.len()).unwrap_or(0);
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    // An older kernel knows fewer fields and leaves the rest zero.
    let misses = u64::read_from_suffix(&info);
    Ok(misses.map_or(0, |(_before, misses)| misses))
}

/// A link of an iterator program: the beginning of a walk, over the threads of
/// one process only if there is a `pid`. Before Linux 6.1 the kernel knows nothing
/// of that: it refuses what it does not expect.
pub(super) fn link_iterator(program: BorrowedFd<'_>, pid: Option<u32>) -> io::Result<OwnedFd> {
    /// `union bpf_iter_link_info`, its `task`.
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Tasks {
        tid: u32,
        pid: u32,
        pid_fd: u32,
    }
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        info: u64,
        info_len: u32,
        reserved: u32,
    }
    let tasks = pid.map(|pid| Tasks {
        tid: 0,
        pid,
        pid_fd: 0,
    });
    let info = tasks.as_ref();
    let length = info.map_or(0, size_of_val);
    let mut attr = Attr {
        program: number(program),
        target: 0,
        attach_type: BPF_TRACE_ITER,
        flags: 0,
        info: info.map_or(0, |tasks| (&raw const *tasks).expose_provenance() as u64),
        info_len: u32::try_from(length).unwrap_or(0),
        reserved: 0,
    };
    new_fd(BPF_LINK_CREATE, &mut attr)
}

/// The file from which a walk is read. It belongs to the network namespace of
/// the calling thread.
pub(super) fn create_iterator(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        link: u32,
        flags: u32,
    }
    let mut attr = Attr {
        link: number(link),
        flags: 0,
    };
    new_fd(BPF_ITER_CREATE, &mut attr)
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    // A BorrowedFd is never negative.
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}

fn new_fd<T: FromBytes + IntoBytes>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands return a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T: FromBytes + IntoBytes>(command: libc::c_long, attr: &mut T) -> io::Result<i32> {
    let bytes = attr.as_mut_bytes();
    // SAFETY: the kernel reads and writes `bytes.len()` bytes, and what a
    // pointer among them leads to, which is a buffer of the length beside it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_mut_ptr(), bytes.len()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
