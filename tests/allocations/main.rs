//! Decoding and tracking allocate nothing in the steady state.

#[path = "../population.rs"]
#[expect(unreachable_pub, reason = "shared with the benchmark of the stages")]
mod population;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use population::Population;
use tcpstate::{
    decode::{decode, records},
    track::{Change, Follows, Limits, Tracker},
};

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is the system allocator's; the count needs no memory, since
// its place is part of the thread and it has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: the caller's promises are those that it wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get() + 1);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// How often memory is asked for meanwhile.
fn asked(work: impl FnOnce()) -> u64 {
    let before = ASKED.get();
    work();
    ASKED.get() - before
}

/// Takes all records and gives the number of changes.
fn take(bytes: &[u8], tracker: &mut Tracker, changes: &mut Vec<Change>) -> usize {
    let mut count = 0;
    for record in records(bytes) {
        let record = record.and_then(decode);
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        tracker.apply(&record, changes);
        count += changes.len();
        changes.clear();
    }
    count
}

#[test]
fn the_count_sees_what_is_allocated() {
    assert_eq!(asked(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(asked(|| ()), 0);
}

#[test]
fn decoding_and_tracking_allocate_nothing_once_the_tables_have_grown() {
    const SOCKETS: usize = 20_000;
    const RECORDS: u64 = 500_000;
    let follows = Follows {
        begins: true,
        ends: true,
        requests: false,
        looks: false,
    };
    let mut tracker = Tracker::new(Limits::default(), follows);
    let mut changes = Vec::with_capacity(64);
    let mut population = Population::new(SOCKETS);
    let mut bytes = Vec::new();
    population.be_born(|record| bytes.extend_from_slice(record));
    population.live(RECORDS, |record| bytes.extend_from_slice(record));
    take(&bytes, &mut tracker, &mut changes);
    bytes.clear();
    population.live(RECORDS, |record| bytes.extend_from_slice(record));
    let mut told = 0;
    let asked = asked(|| told = take(&bytes, &mut tracker, &mut changes));
    assert!(told > 300_000, "{told} changes");
    assert!(tracker.len() > SOCKETS / 2, "{} sockets", tracker.len());
    assert_eq!(asked, 0, "for {told} changes");
}
