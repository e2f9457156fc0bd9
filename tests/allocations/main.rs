//! Decoding, tracking and folding allocate nothing in the steady state.

#[path = "../population.rs"]
#[expect(unreachable_pub, reason = "shared with the benchmark of the stages")]
mod population;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use population::Population;
use tcpstate::{
    decode::{decode, records, subject},
    dwell::{By, Dwells},
    track::{Change, Follows, LEAD, Limits, Tracker},
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

/// Takes all records, foreseen or not, and gives the number of changes.
fn take(
    bytes: &[u8],
    foreseen: bool,
    tracker: &mut Tracker,
    changes: &mut Vec<Change>,
    mut told: impl FnMut(&[Change]),
) -> usize {
    let mut ahead = records(bytes).flatten();
    for record in ahead.by_ref().take(if foreseen { LEAD } else { 0 }) {
        tracker.foresee(subject(record));
    }
    let mut count = 0;
    for record in records(bytes) {
        if let Some(later) = ahead.next().filter(|_| foreseen) {
            tracker.foresee(subject(later));
        }
        let record = record.and_then(decode);
        let record = record.unwrap_or_else(|error| panic!("{error}"));
        tracker.apply(&record, changes);
        count += changes.len();
        told(changes);
        changes.clear();
    }
    count
}

fn tracker() -> Tracker {
    let follows = Follows {
        begins: true,
        ends: true,
        requests: false,
        looks: false,
    };
    Tracker::new(Limits::default(), follows)
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
    let mut tracker = tracker();
    let mut changes = Vec::with_capacity(64);
    let mut population = Population::new(SOCKETS);
    let mut bytes = Vec::new();
    population.be_born(|record| bytes.extend_from_slice(record));
    population.live(RECORDS, |record| bytes.extend_from_slice(record));
    take(&bytes, true, &mut tracker, &mut changes, |_| {});
    bytes.clear();
    population.live(RECORDS, |record| bytes.extend_from_slice(record));
    let mut told = 0;
    let asked = asked(|| told = take(&bytes, true, &mut tracker, &mut changes, |_| {}));
    assert!(told > 300_000, "{told} changes");
    assert!(tracker.len() > SOCKETS / 2, "{} sockets", tracker.len());
    assert_eq!(asked, 0, "for {told} changes");
}

#[test]
fn what_is_foreseen_changes_nothing() {
    const SOCKETS: usize = 10_000;
    let mut population = Population::new(SOCKETS);
    let mut bytes = Vec::new();
    population.be_born(|record| bytes.extend_from_slice(record));
    population.live(100_000, |record| bytes.extend_from_slice(record));
    let all = |foreseen| {
        let (mut tracker, mut all) = (tracker(), Vec::new());
        let tell = |some: &[Change]| all.extend_from_slice(some);
        let count = take(&bytes, foreseen, &mut tracker, &mut Vec::new(), tell);
        assert!(count > 80_000 && tracker.foresees(), "{count} changes");
        (all, tracker.counters(), tracker.len())
    };
    assert!(all(true) == all(false));
}

#[test]
fn folding_allocates_nothing_once_its_groups_are_known() {
    const RECORDS: u64 = 100_000;
    let mut population = Population::new(1_000);
    let (mut tracker, mut all) = (tracker(), Vec::new());
    let mut bytes = Vec::new();
    population.live(RECORDS, |record| bytes.extend_from_slice(record));
    let tell = |some: &[Change]| all.extend_from_slice(some);
    take(&bytes, false, &mut tracker, &mut Vec::new(), tell);
    let mut dwells = Dwells::new(&[By::Lport], &[], Follows::default());
    let mut fold = || all.iter().for_each(|change| dwells.change(change));
    assert!(asked(&mut fold) > 0);
    assert_eq!(asked(&mut fold), 0, "for {} changes", all.len());
}
