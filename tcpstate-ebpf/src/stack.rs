//! A task's user stack at the moment when it gets a socket or reads its end:
//! registers, and a slice of the stack's memory.
//!
//! The programs are apart from those that record the events themselves, so
//! that a session without stacks carries none of this, and a kernel that
//! refuses one of these still has the others. What is copied is not looked at
//! here.

mod extent;
pub(crate) mod registers;

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{
    helpers::{bpf_get_current_task, bpf_get_smp_processor_id, generated::bpf_probe_read_user},
    macros::{fexit, kretprobe, raw_tracepoint, tracepoint},
    programs::{FExitContext, RawTracePointContext, RetProbeContext, TracePointContext},
};
use tcpstate_common::{
    record::{Header, LONG, Stack, how, kind, slice, why},
    settings::{Bucket, CAPTURE_PLACES, MAX_SLICE},
    state::TcpState,
};

use self::registers::Registers;
use crate::{
    emit::{count_sampled_out, emit_copy, header, now, opaque},
    filter,
    maps::{BUCKETS, CAPTURED, OFFSETS, OPTIONS, OVERALL, setting},
    origin::{accepted_by_fd, accepted_socket, syscall},
    sock::{Sock, read},
    task,
};

const PAGE: u64 = 4096;

#[expect(clippy::cast_possible_truncation, reason = "a constant of 32 KiB")]
pub(crate) const PIECES_MAX: usize = (MAX_SLICE + PAGE) as usize;

/// One stack. The page behind the longest slice is room for the verifier, to
/// whom every piece may be a page long.
#[repr(C)]
pub(crate) struct Captured {
    head: Stack,
    slice: [u8; PIECES_MAX],
}

/// The longest record.
const MOST: u64 = size_of::<Stack>() as u64 + MAX_SLICE;

/// Which of a CPU's places in [`CAPTURED`] a program uses. A program does not
/// interrupt itself, so programs of which one at most is attached share one.
#[derive(Clone, Copy)]
enum Place {
    Connect,
    Accept,
    Read,
    Splice,
}

/// As [`crate::transition::transition`]; a socket that leaves `CLOSE` for
/// `SYN_SENT` does so on behalf of the current task.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn connect_stack(ctx: RawTracePointContext) {
    let (old, new): (u8, u8) = (ctx.arg(1), ctx.arg(2));
    let sk = Sock(ctx.arg(0));
    if old == TcpState::Close as u8
        && new == TcpState::SynSent as u8
        && sk.is_tcp()
        && filter::shows_opening(sk)
    {
        capture(sk.0, why::CONNECT, Place::Connect as u32);
    }
}

/// As [`crate::origin::accepted_fexit4`].
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_stack_fexit4(ctx: FExitContext) {
    accepted(accepted_socket(ctx.arg(4)));
}

/// As [`crate::origin::accepted_fexit2`].
#[fexit(function = "inet_csk_accept")]
pub(crate) fn accept_stack_fexit2(ctx: FExitContext) {
    accepted(accepted_socket(ctx.arg(2)));
}

/// As [`crate::origin::accepted_kretprobe`].
#[kretprobe(function = "inet_csk_accept")]
pub(crate) fn accept_stack_kretprobe(ctx: RetProbeContext) {
    accepted(accepted_socket(ctx.ret()));
}

/// As [`crate::origin::accepted_tracepoint`].
#[tracepoint(category = "syscalls", name = "sys_exit_accept")]
pub(crate) fn accept_stack_tracepoint(ctx: TracePointContext) {
    // SAFETY: the record has eight bytes at this offset.
    if let Ok(returned) = unsafe { ctx.read_at::<i64>(16) } {
        accepted(accepted_by_fd(returned));
    }
}

/// As [`crate::origin::accepted_sys_exit`].
#[raw_tracepoint(tracepoint = "sys_exit")]
pub(crate) fn accept_stack_sys_exit(ctx: RawTracePointContext) {
    if syscall::is_accept(ctx.arg(0)) {
        accepted(accepted_by_fd(ctx.arg(1)));
    }
}

/// `match-proto: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len,
/// int nonblock, int flags, int *addr_len)`, up to Linux 5.18.
#[fexit(function = "tcp_recvmsg")]
pub(crate) fn eof_stack_fexit6(ctx: FExitContext) {
    received(Sock(ctx.arg(0)), ctx.arg(6), ctx.arg(4), Place::Read);
}

/// `match-proto: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len,
/// int flags, int *addr_len)`
#[fexit(function = "tcp_recvmsg")]
pub(crate) fn eof_stack_fexit5(ctx: FExitContext) {
    received(Sock(ctx.arg(0)), ctx.arg(5), ctx.arg(3), Place::Read);
}

