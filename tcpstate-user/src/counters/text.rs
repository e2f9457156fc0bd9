//! Numbers out of the text of `/proc/net`, by their names.
//!
//! Total: what is not there, or no number, is absent with the reason. Fields come
//! and go between kernels, so that none has a fixed place.

use super::{Absent, Value};

/// The number under `name` in `group` of `/proc/net/snmp` or `netstat`: a line of
/// names, and a line of numbers behind it, both begin with the group.
pub(super) fn paired(text: &str, group: &str, name: &str) -> Value {
    let mut lines = text.lines().filter_map(|line| {
        let (of, rest) = line.split_once(':')?;
        (of == group).then_some(rest)
    });
    let names = lines.next().ok_or(Absent::NoField)?;
    let numbers = lines.next().ok_or(Absent::NoNumber)?;
    let place = names.split_whitespace().position(|it| it == name);
    let place = place.ok_or(Absent::NoField)?;
    // With one missing, nobody knows which.
    if names.split_whitespace().count() != numbers.split_whitespace().count() {
        return Err(Absent::NoNumber);
    }
    number(numbers, place)
}

/// The number behind `name` in the line of `group` of `/proc/net/sockstat`.
pub(super) fn named(text: &str, group: &str, name: &str) -> Value {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, line) = lines.find(|(of, _)| *of == group).ok_or(Absent::NoField)?;
    let place = line.split_whitespace().step_by(2).position(|it| it == name);
    number(line, place.ok_or(Absent::NoField)? * 2 + 1)
}

/// The word at `place`, as a number.
pub(super) fn number(text: &str, place: usize) -> Value {
    let word = text.split_whitespace().nth(place).ok_or(Absent::NoNumber)?;
    word.parse().map_err(|_no_number| Absent::NoNumber)
}
