//! The `bpf` commands that the references and the counts need.
//!
//! The programs are a few instructions long, so they are written as such and not
//! compiled: what is measured is what stands there.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

// enum bpf_cmd, enum bpf_prog_type and enum bpf_map_type of
// https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const RAW_TRACEPOINT: u32 = 17;

/// `struct bpf_insn`: registers are the destination, and 16 times the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

/// What the kernel says of a program.
#[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct ProgramInfo {
    before_name: [u64; 8],
    pub(super) name: [u8; 16],
    before_run_time: [u64; 14],
    pub(super) run_time_ns: u64,
    pub(super) run_cnt: u64,
    pub(super) recursion_misses: u64,
}

// Their offsets in `struct bpf_prog_info`, a stable interface.
const _: () = {
    assert!(std::mem::offset_of!(ProgramInfo, name) == 64);
    assert!(std::mem::offset_of!(ProgramInfo, run_time_ns) == 192);
};

/// A map with keys of 32 bits.
pub(super) fn map(kind: u32, value_size: u32, entries: u32) -> io::Result<OwnedFd> {
    new_fd(BPF_MAP_CREATE, &mut [kind, 4, value_size, entries])
}

/// The values of key 0, one for each CPU there may be.
pub(super) fn lookup(map: BorrowedFd<'_>, values: &mut [u64]) -> io::Result<()> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        map: u32,
        pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = 0_u32;
    let mut attr = Attr {
        map: number(map),
        pad: 0,
        key: (&raw const key).expose_provenance() as u64,
        value: values.as_mut_ptr().expose_provenance() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attr).map(drop)
}

/// A raw tracepoint program.
pub(super) fn load(name: &str, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        version: u32,
        flags: u32,
        name: [u8; 16],
    }
    let mut attr = Attr {
        kind: RAW_TRACEPOINT,
        count: u32::try_from(instructions.len()).unwrap_or(0),
        instructions: instructions.as_ptr().expose_provenance() as u64,
        license: c"Dual MIT/GPL".as_ptr().expose_provenance() as u64,
        log: [0; 2],
        log_buffer: 0,
        version: 0,
        flags: 0,
        name: [0; 16],
    };
    let length = name.len().min(15);
    attr.name[..length].copy_from_slice(&name.as_bytes()[..length]);
    new_fd(BPF_PROG_LOAD, &mut attr)
}

/// Attached as long as the descriptor is open.
pub(super) fn attach(program: BorrowedFd<'_>, tracepoint: &std::ffi::CStr) -> io::Result<OwnedFd> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        name: u64,
        program: u32,
        pad: u32,
    }
    let mut attr = Attr {
        name: tracepoint.as_ptr().expose_provenance() as u64,
        program: number(program),
        pad: 0,
    };
    new_fd(BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// A program by its id; it lives on as long as the descriptor is open.
pub(super) fn program(id: u32) -> io::Result<OwnedFd> {
    new_fd(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0])
}

pub(super) fn info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    #[derive(FromBytes, IntoBytes)]
    #[repr(C)]
    struct Attr {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut info = [0_u8; size_of::<ProgramInfo>()];
    let mut attr = Attr {
        fd: number(program),
        length: u32::try_from(info.len()).unwrap_or(0),
        info: info.as_mut_ptr().expose_provenance() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    ProgramInfo::read_from_bytes(&info).map_err(|_size| io::ErrorKind::InvalidData.into())
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
    // pointer among them leads to, which is as long as what stands beside it
    // says, or as the map's values.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_mut_ptr(), bytes.len()) };
    match i32::try_from(result) {
        Ok(result) if result >= 0 => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
