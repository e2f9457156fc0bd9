//! Kernel time to calendar time.
//!
//! Calendar and time zone are looked up once per second of the trace; a line
//! costs a comparison.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use super::digits::{padded, two_digits};
use crate::decode::KtimeNs;

const SECOND: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Clock {
    offset_ns: i64,
    zone: TimeZone,
    /// When the second began that `date_time` and `offset` belong to.
    second: Option<i128>,
    date_time: [u8; 19],
    offset: Vec<u8>,
}

/// One instant, in parts.
pub(super) struct Instant<'a> {
    /// `2025-01-31T23:59:59`
    pub(super) date_time: &'a [u8; 19],
    /// Below a second.
    pub(super) nanos: u64,
    /// `Z` in UTC, else such as `+01:00`.
    pub(super) offset: &'a [u8],
}

impl Clock {
    pub(super) fn new(offset_ns: i64, zone: TimeZone) -> Self {
        Self {
            offset_ns,
            zone,
            second: None,
            date_time: *b"1970-01-01T00:00:00",
            offset: Vec::new(),
        }
    }

    /// Any sum of kernel time and offset: it lies in the years 1677 to 2846.
    pub(super) fn at(&mut self, at: KtimeNs) -> Instant<'_> {
        let ns = i128::from(at.0) + i128::from(self.offset_ns);
        let within = |second: i128| u64::try_from(ns - second).ok().filter(|&ns| ns < SECOND);
        let nanos = self.second.and_then(within).unwrap_or_else(|| {
            let nanos = ns.rem_euclid(i128::from(SECOND));
            self.look_up(ns);
            self.second = Some(ns - nanos);
            u64::try_from(nanos).unwrap_or(0)
        });
        Instant {
            date_time: &self.date_time,
            nanos,
            offset: &self.offset,
        }
    }

    fn look_up(&mut self, ns: i128) {
        let timestamp = Timestamp::from_nanosecond(ns).unwrap_or_default();
        let offset = self.zone.to_offset(timestamp);
        self.date_time = date_time(offset.to_datetime(timestamp));
        self.offset.clear();
        if self.zone == TimeZone::UTC {
            self.offset.push(b'Z');
        } else {
            utc_offset(offset.seconds(), &mut self.offset);
        }
    }
}

impl Instant<'_> {
    /// RFC 3339 with nanoseconds.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.date_time);
        out.push(b'.');
        padded(self.nanos, 9, out);
        out.extend_from_slice(self.offset);
    }
}

fn date_time(at: DateTime) -> [u8; 19] {
    let mut text = *b"0000-00-00T00:00:00";
    let year = at.year().unsigned_abs();
    let parts = [
        (0, year / 100),
        (2, year % 100),
        (5, at.month().unsigned_abs().into()),
        (8, at.day().unsigned_abs().into()),
        (11, at.hour().unsigned_abs().into()),
        (14, at.minute().unsigned_abs().into()),
        (17, at.second().unsigned_abs().into()),
    ];
    for (place, value) in parts {
        text[place..place + 2].copy_from_slice(&two_digits(value));
    }
    text
}

/// RFC 3339 has no seconds here; no zone has had them since 1972.
fn utc_offset(seconds: i32, out: &mut Vec<u8>) {
    let minutes = u64::from(seconds.unsigned_abs()) / 60;
    out.push(if seconds < 0 { b'-' } else { b'+' });
    padded(minutes / 60, 2, out);
    out.push(b':');
    padded(minutes % 60, 2, out);
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::Clock;
    use crate::decode::KtimeNs;

    fn text(clock: &mut Clock, at: u64) -> String {
        let mut out = Vec::new();
        clock.at(KtimeNs(at)).write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn kernel_time_plus_offset_is_calendar_time() {
        let mut utc = Clock::new(1_738_367_999_000_000_000, TimeZone::UTC);
        let mut at = |ns| text(&mut utc, ns);
        assert_eq!(at(7), "2025-01-31T23:59:59.000000007Z");
        assert_eq!(at(1_000_000_000), "2025-02-01T00:00:00.000000000Z");
        assert_eq!(at(999_999_999), "2025-01-31T23:59:59.999999999Z");
    }

    #[test]
    fn local_time_says_how_far_it_is_from_utc() {
        let zone = TimeZone::fixed(Offset::from_seconds(-12_600).unwrap());
        let mut local = Clock::new(1_738_367_999_000_000_000, zone);
        assert_eq!(text(&mut local, 5), "2025-01-31T20:29:59.000000005-03:30");
    }

    #[test]
    fn a_time_before_the_epoch_and_the_latest_possible_one_are_times_too() {
        let mut early = Clock::new(-1, TimeZone::UTC);
        assert_eq!(text(&mut early, 0), "1969-12-31T23:59:59.999999999Z");
        let mut late = Clock::new(i64::MAX, TimeZone::UTC);
        assert_eq!(text(&mut late, u64::MAX), "2846-10-30T23:21:50.564327422Z");
    }
}
