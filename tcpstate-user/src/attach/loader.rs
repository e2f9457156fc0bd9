//! The object file into the kernel: its globals set, its maps sized.

use std::fs;

use aya::{Ebpf, EbpfLoader};
use rustix::time::{ClockId, clock_getres};
use tcpstate_common::settings::{self, CAPTURE_PLACES, Callers, Capture, Filter, Offsets, Options};
use zerocopy::IntoBytes as _;

use super::AttachError;

/// Name of the ring buffer.
pub(super) const EVENTS: &str = "EVENTS";
/// Name of the array of [`settings::Counters`].
pub(super) const COUNTERS: &str = "COUNTERS";
/// Name of the array in which stacks are put together.
const CAPTURED: &str = "CAPTURED";
/// Name of the map of token buckets.
const BUCKETS: &str = "BUCKETS";
/// Name of aya-log's ring buffer.
const LOGS: &str = "AYA_LOGS";

/// The kernel side, as it was built beside this crate.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tcpstate"));

/// A reader is woken once per so many bytes: about 14,000 records, or a sixteenth
/// of the ring if that is less. Waking it took 8 us of the traced task in a virtual
/// machine of Firecracker's, 16 us while others were at work (Linux 6.18): once per
/// 64 KiB that was 9 to 45 ns of each record, now it is 3 at most.
const WAKE_BYTES: u32 = 1 << 20;

/// The smallest ring buffer that every kernel accepts: one page, of 64 KiB on
/// some machines.
const MIN_RING: u32 = 64 << 10;

/// More processes than that, connecting, accepting and reading within three
/// seconds, lend each other tokens.
const MAX_BUCKETS: u32 = 8192;

/// What the object's globals and maps depend on.
pub(super) struct Plan<'a> {
    pub(super) offsets: &'a Offsets,
    pub(super) callers: &'a Callers,
    pub(super) filter: &'a Filter,
    pub(super) ring_bytes: u32,
    /// `None` when no stack is captured: then nothing is reserved for it.
    pub(super) capture: Option<Capture>,
    pub(super) last_looks: bool,
    pub(super) verbose: bool,
}

/// Creates the maps and prepares the programs; none is loaded yet.
pub(super) fn load(loader: EbpfLoader<'static>, plan: &Plan<'_>) -> Result<Ebpf, AttachError> {
    // It shall borrow what does not live as long.
    let mut loader: EbpfLoader<'_> = loader;
    let ring_bytes = ring_size(plan.ring_bytes);
    let options = Options {
        wake_bytes: u64::from(WAKE_BYTES.min(ring_bytes / 16)),
        tick_ns: tick_ns(),
        capture: Capture {
            wake_bytes: u64::from(ring_bytes / 16),
            ..plan.capture.unwrap_or_default()
        },
        last_looks: plan.last_looks.into(),
    };
    let places = plan.capture.map_or(1, |_| possible_cpus() * CAPTURE_PLACES);
    let level = if plan.verbose {
        aya_log::Level::Debug as u8
    } else {
        0
    };
    loader
        .override_global(settings::OFFSETS, plan.offsets.as_bytes(), true)
        .override_global(settings::CALLERS, plan.callers.as_bytes(), true)
        .override_global(settings::FILTER, plan.filter.as_bytes(), true)
        .override_global(settings::OPTIONS, options.as_bytes(), true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries(EVENTS, ring_bytes)
        .map_max_entries(COUNTERS, possible_cpus())
        .map_max_entries(CAPTURED, places)
        .map_max_entries(
            BUCKETS,
            if plan.capture.is_some() {
                MAX_BUCKETS
            } else {
                1
            },
        )
        .map_max_entries(LOGS, if plan.verbose { 1 << 17 } else { MIN_RING })
        .load(OBJECT)
        .map_err(|error| AttachError::from_load(error, ring_bytes))
}

/// Length of a tick of the kernel's `jiffies` (1/`CONFIG_HZ` s), ns: what
/// the coarse clocks advance by, and the kernel says so. Neither
/// `sysconf(_SC_CLK_TCK)` nor `adjtimex` does: theirs is always 1/100 s. That
/// the resolution is `TICK_NSEC`: `posix_get_coarse_res` of
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/time/posix-timers.c>,
/// and `__cvdso_clock_getres_common` of
/// <https://github.com/torvalds/linux/blob/v6.12/lib/vdso/gettimeofday.c>.
fn tick_ns() -> u64 {
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    // Whole seconds there are none, and no part of one is negative.
    u64::try_from(resolution.tv_nsec).unwrap_or(0)
}

/// The kernel wants a power of two.
fn ring_size(wanted: u32) -> u32 {
    const MAX_RING: u32 = 1 << 31;
    wanted
        .checked_next_power_of_two()
        .unwrap_or(MAX_RING)
        .max(MIN_RING)
}

/// One more than the greatest CPU number there can ever be: `0-3,8-11` is 12.
pub(super) fn possible_cpus() -> u32 {
    let list = fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    cpus_of(&list)
}

/// A machine of whose CPUs nothing is known gets room for the greatest number
/// that Linux supports on x86-64 (`CONFIG_NR_CPUS_RANGE_END`).
fn cpus_of(list: &str) -> u32 {
    const MAX_CPUS: u32 = 8192;
    let last = list.trim().rsplit([',', '-']).next().unwrap_or_default();
    last.parse::<u32>()
        .map_or(MAX_CPUS, |last| last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::{cpus_of, ring_size, tick_ns};

    #[test]
    fn the_last_cpu_number_counts_not_the_number_of_cpus() {
        assert_eq!(cpus_of("0-1\n"), 2);
        assert_eq!(cpus_of("0-3,8-11\n"), 12);
        assert_eq!(cpus_of("0\n"), 1);
        assert_eq!(cpus_of(""), 8192);
    }

    #[test]
    fn a_tick_is_that_of_one_of_the_frequencies_a_kernel_can_be_built_with() {
        let hz = 1_000_000_000.0 / tick_ns() as f64;
        let known = [100.0, 250.0, 300.0, 1000.0, 1024.0];
        assert!(
            known.iter().any(|known| (hz - known).abs() < 0.01),
            "{hz} ticks a second"
        );
    }

    #[test]
    fn a_ring_is_a_power_of_two_of_at_least_64_kib() {
        assert_eq!(ring_size(0), 65_536);
        assert_eq!(ring_size(100_000), 131_072);
        assert_eq!(ring_size(16 << 20), 16 << 20);
        assert_eq!(ring_size(u32::MAX), 1 << 31);
    }
}
