//! Durations for people.
//!
//! Cut off, never rounded up: a lower bound must stay one.

use super::digits::{decimal, padded, three};
use crate::track::Dwell;

/// `12µs`, `1.234ms`, `993ms`, `60.4s`, `2m03s`, `3h05m`, `2d04h`. Returns how
/// many columns it takes.
pub(crate) fn human(ns: u64, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let micros = ns / 1_000;
    let millis = micros / 1_000;
    let seconds = millis / 1_000;
    match ns {
        0..1_000 => number(ns, "ns", out),
        1_000..1_000_000 => number(micros, "µs", out),
        1_000_000..10_000_000 => point(millis, micros % 1_000, 3, "ms", out),
        10_000_000..100_000_000 => point(millis, micros % 1_000 / 100, 1, "ms", out),
        100_000_000..1_000_000_000 => number(millis, "ms", out),
        1_000_000_000..10_000_000_000 => point(seconds, millis % 1_000, 3, "s", out),
        10_000_000_000..100_000_000_000 => point(seconds, millis % 1_000 / 100, 1, "s", out),
        _ => clock(seconds, out),
    }
    let two_byte_letters = usize::from((1_000..1_000_000).contains(&ns));
    out.len() - start - two_byte_letters
}

/// As [`human`], for a sentence.
pub(super) fn text(ns: u64) -> String {
    filled(|out| {
        human(ns, out);
    })
}

/// What is written, which is text.
pub(super) fn filled(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// With `>=` before a lower bound, and `-` for what is not known.
pub(super) fn dwell(dwell: Dwell, out: &mut Vec<u8>) -> usize {
    match dwell {
        Dwell::Exact(ns) => human(ns, out),
        Dwell::AtLeast(ns) => {
            out.extend_from_slice(b">=");
            2 + human(ns, out)
        }
        Dwell::Unknown => {
            out.push(b'-');
            1
        }
    }
}

fn number(value: u64, unit: &str, out: &mut Vec<u8>) {
    decimal(value, out);
    out.extend_from_slice(unit.as_bytes());
}

fn point(whole: u64, part: u64, width: usize, unit: &str, out: &mut Vec<u8>) {
    decimal(whole, out);
    out.push(b'.');
    match width {
        3 => out.extend_from_slice(&three(part)),
        _ => padded(part, width, out),
    }
    out.extend_from_slice(unit.as_bytes());
}

fn clock(seconds: u64, out: &mut Vec<u8>) {
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    let (large, large_unit, small, small_unit) = match hours {
        0 => (minutes, b'm', seconds % 60, b's'),
        1..48 => (hours, b'h', minutes % 60, b'm'),
        _ => (hours / 24, b'd', hours % 24, b'h'),
    };
    decimal(large, out);
    out.push(large_unit);
    padded(small, 2, out);
    out.push(small_unit);
}

#[cfg(test)]
mod tests {
    use super::{dwell, human};
    use crate::track::Dwell;

    fn text(ns: u64) -> String {
        let mut out = Vec::new();
        let columns = human(ns, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(columns, text.chars().count());
        text
    }

    #[test]
    fn durations_read_as_people_say_them() {
        let cases = [
            (0, "0ns"),
            (999, "999ns"),
            (12_000, "12µs"),
            (999_999, "999µs"),
            (1_234_999, "1.234ms"),
            (12_345_678, "12.3ms"),
            (993_999_999, "993ms"),
            (1_005_999_999, "1.005s"),
            (60_456_000_000, "60.4s"),
            (99_999_999_999, "99.9s"),
            (123_000_000_000, "2m03s"),
            (3_599_999_999_999, "59m59s"),
            (11_100_000_000_000, "3h05m"),
            (187_200_000_000_000, "2d04h"),
            (u64::MAX, "213503d23h"),
        ];
        for (ns, expected) in cases {
            assert_eq!(text(ns), expected);
        }
    }

    #[test]
    fn bounds_and_gaps_are_marked() {
        let mut out = Vec::new();
        assert_eq!(dwell(Dwell::AtLeast(12_000), &mut out), 6);
        assert_eq!(out, ">=12µs".as_bytes());
        out.clear();
        assert_eq!(dwell(Dwell::Unknown, &mut out), 1);
        assert_eq!(out, b"-");
    }
}
