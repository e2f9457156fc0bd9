//! The kernel's clock, read from user space.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::decode::KtimeNs;

/// `CLOCK_MONOTONIC` now: the clock that `bpf_ktime_get_ns` stamps records with.
#[must_use]
pub fn ktime_now() -> KtimeNs {
    KtimeNs(u64::try_from(nanoseconds(clock_gettime(ClockId::Monotonic))).unwrap_or(0))
}

/// Nanoseconds to add to `CLOCK_MONOTONIC` to get `CLOCK_REALTIME`.
///
/// The two clocks are read one after the other, so it is off by the time
/// between the readings (well below a microsecond) and by what NTP slews
/// during the session.
#[must_use]
pub fn clock_offset() -> i64 {
    let monotonic = nanoseconds(clock_gettime(ClockId::Monotonic));
    nanoseconds(clock_gettime(ClockId::Realtime)) - monotonic
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::{clock_offset, ktime_now};

    #[test]
    fn the_clock_does_not_go_back() {
        let first = ktime_now();
        assert!(ktime_now() >= first);
    }

    #[test]
    fn the_offset_leads_from_uptime_to_this_century() {
        let year_2020_ns = 1_577_836_800_000_000_000;
        let monotonic = i64::try_from(ktime_now().0).unwrap();
        assert!(monotonic + clock_offset() > year_2020_ns);
    }
}
