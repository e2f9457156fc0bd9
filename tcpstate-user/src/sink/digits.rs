//! Numbers as digits, without the detour through `fmt`: `writeln!` took 888 ns
//! for a line that takes 130 ns so.

/// 0 to 99, two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0_u8;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
};

/// Decimal, as many digits as it takes. Nearly all numbers of a line are short.
pub(super) fn decimal(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(pair(number)[1]),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1_000 => out.extend_from_slice(&three(number)),
        1_000..10_000 => {
            let ([a, b], [c, d]) = (pair(number / 100), pair(number % 100));
            out.extend_from_slice(&[a, b, c, d]);
        }
        // Most ports.
        10_000..100_000 => {
            let [[_, a], [b, c], [d, e]] =
                [number / 10_000, number / 100 % 100, number % 100].map(pair);
            out.extend_from_slice(&[a, b, c, d, e]);
        }
        _ => padded(number, 1, out),
    }
}

/// Three digits of what is below a thousand.
pub(super) fn three(number: u64) -> [u8; 3] {
    let ([_, a], [b, c]) = (pair(number / 100), pair(number % 100));
    [a, b, c]
}

/// Two digits of what is below a hundred.
fn pair(number: u64) -> [u8; 2] {
    let index = usize::try_from(number).unwrap_or(0);
    PAIRS.get(index).copied().unwrap_or(*b"00")
}

/// Decimal with leading zeros, at least `width` digits (20 at most).
pub(super) fn padded(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(number % 100));
        number /= 100;
    }
    if number > 0 || at == digits.len() {
        at -= 1;
        digits[at] = pair(number)[1];
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// Hexadecimal in lower case with leading zeros, at least `width` digits (16 at
/// most).
pub(super) fn hex(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 16];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[usize::try_from(number & 15).unwrap_or(0)];
        number >>= 4;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

/// The last two decimal digits.
pub(super) fn two_digits(number: u16) -> [u8; 2] {
    pair(u64::from(number % 100))
}

/// How many digits [`decimal`] writes.
pub(super) fn width(number: u64) -> usize {
    usize::try_from(number.checked_ilog10().unwrap_or(0)).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::{decimal, hex, padded, width};

    const NUMBERS: [u64; 18] = [
        0,
        1,
        9,
        10,
        99,
        100,
        101,
        230,
        999,
        1000,
        5_070,
        9_999,
        10_000,
        43_210,
        100_000,
        65_535,
        1_000_000_000,
        u64::MAX,
    ];

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn digits_are_those_of_fmt() {
        for number in NUMBERS {
            assert_eq!(written(|out| decimal(number, out)), number.to_string());
            assert_eq!(width(number), number.to_string().len());
            assert_eq!(
                written(|out| padded(number, 9, out)),
                format!("{number:09}")
            );
            assert_eq!(written(|out| hex(number, 1, out)), format!("{number:x}"));
            assert_eq!(written(|out| hex(number, 6, out)), format!("{number:06x}"));
        }
    }
}
