//! What the threads of one process have on their user stacks, for a report.
//!
//! Nothing is attached to the process and nothing stops it: user space reads
//! the iterator's file, and the program runs in user space's own time.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{seq_file, task_struct},
    helpers::generated::{bpf_copy_from_user_task, bpf_seq_write},
};
use tcpstate_common::{
    record::{Header, LONG, Thread, kind, slice},
    settings::{ABSENT, MAX_SLICE},
};

use crate::{
    emit::{header, now, opaque},
    maps::{OFFSETS, THREAD, WATCHED, setting},
    sock::read,
    stack::{
        copy,
        registers::{self, Registers},
    },
};

/// `struct bpf_iter_meta`, the beginning.
#[repr(C)]
pub(crate) struct WalkMeta {
    seq: *mut seq_file,
}

/// `struct bpf_iter__task`
#[repr(C)]
pub(crate) struct TaskContext {
    meta: *const WalkMeta,
    /// NULL when the walk has reached its end.
    task: *mut task_struct,
}

/// Runs for the threads of one process, or of all where the kernel cannot choose
/// (before Linux 6.1), and writes one [`Thread`] into the file that user space
/// reads. Sleepable: a page of a stack may have to be fetched.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/task")]
pub(crate) fn threads(ctx: *const TaskContext) -> i32 {
    // SAFETY: the kernel calls an `iter/task` program with this context.
    let TaskContext { meta, task } = unsafe { ctx.read() };
    if task.is_null() {
        return 0;
    }
    let pid: u32 = read(task as u64, setting(&OFFSETS.task_struct_tgid));
    if WATCHED.get(0).is_some_and(|watched| *watched == pid)
        && let Some(to) = THREAD.get_ptr_mut(0)
    {
        tell(meta, task, to.cast());
    }
    0
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of a head and a slice, at most 33 KiB"
)]
fn tell(meta: *const WalkMeta, task: *mut task_struct, to: *mut u8) {
    let before = Course::of(task as u64);
    let (status, registers) = registers::of_other(task);
    let (status, length) = match status {
        slice::COPIED if !before.is_asleep() => (slice::RUNNING, 0),
        slice::COPIED => copy(registers.sp, |at, length, from| {
            // SAFETY: the helper checks the source; `at` is below `MAX_SLICE` and
            // `length` at most a page, and the value has a page more.
            unsafe {
                let to = to.byte_add(at as usize).cast();
                bpf_copy_from_user_task(to, length, from, task, 0)
            }
        }),
        status => (status, 0),
    };
    // What was copied while it went on is of no one moment.
    let (status, length) = match status {
        slice::COPIED if before != Course::of(task as u64) => (slice::RUNNING, 0),
        _ => (status, opaque(length)),
    };
    if length > MAX_SLICE {
        return;
    }
    let head = head(task as u64, status, length, registers);
    // SAFETY: `meta` and `seq` are valid as long as the program runs, the head is
    // wholly initialised, and so are `length` bytes of the map's value. When they
    // do not fit any more, the kernel discards both and comes back to this task.
    unsafe {
        let seq = (*meta).seq;
        bpf_seq_write(seq, (&raw const head).cast(), size_of::<Thread>() as u32);
        if length > 0 {
            bpf_seq_write(seq, to.cast::<c_void>(), length as u32);
        }
    }
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of a head and a slice, at most 33 KiB"
)]
fn head(task: u64, status: u8, length: u64, Registers { ip, sp, fp }: Registers) -> Thread {
    let leader: u64 = read(task, setting(&OFFSETS.task_struct_group_leader));
    Thread {
        header: Header {
            words: LONG,
            ..header::<Thread>(kind::THREAD, 0)
        },
        bytes: (size_of::<Thread>() as u64 + length) as u32,
        slice: status,
        reserved: [0; 3],
        ktime: now(),
        pid: read(task, setting(&OFFSETS.task_struct_tgid)),
        tid: read(task, setting(&OFFSETS.task_struct_pid)),
        start_boottime: read(leader, setting(&OFFSETS.task_struct_start_boottime)),
        mm: read(task, setting(&OFFSETS.task_struct_mm)),
        ip,
        sp,
        fp,
    }
}

/// What tells whether a task has run in between: it runs, or it has been
/// switched away from once more.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Course {
    state: u32,
    on_cpu: u32,
    switches: u64,
}

impl Course {
    #[inline(always)]
    fn of(task: u64) -> Self {
        let on_cpu = match setting(&OFFSETS.task_struct_on_cpu) {
            ABSENT => 0,
            offset => read(task, offset),
        };
        let voluntary: u64 = read(task, setting(&OFFSETS.task_struct_nvcsw));
        let involuntary: u64 = read(task, setting(&OFFSETS.task_struct_nivcsw));
        Self {
            state: read(task, setting(&OFFSETS.task_struct_state)),
            on_cpu,
            switches: voluntary.wrapping_add(involuntary),
        }
    }

    /// `TASK_RUNNING` is 0. A task that is preempted has that state, too.
    #[inline(always)]
    const fn is_asleep(self) -> bool {
        self.state != 0 && self.on_cpu == 0
    }
}