/// `match-proto: int tcp_recvmsg(struct sock *sk, struct msghdr *msg, size_t len,
/// int flags)`
#[fexit(function = "tcp_recvmsg")]
pub(crate) fn eof_stack_fexit4(ctx: FExitContext) {
    received(Sock(ctx.arg(0)), ctx.arg(4), ctx.arg(3), Place::Read);
}

/// `match-proto: ssize_t tcp_splice_read(struct socket *sock, loff_t *ppos, struct
/// pipe_inode_info *pipe, size_t len, unsigned int flags)`: `splice` and
/// `sendfile`, which do not pass `tcp_recvmsg`.
#[fexit(function = "tcp_splice_read")]
pub(crate) fn splice_eof_stack_fexit(ctx: FExitContext) {
    let sk: u64 = read(ctx.arg(0), setting(&OFFSETS.socket_sk));
    received(Sock(sk), ctx.arg(5), 0, Place::Splice);
}

/// `match-proto: void trace_sock_recv_length(struct sock *sk, int ret, int
/// flags)`: everything that goes through `sock_recvmsg`, of all protocols.
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub(crate) fn eof_stack_recv_length(ctx: RawTracePointContext) {
    let returned: i32 = ctx.arg(1);
    let sk = Sock(ctx.arg(0));
    if returned == 0 && sk.is_inet() && sk.is_tcp() {
        received(sk, returned, ctx.arg(2), Place::Read);
    }
}

#[inline(always)]
fn accepted(sk: Option<Sock>) {
    if let Some(sk) = sk
        && filter::shows(sk)
    {
        capture(sk.0, why::ACCEPT, Place::Accept as u32);
    }
}

/// A read that returned nothing is end-of-file when the socket can receive
/// nothing more; a read of no bytes is as well, and the kernel takes it as such.
#[inline(always)]
fn received(sk: Sock, returned: i32, flags: i32, place: Place) {
    /// A look at the data, which stay.
    const MSG_PEEK: i32 = 0x2;
    /// The queue of errors and timestamps, whose entries may be empty.
    const MSG_ERRQUEUE: i32 = 0x2000;
    if returned == 0
        && flags & (MSG_PEEK | MSG_ERRQUEUE) == 0
        && sk.how_closed() & how::RCV_SHUTDOWN != 0
        && filter::shows(sk)
    {
        capture(sk.0, why::END_OF_FILE, place as u32);
    }
}

/// Not inlined: it would be most of every program. The result says nothing; a
/// function of BPF must have one.
#[inline(never)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of a head and a slice, at most 33 KiB"
)]
fn capture(sk: u64, why: u8, place: u32) -> u64 {
    let ktime = now();
    let pid = task::pid();
    let Some(wakes) = take_token(pid, why, ktime) else {
        count_sampled_out();
        return 0;
    };
    // SAFETY: the helper has no precondition.
    let index = unsafe { bpf_get_smp_processor_id() } * CAPTURE_PLACES + place;
    let Some(captured) = CAPTURED.get_ptr_mut(index) else {
        return 0;
    };
    // SAFETY: the helper has no precondition.
    let current = unsafe { bpf_get_current_task() };
    let (status, registers) = registers::of(current);
    let mm = read(current, setting(&OFFSETS.task_struct_mm));
    let Registers { ip, sp, fp } = registers;
    let leader: u64 = read(current, setting(&OFFSETS.task_struct_group_leader));
    let (status, length) = match status {
        slice::COPIED => slice_of(sp, extent::length(current, mm, begin(sp)), captured),
        status => (status, 0),
    };
    let bytes = size_of::<Stack>() as u64 + length;
    let head = Stack {
        header: Header {
            words: LONG,
            ..header::<Stack>(kind::STACK, 0)
        },
        bytes: bytes as u32,
        why,
        slice: status,
        reserved: [0; 2],
        ktime,
        sk,
        task: task::current(),
        start_boottime: read(leader, setting(&OFFSETS.task_struct_start_boottime)),
        mm,
        ip,
        sp,
        fp,
    };
    // SAFETY: a map value is valid as long as the program runs, and nobody else
    // uses this place. `bytes` is at most the value's size: `copy` says so.
    unsafe {
        captured
            .byte_add(offset_of!(Captured, head))
            .cast::<Stack>()
            .write(head);
        emit_copy::<MOST>(
            kind::STACK,
            core::slice::from_raw_parts(captured.cast(), bytes as usize),
            wakes,
        );
    }
    0
}

