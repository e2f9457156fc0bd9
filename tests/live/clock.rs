//! The test's own clock: intervals in which it did something, and deadlines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// One millisecond, in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// `CLOCK_MONOTONIC` in nanoseconds: the clock of `mono_ns`.
pub(crate) fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Nanoseconds since the epoch, by `CLOCK_REALTIME`.
pub(crate) fn wall() -> u64 {
    nanoseconds(ClockId::Realtime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Something happened not before `from` and not after `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    /// Just before the test caused it.
    pub from: u64,
    /// When the test had seen it.
    pub to: u64,
}

impl Interval {
    /// From this cause to the moment when `effect` was seen.
    pub(crate) fn until(self, effect: Self) -> Self {
        Self {
            from: self.from,
            to: effect.to,
        }
    }
}

/// What `action` returned, and when it ran.
pub(crate) fn timed<T>(action: impl FnOnce() -> T) -> (T, Interval) {
    let from = now();
    let value = action();
    (value, Interval { from, to: now() })
}

/// Whether this is the emulated machine, ten to thirty times slower.
pub(crate) fn in_vm() -> bool {
    std::env::var_os("TCPSTATE_IN_VM").is_some_and(|value| value == "1")
}

/// How long to wait for something that should take a moment, or the minute
/// of `TIME_WAIT`. Less than a machine may be silent (`xtask/src/vm/qemu.rs`).
pub(crate) fn patience() -> Duration {
    Duration::from_secs(if in_vm() { 150 } else { 90 })
}

/// Polls until `condition` gives a value; panics with `what` at the deadline.
pub(crate) fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> (T, Interval) {
    let from = now();
    let deadline = from + u64::try_from(patience().as_nanos()).unwrap();
    loop {
        if let Some(value) = condition() {
            return (value, Interval { from, to: now() });
        }
        assert!(now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The longest time by which the scheduler was late for a thread that wanted
/// to run every millisecond: the machine's noise, during the test itself.
pub(crate) struct Noise {
    worst: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Noise {
    /// Begins to measure.
    pub(crate) fn start() -> Self {
        let worst = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (worst, stop) = (Arc::clone(&worst), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let ((), slept) = timed(|| thread::sleep(Duration::from_millis(1)));
                    let late = (slept.to - slept.from).saturating_sub(MS);
                    worst.fetch_max(late, Ordering::Relaxed);
                }
            }
        });
        Self {
            worst,
            stop,
            thread,
        }
    }

    /// Nanoseconds of the worst delay.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.worst.load(Ordering::Relaxed)
    }
}

#[test]
fn an_interval_ends_where_its_effect_was_seen() {
    let (value, cause) = timed(|| 7);
    let (seen, effect) = wait_for("nothing", || Some(8));
    assert_eq!((value, seen), (7, 8));
    let whole = cause.until(effect);
    assert!(whole.from == cause.from && whole.to == effect.to && whole.from <= whole.to);
}
