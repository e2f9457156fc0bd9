//! Memory for very many values: address space that is there at once, pages that
//! come as they are used and are huge where that helps, lines that are read ahead.
//!
//! Whatever the system refuses here costs time later and nothing else.

use std::ops::Range;

use rustix::{
    mm::{Advice, madvise},
    param::page_size,
};

/// Huge pages of this machine's kind.
const HUGE: usize = 2 << 20;
const LINE: usize = 64;

/// Values that need no huge page.
pub(super) const fn few<T>() -> usize {
    HUGE / size_of::<T>()
}

/// Sees to it that so many values will not have to move. Pages that are not used
/// yet are only addresses, and the first of them small: where the system gives huge
/// ones to everybody, a few sockets would take 2 MiB. If there are not so many, they
/// will move.
pub(super) fn reserve<T>(values: &mut Vec<T>, most: usize) {
    let _refused = values.try_reserve_exact(most);
    let first = values.as_ptr();
    let range = first..first.wrapping_add(values.capacity());
    // An allocation begins a few bytes behind the border of a huge page, so the pages
    // in front of the next border matter most.
    advise(range, page_size(), Advice::LinuxNoHugepage);
}

/// Asks for huge pages for what is not used yet of `values`.
pub(super) fn make_huge<T>(values: &Vec<T>) {
    let first = values.as_ptr();
    let range = first.wrapping_add(values.len())..first.wrapping_add(values.capacity());
    make_range_huge(range);
}

/// Asks for huge pages: with small ones, each reading at random is a walk over the
/// page tables as well, which are in no cache either.
fn make_range_huge<T>(range: Range<*const T>) {
    advise(range, HUGE, Advice::LinuxHugepage);
}

/// For the whole pages, of this size, of the range.
fn advise<T>(range: Range<*const T>, page: usize, advice: Advice) {
    let begin = range.start as usize;
    let whole = begin.next_multiple_of(page)..range.end as usize / page * page;
    if whole.is_empty() {
        return;
    }
    let first = range.start.cast::<u8>().wrapping_add(whole.start - begin);
    // SAFETY: the range lies within one allocation that is ours, and the advice
    // changes no byte of it.
    let _refused = unsafe { madvise(first.cast_mut().cast(), whole.len(), advice) };
}

/// So many zeros, in huge pages if they fill any. The system gives them without
/// writing them, so they cost time where they are used.
pub(super) fn zeros(count: usize) -> Vec<u64> {
    let zeros = vec![0; count];
    make_range_huge(zeros.as_ptr_range());
    zeros
}

/// Has the first 128 bytes of `value` read into the cache, without waiting.
pub(super) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let first = std::ptr::from_ref(value).cast::<i8>();
        // SAFETY: a hint, which reads nothing that the program sees and faults at
        // no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(first) };
        if size_of::<T>() > LINE {
            // SAFETY: as above.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(LINE)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _not_known_how = value;
}
