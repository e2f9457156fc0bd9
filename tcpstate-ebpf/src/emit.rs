//! The way out: reserve, fill, submit, or count the loss.
//!
//! It knows neither sockets nor filters, only records.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    maps::ring_buf::RingBufEntry,
};
use aya_log_ebpf::debug;
use tcpstate_common::{
    record::{Header, words_of},
    settings::Counters,
};

use crate::maps::{COUNTERS, EVENTS, LOST, OPTIONS, setting};

/// What the ring puts before each record.
const RING_HEADER: u64 = 8;

/// The kernel wakes the reader if it has taken all before this record: of those
/// that come until it runs, only the first pays for it (`bpf_ringbuf_commit` of
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/ringbuf.c>).
const WAKE_SLEEPER: u64 = 0;

/// Sends the record that `record` makes around the given header. It is called
/// only once there is room, and the header's loss count is read after that, so
/// that no record can hide the loss of one before it.
#[inline(always)]
pub(crate) fn emit<T: 'static>(kind: u8, netns: u32, record: impl FnOnce(Header) -> T) {
    if let Some(room) = room::<T>(kind) {
        let record = record(header::<T>(kind, netns));
        room.send(record);
    }
}

/// Where a record can be written.
#[must_use]
pub(crate) struct Room<T: 'static>(RingBufEntry<T>);

/// Room for one record, or its loss is counted. What the header says of losses
/// must be read after this.
#[inline(always)]
pub(crate) fn room<T: 'static>(kind: u8) -> Option<Room<T>> {
    let room = EVENTS.reserve::<T>(0);
    if room.is_none() {
        count_seen();
        lose(kind);
    }
    room.map(Room)
}

impl<T> Room<T> {
    /// Puts the record there and hands it over.
    #[inline(always)]
    pub(crate) fn send(self, record: T) {
        let Self(mut entry) = self;
        entry.write(record);
        // Counted here, because what is kept from the reservation until now takes
        // stack, of which Linux 5.10 has none left.
        let flags = if count_seen() {
            WAKE_SLEEPER
        } else {
            wake_up(entry.as_ptr() as u64, size_of::<T>() as u64)
        };
        entry.submit(flags);
    }
}

/// The first eight bytes of a `T` that is made now.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "only the low bits of the loss count are promised"
)]
pub(crate) fn header<T>(kind: u8, netns: u32) -> Header {
    // SAFETY: a static is always valid; a volatile read is how this target
    // reads what other CPUs change, it has no atomic load.
    let lost = unsafe { LOST.as_ptr().read_volatile() };
    Header {
        kind,
        words: const { words_of::<T>() },
        lost: lost as u16,
        netns,
    }
}

/// Sends a record that was put together elsewhere, and may wake the reader at
/// once.
///
/// Its header has the loss count of before there was room, so a loss at that
/// very moment shows only on the next record.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length was a `usize`")]
pub(crate) fn emit_copy<const MOST: u64>(kind: u8, record: &[u8], wakes: bool) {
    let reader_sleeps = count_seen();
    let size = record.len() as u64 + RING_HEADER;
    let flags = if wakes {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else if reader_sleeps {
        WAKE_SLEEPER
    } else {
        let end = EVENTS.query(u64::from(BPF_RB_PROD_POS)) + size;
        wake_up_at(end, size, setting(&OPTIONS.capture.wake_bytes))
    };
    // Said again where it is used: what is known of a length is forgotten by the
    // verifier of Linux 6.12 on its way through a call.
    let length = opaque(record.len() as u64);
    if length > MOST {
        return;
    }
    // SAFETY: the record's own memory, of its own length.
    let record = unsafe { core::slice::from_raw_parts(record.as_ptr(), length as usize) };
    if EVENTS.output::<[u8]>(record, flags).is_err() {
        lose(kind);
    }
}

/// Hides a value's origin from the compiler, which would leave out the checks
/// that the verifier, who sees less, insists on.
#[inline(always)]
pub(crate) fn opaque(mut value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a register is moved to itself. (Without any instruction the
    // kernel would refuse the line information.)
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack));
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        value = core::hint::black_box(value);
    }
    value
}

