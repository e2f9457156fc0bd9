//! Names of code that was made at run time, as runtimes write them into
//! `/tmp/perf-PID.map`: `START SIZE NAME` in each line, numbers in
//! hexadecimal.
//!
//! Every runtime writes it a little differently (Java's with `0x`, Node with
//! spaces in names), is writing it while it is read, and writes new lines for
//! code that takes the place of older code.

use super::readable::clipped_bytes;

/// The lines that were readable.
#[derive(Debug, Default)]
pub(super) struct PerfMap {
    /// By start; of the same start the last line comes last.
    entries: Vec<Entry>,
    names: Vec<u8>,
    /// Lines that were none.
    pub(super) unreadable: usize,
}

#[derive(Debug)]
struct Entry {
    start: u64,
    end: u64,
    name: std::ops::Range<usize>,
}

impl PerfMap {
    pub(super) fn parse(bytes: Vec<u8>) -> Self {
        let mut entries = Vec::new();
        let mut unreadable = 0;
        let mut begin = 0;
        for line in bytes.split(|byte| *byte == b'\n') {
            match entry(line, begin) {
                Some(entry) => entries.push(entry),
                None => unreadable += usize::from(!line.is_empty()),
            }
            begin += line.len() + 1;
        }
        entries.sort_by_key(|entry| entry.start);
        Self {
            entries,
            names: bytes,
            unreadable,
        }
    }

    /// The name of the code at this address.
    pub(super) fn find(&self, address: u64) -> Option<String> {
        /// Code that lies within other code is rare, and never deep.
        const NEAR: usize = 16;
        let behind = self.entries.partition_point(|entry| entry.start <= address);
        let mut near = self.entries[..behind].iter().rev().take(NEAR);
        let found = near.find(|entry| address < entry.end)?;
        let name = &self.names[found.name.clone()];
        Some(clipped_bytes(name))
    }
}

/// A line that begins at `begin` in the whole.
fn entry(line: &[u8], begin: usize) -> Option<Entry> {
    let line_end = begin + line.trim_ascii_end().len();
    let (start, rest) = number(line)?;
    let (size, name) = number(rest)?;
    let name_begin = begin + (line.len() - name.len());
    (size > 0 && name_begin < line_end).then_some(Entry {
        start,
        end: start.saturating_add(size),
        name: name_begin..line_end,
    })
}

/// A hexadecimal number, and what follows the blanks behind it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(u8::is_ascii_whitespace)?;
    let digits = std::str::from_utf8(&text[..end]).ok()?;
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let value = u64::from_str_radix(digits, 16).ok()?;
    Some((value, text[end..].trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, prop_assert, proptest};

    use super::*;

    fn map(text: &str) -> PerfMap {
        PerfMap::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn all_writers_are_understood() {
        let map = map("7f01000 20 py::handle:/app/server.py\n\
             0x00007f02000 0x40 void com.example.Shop.order()\n\
             7f03000 a LazyCompile:~connect net.js:9:1\n");
        assert_eq!(map.find(0x7f0_101f).unwrap(), "py::handle:/app/server.py");
        assert_eq!(
            map.find(0x7f0_2000).unwrap(),
            "void com.example.Shop.order()"
        );
        assert_eq!(
            map.find(0x7f0_3009).unwrap(),
            "LazyCompile:~connect net.js:9:1"
        );
        assert_eq!(map.find(0x7f0_300a), None);
        assert_eq!(map.find(0), None);
        assert_eq!(map.unreadable, 0);
    }

    #[test]
    fn the_last_line_for_an_address_counts_and_bad_lines_are_left_out() {
        let map = map("1000 10 old\nnonsense\n1000 10 new\n2000 0 empty\n3000 10\n\n4000 1");
        assert_eq!(map.find(0x1008).unwrap(), "new");
        assert_eq!(map.find(0x3000), None);
        assert_eq!(map.unreadable, 4);
    }

    #[test]
    fn names_are_bytes_of_anybody() {
        let map = PerfMap::parse(b"10 10 a\xff\x1b[2J".to_vec());
        assert_eq!(map.find(0x10).unwrap(), "a\u{fffd}\u{1b}[2J");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_map(bytes in vec(any::<u8>(), 0..300), address in 0..0x100_u64) {
            let text = [b"10 5 x\n", bytes.as_slice()].concat();
            let map = PerfMap::parse(text);
            map.find(address);
            prop_assert!(map.find(0x12).is_some());
        }
    }
}
