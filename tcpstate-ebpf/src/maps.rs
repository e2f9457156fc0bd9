//! Every map and every global of the programs, its size and why.

use core::{mem, ptr, sync::atomic::AtomicU64};

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use tcpstate_common::settings::{Callers, Counters, Filter, Offsets, Options};

use crate::stack::{Captured, PIECES_MAX};

/// All records of all CPUs, in reservation order: one ring, because the order
/// of two records of one connection must survive. The loader sets the size.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// One slot per possible CPU; the loader sets how many. An array and not a
/// per-CPU array, because only an array can be mapped into memory, and on
/// Linux 5.10 a process without capabilities can read counters no other way.
#[map]
pub(crate) static COUNTERS: Array<Counters> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// How many events under way on one CPU can be told apart; a power of two.
pub(crate) const MARKS: usize = 256;

/// The events under way that a program has seen on this CPU, for its copy.
#[map]
pub(crate) static MARKED: PerCpuArray<[u64; MARKS]> = PerCpuArray::with_max_entries(1, 0);

/// The last child that was made on this CPU, for `request`.
#[map]
pub(crate) static CHILD: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where stacks are put together, `CAPTURE_PLACES` for each possible CPU; the
/// loader sets how many, or leaves it at one that nobody uses. An array and not
/// a per-CPU array, because an element of that cannot be greater than 32 KiB.
#[map]
pub(crate) static CAPTURED: Array<Captured> = Array::with_max_entries(1, 0);

/// When the token bucket of a process and a reason will be full again, by
/// process id and reason. What is forgotten is a full bucket.
#[map]
pub(crate) static BUCKETS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(8192, 0);

/// The process whose threads `threads` is to tell of.
#[map]
pub(crate) static WATCHED: Array<u32> = Array::with_max_entries(1, 0);

/// Where `threads` puts the slice of a thread's stack: one, because one reads at
/// a time.
#[map]
pub(crate) static THREAD: Array<[u8; PIECES_MAX]> = Array::with_max_entries(1, 0);

/// As [`BUCKETS`], for all together.
pub(crate) static OVERALL: AtomicU64 = AtomicU64::new(0);

/// Records lost, on all CPUs together: its low bits go into every header.
/// It is written only on a loss, so reading it costs no cache-line traffic.
pub(crate) static LOST: AtomicU64 = AtomicU64::new(0);

/// Written by the loader before the programs are loaded; read with [`setting`].
#[unsafe(no_mangle)]
// SAFETY: `Offsets` consists of integers, for which all bits zero is a value.
pub(crate) static OFFSETS: Offsets = unsafe { mem::zeroed() };

/// As [`OFFSETS`].
#[unsafe(no_mangle)]
// SAFETY: `Filter` consists of integers, for which all bits zero is a value.
pub(crate) static FILTER: Filter = unsafe { mem::zeroed() };

/// As [`OFFSETS`].
#[unsafe(no_mangle)]
// SAFETY: `Options` consists of integers, for which all bits zero is a value.
pub(crate) static OPTIONS: Options = unsafe { mem::zeroed() };

/// As [`OFFSETS`].
#[unsafe(no_mangle)]
// SAFETY: `Callers` consists of integers, for which all bits zero is a value.
pub(crate) static CALLERS: Callers = unsafe { mem::zeroed() };

/// The loader's value of a field of one of the four globals above.
///
/// The compiler must not see the zero above; the verifier does see the
/// loader's value, and drops the branches that it rules out.
#[inline(always)]
pub(crate) fn setting<T: Copy>(field: &'static T) -> T {
    // SAFETY: a reference is always valid for a read.
    unsafe { ptr::read_volatile(field) }
}
