//! The texts of sysctls.

use std::str::FromStr;

use crate::ports::Known;

/// `32768 60999`, with a tab: both ends included.
pub(super) fn range(text: &str) -> Known<(u16, u16)> {
    let mut ends = text.split_whitespace().map(str::parse);
    match (ends.next(), ends.next(), ends.next()) {
        (Some(Ok(low)), Some(Ok(high)), None) => Ok((low, high)),
        _ => Err(odd("ip_local_port_range", text)),
    }
}

/// `8080,9148-9150`; empty is none.
pub(super) fn ranges(text: &str) -> Known<Vec<(u16, u16)>> {
    let parts = text.trim().split(',').filter(|part| !part.is_empty());
    let one = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let all: Option<Vec<_>> = parts.map(one).collect();
    all.ok_or_else(|| odd("ip_local_reserved_ports", text))
}

/// A plain number.
pub(super) fn number<T: FromStr>(name: &str, text: &str) -> Known<T> {
    text.trim().parse().map_err(|_why| odd(name, text))
}

fn odd(name: &str, text: &str) -> Box<str> {
    format!("net.ipv4.{name} says {:?}", text.trim()).into()
}

#[cfg(test)]
mod tests {
    use super::{number, range, ranges};

    #[test]
    fn a_range_is_two_numbers_and_anything_else_is_kept_in_the_reason() {
        assert_eq!(range("32768\t60999\n"), Ok((32768, 60999)));
        for odd in ["", "1", "1 2 3", "1 70000", "a b"] {
            assert!(range(odd).unwrap_err().contains(&format!("{odd:?}")));
        }
    }

    #[test]
    fn reserved_ports_are_single_ones_and_ranges() {
        assert_eq!(ranges("\n"), Ok(Vec::new()));
        let both = Ok(vec![(8080, 8080), (9148, 9150)]);
        assert_eq!(ranges("8080,9148-9150\n"), both);
        assert!(ranges("1-2-3").is_err());
    }

    #[test]
    fn a_number_out_of_its_range_is_not_one() {
        assert_eq!(number::<u8>("tcp_tw_reuse", "2\n"), Ok(2));
        assert!(number::<u8>("tcp_tw_reuse", "300").is_err());
    }
}