/// One stack there was no token for.
#[inline(always)]
pub(crate) fn count_sampled_out() {
    count(offset_of!(Counters, sampled_out));
}

/// One event the filter refused.
#[inline(always)]
pub(crate) fn count_filtered() {
    count(offset_of!(Counters, filtered));
}

/// One transition that only the second program saw.
#[inline(always)]
pub(crate) fn count_rescued() {
    count(offset_of!(Counters, rescued));
}

/// One event of a protocol that is not TCP.
#[inline(never)]
pub(crate) fn count_foreign() {
    count(offset_of!(Counters, foreign));
    debug!(&(), "state change of a socket that is not TCP");
}

#[inline(never)]
fn lose(kind: u8) {
    count(offset_of!(Counters, ring_full));
    // SAFETY: a static is always valid.
    unsafe { add_one(LOST.as_ptr()) };
    debug!(&(), "ring buffer full, record of kind {} lost", kind);
}

/// Adds one to the counter at this offset in [`Counters`] of this CPU.
#[inline(always)]
pub(crate) fn count(offset: usize) {
    if let Some(counters) = counters() {
        // SAFETY: a map value is valid as long as the program runs, and the
        // offset is that of one of its fields.
        unsafe { add_one(counters.byte_add(offset).cast()) };
    }
}

/// Counts a record that wants to be sent, and finds beside the count whether
/// the reader sleeps.
#[inline(always)]
fn count_seen() -> bool {
    let Some(counters) = counters() else {
        return false;
    };
    // SAFETY: a map value is valid as long as the program runs; user space changes
    // what is read here, in one store.
    unsafe {
        add_one(&raw mut (*counters).seen);
        (&raw const (*counters).reader_sleeps).read_volatile() != 0
    }
}

/// Those of this CPU.
#[inline(always)]
fn counters() -> Option<*mut Counters> {
    // SAFETY: the helper has no precondition.
    COUNTERS.get_ptr_mut(unsafe { bpf_get_smp_processor_id() })
}

/// Atomic, because an interrupt may run another of the programs on this CPU in
/// between, and [`LOST`] is everybody's. `core` has no `fetch_add` for BPF,
/// and its result would need Linux 5.12.
///
/// # Safety
///
/// `counter` is valid and aligned, and is changed by nothing else than this.
#[inline(always)]
unsafe fn add_one(counter: *mut u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: as promised by the caller; `BPF_ATOMIC | BPF_ADD` on eight bytes.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1u64);
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as promised by the caller.
    unsafe { core::sync::atomic::AtomicU64::from_ptr(counter) }
        .fetch_add(1, core::sync::atomic::Ordering::Relaxed);
}

/// Flags for submitting the record of `size` bytes at `address` in the ring.
///
/// Waking the reader costs the traced task 1 to 16 us, by the virtual machine and
/// its load, the whole record about 0.1: so the reader is woken once per
/// [`OPTIONS`]`.wake_bytes`, by the record that crosses (or reaches) a multiple of
/// it. From where the multiples are counted does not matter, as long as it is one
/// place for all records: so a record is asked where it lies, and not the ring,
/// which takes another call. A reader that sleeps is woken by the first record
/// ([`WAKE_SLEEPER`]); for one that does not, its timed look is the backstop.
#[inline(always)]
fn wake_up(address: u64, size: u64) -> u64 {
    // The verifier lets no bits be taken from a pointer, but two be subtracted.
    let end = address.wrapping_sub(LOST.as_ptr() as u64) + size;
    wake_up_at(end, size + RING_HEADER, setting(&OPTIONS.wake_bytes))
}

/// As [`wake_up`], for a record behind which the ring ends at `end`, and once per
/// `wake_bytes`. Where both are used they count from different places, so that a
/// crossing can be missed; the next one is not.
#[inline(always)]
fn wake_up_at(end: u64, size: u64, wake_bytes: u64) -> u64 {
    if end & (wake_bytes - 1) < size {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// The time of a record: `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}