/// Copies a stack to its place: in one go where its end is known and not beyond
/// the limit, otherwise page by page.
///
/// What a stack costs is its bytes in the ring. Measured on Linux 6.18, for the
/// 2.8 KiB between the stack pointer of a small program's thread and the thread's
/// end: 60 ns for this copy, 60 ns for a place in the ring, and 400 ns for filling
/// it, because no cache holds that memory. With what lies behind the end, 13 KiB,
/// it was 2.3 us more.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the length of a slice, at most 28 KiB"
)]
fn slice_of(sp: u64, extent: u64, captured: *mut Captured) -> (u8, u64) {
    // SAFETY: within the place.
    let to: *mut u8 = unsafe { captured.byte_add(offset_of!(Captured, slice)) }.cast();
    let length = opaque(extent.saturating_add(7) & !7);
    let limit = setting(&OPTIONS.capture.slice_bytes);
    if length > 0 && length <= limit && length <= MAX_SLICE {
        // SAFETY: the helper checks the source, and there is more room than that.
        let failed =
            unsafe { bpf_probe_read_user(to.cast(), length as u32, begin(sp) as *const _) };
        if failed == 0 {
            return (slice::COPIED, length);
        }
    }
    copy(sp, |at, length, from| {
        // SAFETY: the helper checks the source; `at` is below `MAX_SLICE` and
        // `length` at most a page, and the slice has a page more.
        unsafe { bpf_probe_read_user(to.byte_add(at as usize).cast(), length, from) }
    })
}

/// Where the slice begins of a stack with this pointer.
#[inline(always)]
const fn begin(sp: u64) -> u64 {
    sp & !7
}

/// Goes through a stack from its pointer on, page by page: the first page that
/// `read` fails to copy is its end. Returns the status and how much, at most
/// [`MAX_SLICE`]. `read` gets an offset below that, a length of at most a page,
/// and the address.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a page, and an offset within a slice"
)]
pub(crate) fn copy(sp: u64, read: impl Fn(u64, u32, *const c_void) -> i64) -> (u8, u64) {
    /// The first and the last piece may be parts of a page.
    const PIECES: u64 = MAX_SLICE / PAGE + 1;
    let begin = begin(sp);
    let limit = setting(&OPTIONS.capture.slice_bytes);
    let mut length = 0;
    for _ in 0..PIECES {
        length = opaque(length);
        if length >= limit || length >= MAX_SLICE {
            break;
        }
        let from = begin.wrapping_add(length);
        let piece = opaque((PAGE - from % PAGE).min(limit - length));
        if piece > PAGE {
            break;
        }
        let failed = read(length, piece as u32, from as *const _);
        if failed != 0 {
            break;
        }
        length += piece;
    }
    length = opaque(length);
    if length == 0 || length > MAX_SLICE {
        return (slice::UNREADABLE, 0);
    }
    (slice::COPIED, length)
}

/// Takes a token from the bucket of the process and from that of all, when
/// both have one. Two CPUs at the same moment may take the same one.
///
/// Says whether the reader is to be woken, for the first stack of a process:
/// it is worth little when the process is gone before anybody has looked at its
/// memory map. For every stack it would cost too much. Measured in a virtual
/// machine: 9 us for waking, 1 to 3 us for the rest of a capture.
///
/// A bucket is one number, the time at which it will be full again: with the
/// times of all tokens taken it moves away from now.
#[inline(always)]
fn take_token(pid: u32, why: u8, now: u64) -> Option<bool> {
    let key = u64::from(why) << 32 | u64::from(pid);
    let known = BUCKETS.get_ptr_mut(key);
    // SAFETY: a map value is valid as long as the program runs; volatile as other
    // CPUs write it, and what they write is another time, no harm.
    let full_at = known.map_or(0, |known| unsafe { known.read_volatile() });
    // SAFETY: a static is always valid; volatile as other CPUs write it.
    let all = unsafe { OVERALL.as_ptr().read_volatile() };
    let own = take(full_at, now, &OPTIONS.capture.process)?;
    let all = take(all, now, &OPTIONS.capture.overall)?;
    // SAFETY: as above.
    unsafe { OVERALL.as_ptr().write_volatile(all) };
    match known {
        // SAFETY: as above.
        Some(known) => unsafe { known.write_volatile(own) },
        // Without room for it the process has a full bucket the next time.
        None => drop(BUCKETS.insert(key, own, 0)),
    }
    Some(full_at == 0)
}

/// When the bucket will be full after a token is taken; `None` without a token.
#[inline(always)]
fn take(full_at: u64, now: u64, bucket: &'static Bucket) -> Option<u64> {
    let full_at = full_at.max(now);
    (full_at - now < setting(&bucket.full_ns)).then(|| full_at + setting(&bucket.interval_ns))
}
