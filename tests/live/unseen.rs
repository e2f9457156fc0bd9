//! Timers stopped while the kernel ran no BPF program, whoever's it was.
//!
//! A kernel may be changed so that programs are kept from all that happens while
//! certain tasks run, interrupts that come then included, and no count of misses says
//! so. (6.18.44 as one cloud's guest has it does so for its first process: of 334,366
//! stopped timers 1,689 came to no program, and perf named a thread of that process as
//! the current task of 1,689.) The kernel's own counters have such events, and so does
//! perf: what a program that does nothing but count lacks of perf's number was kept
//! from it.
//!
//! Perf counts nothing while a classic program at the same tracepoint returns 0, so
//! this would not do where `witness` is.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::FromRawFd as _,
};

use aya::{Ebpf, EbpfLoader, maps::PerCpuArray, programs::RawTracePoint, util::online_cpus};

use crate::{
    process::own_files,
    witness::{format_of, object},
};

/// `struct perf_event_attr` as it has been since it exists (`PERF_ATTR_SIZE_VER0`):
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/perf_event.h#L389>.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    others: [u64; 6],
}

/// Two counts of `timer:timer_cancel`, on all CPUs: every request that ends and
/// every timer that runs out passes there.
pub(crate) struct Unseen {
    perf: Vec<File>,
    object: Ebpf,
    begun: i64,
}

impl Unseen {
    /// Counts from now on.
    pub(crate) fn begin() -> Self {
        own_files();
        let id = event_id();
        let cpus = online_cpus().unwrap();
        let perf = cpus.into_iter().map(|cpu| counter(id, cpu)).collect();
        let mut object = EbpfLoader::new().load_file(object()).unwrap();
        let program = object.program_mut("timer_stopped").unwrap();
        let program: &mut RawTracePoint = program.try_into().unwrap();
        program.load().unwrap();
        program.attach("timer_cancel").unwrap();
        let mut counts = Self {
            perf,
            object,
            begun: 0,
        };
        let perf = counts.by_perf();
        counts.begun = perf - counts.by_program();
        counts
    }

    /// How many were kept from the program so far: not too few, but as many too
    /// many as there were between two readings.
    pub(crate) fn so_far(&mut self) -> u64 {
        let by_program = self.by_program();
        let ahead = self.by_perf() - by_program;
        u64::try_from(ahead - self.begun).unwrap_or(0)
    }

    fn by_perf(&mut self) -> i64 {
        let mut sum = 0;
        for counter in &mut self.perf {
            let mut value = [0; 8];
            counter.read_exact(&mut value).unwrap();
            sum += i64::from_ne_bytes(value);
        }
        sum
    }

    fn by_program(&self) -> i64 {
        let stops = PerCpuArray::<_, u64>::try_from(self.object.map("STOPS").unwrap()).unwrap();
        let values = stops.get(&0, 0).unwrap();
        values
            .iter()
            .map(|&stops| i64::try_from(stops).unwrap())
            .sum()
    }
}

/// The number of the tracepoint.
fn event_id() -> u64 {
    let format = format_of("timer", "timer_cancel");
    let id = format.lines().find_map(|line| line.strip_prefix("ID: "));
    id.unwrap().parse().unwrap()
}

/// Perf's counter of a tracepoint on one CPU.
fn counter(id: u64, cpu: u32) -> File {
    const TRACEPOINT: u32 = 2;
    const EVERYBODY: libc::pid_t = -1;
    const NO_GROUP: libc::c_int = -1;
    /// `PERF_FLAG_FD_CLOEXEC`
    const CLOEXEC: libc::c_ulong = 8;
    let attributes = Attributes {
        kind: TRACEPOINT,
        size: u32::try_from(size_of::<Attributes>()).unwrap(),
        config: id,
        others: [0; 6],
    };
    // SAFETY: the attributes live for the call, and tell their length.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            EVERYBODY,
            libc::c_int::try_from(cpu).unwrap(),
            NO_GROUP,
            CLOEXEC,
        )
    };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us alone.
    unsafe { File::from_raw_fd(i32::try_from(fd).unwrap()) }
}
