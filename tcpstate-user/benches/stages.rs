//! The stages by themselves: how many records one core takes in a second.
//!
//! Records come out of memory in pieces that are made outside of the time that is
//! measured, as they lie in the ring. `cargo xtask bench` reads what criterion
//! leaves.

#[path = "../../tests/population.rs"]
#[expect(unreachable_pub, reason = "shared with the test of allocations")]
mod population;

use std::{cell::RefCell, hint::black_box, io, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use population::Population;
use tcpstate::{
    decode::{decode, records, subject},
    dwell::Dwells,
    session::SessionInfo,
    sink::{Format, Sink},
    track::{Change, Follows, LEAD, Limits, Tracker},
};

/// Bytes that a population's beginning is taken in.
const WAITING: usize = 1 << 16;

/// Of a piece: about as many as 8 MiB of the ring hold.
const PIECE: u64 = 100_000;

fn follows() -> Follows {
    Follows {
        begins: true,
        ends: true,
        requests: false,
        looks: true,
    }
}

/// So many sockets, all born, and a tracker that knows them.
fn populated(sockets: usize) -> (Population, Tracker) {
    let mut population = Population::new(sockets);
    let limits = Limits {
        max_sockets: sockets.max(Limits::default().max_sockets),
    };
    let mut tracker = Tracker::new(limits, follows());
    let mut changes = Vec::new();
    let mut bytes = Vec::new();
    let mut take = |record: &[u8]| {
        bytes.extend_from_slice(record);
        if bytes.len() >= WAITING {
            track(&bytes, &mut tracker, &mut changes, |_| {});
            bytes.clear();
        }
    };
    population.be_born(&mut take);
    // Until as many are in every part of their lives.
    population.live(6 * sockets as u64, &mut take);
    track(&bytes, &mut tracker, &mut changes, |_| {});
    (population, tracker)
}

/// As `run::pipeline` does.
fn track(
    bytes: &[u8],
    tracker: &mut Tracker,
    changes: &mut Vec<Change>,
    mut told: impl FnMut(&Change),
) {
    let mut ahead = records(bytes).flatten();
    let lead = if tracker.foresees() { LEAD } else { 0 };
    for record in ahead.by_ref().take(lead) {
        tracker.foresee(subject(record));
    }
    for record in records(bytes).flatten() {
        if tracker.foresees()
            && let Some(later) = ahead.next()
        {
            tracker.foresee(subject(later));
        }
        if let Ok(record) = &decode(record) {
            tracker.apply(record, changes);
            changes.iter().for_each(&mut told);
            changes.clear();
        }
    }
}

fn piece(population: &mut Population) -> Vec<u8> {
    let mut bytes = Vec::new();
    population.live(PIECE, |record| bytes.extend_from_slice(record));
    bytes
}

fn decoding(criterion: &mut Criterion) {
    let bytes = piece(&mut populated(1_000).0);
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PIECE));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            for record in records(black_box(&bytes)).flatten() {
                black_box(&decode(record));
            }
        });
    });
}

fn tracking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode and track");
    group.throughput(Throughput::Elements(PIECE));
    for sockets in [1_000, 100_000, 1_000_000] {
        let (population, mut tracker) = populated(sockets);
        let population = RefCell::new(population);
        let mut changes = Vec::new();
        group.bench_with_input(BenchmarkId::from_parameter(sockets), &(), |bencher, ()| {
            bencher.iter_batched_ref(
                || piece(&mut population.borrow_mut()),
                |bytes| {
                    track(bytes, &mut tracker, &mut changes, |change| {
                        black_box(change);
                    });
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// The changes of a piece.
fn changes() -> Vec<Change> {
    let (mut population, mut tracker) = populated(1_000);
    let mut changes = Vec::new();
    let bytes = piece(&mut population);
    track(&bytes, &mut tracker, &mut Vec::new(), |change| {
        changes.push(*change);
    });
    changes
}

fn folding(criterion: &mut Criterion) {
    let changes = changes();
    let mut group = criterion.benchmark_group("dwell");
    group.throughput(Throughput::Elements(changes.len() as u64));
    let mut dwells = Dwells::new(&[], &[], follows());
    group.bench_function("dwell", |bencher| {
        bencher.iter(|| changes.iter().for_each(|change| dwells.change(change)));
    });
}

fn writing(criterion: &mut Criterion) {
    let changes = changes();
    let info = SessionInfo::default();
    let mut group = criterion.benchmark_group("sink");
    group.throughput(Throughput::Elements(changes.len() as u64));
    for (name, format) in [("table", Format::Table), ("json", Format::Json)] {
        let mut sink = Sink::new(format, io::sink(), false, &info);
        group.bench_function(name, |bencher| {
            bencher.iter(|| changes.iter().all(|change| sink.change(change).is_ok()));
        });
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .sample_size(20)
        .configure_from_args();
    decoding(&mut criterion);
    tracking(&mut criterion);
    folding(&mut criterion);
    writing(&mut criterion);
    criterion.final_summary();
}
