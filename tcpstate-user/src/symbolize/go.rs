//! Names of a Go program's functions, from the table that its own runtime
//! uses: stripping does not remove it.
//!
//! Format of Go 1.18 and later: `src/internal/abi/symtab.go` and
//! `src/debug/gosym/pclntab.go` of
//! <https://github.com/golang/go/tree/go1.22.0>. Older ones are not read.

use std::fs::File;

use object::{
    LittleEndian, ReadCache,
    elf::FileHeader64,
    read::elf::{FileHeader as _, SectionHeader as _},
};

use super::{Frame, readable::clipped_bytes, system};

/// A greater table is not read; that of a Kubernetes program has 20 MiB.
const MAX_TABLE: u64 = 128 << 20;

/// More has no program.
const MAX_SECTIONS: usize = 4096;

/// The section `.gopclntab`.
pub(super) struct GoTable {
    table: Vec<u8>,
    text: u64,
    functions: usize,
    /// Where in the table these begin.
    names: usize,
    units: usize,
    files: usize,
    values: usize,
    index: usize,
}

/// A function, and the line in it.
pub(super) struct GoPlace {
    function: String,
    file: Option<String>,
    line: Option<u32>,
}

impl GoPlace {
    /// Completes what is known of the place.
    pub(super) fn frame(self, place: Frame) -> Frame {
        let Self {
            function,
            file,
            line,
        } = self;
        let mut frame = Frame {
            function: Some(function),
            file,
            line,
            ..place
        };
        frame.system = system::is_system(&frame);
        frame
    }
}

impl GoTable {
    /// The table of a file; `None` when it has none that is understood.
    pub(super) fn read(file: &File) -> Option<Self> {
        let cache = ReadCache::new(file);
        let endian = LittleEndian;
        let header = FileHeader64::<LittleEndian>::parse(&cache).ok()?;
        if header.shnum(endian, &cache).ok()? > MAX_SECTIONS {
            return None;
        }
        let sections = header.sections(endian, &cache).ok()?;
        let (_, section) = sections.section_by_name(endian, b".gopclntab")?;
        if section.sh_size(endian) > MAX_TABLE {
            return None;
        }
        let table = section.data(endian, &cache).ok()?.to_vec();
        let text = sections.section_by_name(endian, b".text");
        Self::of(table, text.map_or(0, |(_, text)| text.sh_addr(endian)))
    }

    fn of(table: Vec<u8>, text: u64) -> Option<Self> {
        /// `go118magic`, `go120magic`, then two zeros, the smallest instruction
        /// (1 byte) and the size of a pointer.
        const HEADERS: [[u8; 8]; 2] = [
            [0xf0, 0xff, 0xff, 0xff, 0, 0, 1, 8],
            [0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8],
        ];
        let header: [u8; 8] = *table.first_chunk()?;
        if !HEADERS.contains(&header) {
            return None;
        }
        let word = |index: usize| {
            let at = 8 + index * 8;
            let bytes = table.get(at..)?.first_chunk()?;
            usize::try_from(u64::from_le_bytes(*bytes)).ok()
        };
        let own_text = word(2)? as u64;
        Some(Self {
            functions: word(0)?,
            // Position-independent programs have none until they are relocated.
            text: if own_text == 0 { text } else { own_text },
            names: word(3)?,
            units: word(4)?,
            files: word(5)?,
            values: word(6)?,
            index: word(7)?,
            table,
        })
    }

    /// What lies at this address.
    pub(super) fn find(&self, address: u64) -> Option<GoPlace> {
        let offset = u32::try_from(address.checked_sub(self.text)?).ok()?;
        let (mut low, mut high) = (0, self.functions);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= offset {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let (start, data) = self.entry(low.checked_sub(1)?)?;
        let function = self.index.checked_add(usize::try_from(data).ok()?)?;
        let field = |index: usize| self.word(function.checked_add(index * 4)?);
        let name = self.text_at(self.names, field(1)?)?;
        let line = self.value(field(6)?, start, offset);
        let file = self.value(field(5)?, start, offset);
        Some(GoPlace {
            function: name,
            line: line.and_then(|line| u32::try_from(line).ok()),
            file: file.and_then(|file| self.file(field(8)?, file)),
        })
    }

    /// A function's start and where its description is.
    fn entry(&self, index: usize) -> Option<(u32, u32)> {
        let at = self.index.checked_add(index.checked_mul(8)?)?;
        Some((self.word(at)?, self.word(at.checked_add(4)?)?))
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.table.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    }

    fn text_at(&self, table: usize, offset: u32) -> Option<String> {
        let begin = table.checked_add(usize::try_from(offset).ok()?)?;
        let text = self.table.get(begin..)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        Some(clipped_bytes(&text[..end]))
    }

    /// The memory that it takes.
    pub(super) const fn size(&self) -> u64 {
        self.table.len() as u64
    }

    /// A compilation unit's file of this number.
    fn file(&self, unit: u32, number: i32) -> Option<String> {
        let index = unit.checked_add(u32::try_from(number).ok()?)?;
        let index = usize::try_from(index).ok()?.checked_mul(4)?;
        let offset = self.word(self.units.checked_add(index)?)?;
        self.text_at(self.files, offset)
    }

    /// The value that a list of changes has at an address: each is the
    /// difference of the value, and for how many bytes of code it holds.
    fn value(&self, list: u32, start: u32, address: u32) -> Option<i32> {
        let begin = self.values.checked_add(usize::try_from(list).ok()?)?;
        let mut rest = self.table.get(begin..)?;
        let (mut value, mut end) = (-1_i32, start);
        loop {
            let change = varint(&mut rest)?;
            if change == 0 && end != start {
                return None;
            }
            let (half, odd) = ((change >> 1) as i32, change & 1 != 0);
            value = value.wrapping_add(if odd { !half } else { half });
            end = end.checked_add(varint(&mut rest)?)?;
            if address < end {
                return Some(value);
            }
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u32;
    for shift in (0..32).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::any, proptest};

    use super::*;

    /// Two functions, `main.a` at 0 and `main.b` at 0x20; `main.b` is in line 7
    /// for 8 bytes and then in line 9.
    fn table() -> Vec<u8> {
        let mut table = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
        let sections: [&[u8]; 5] = [
            b"main.a\0main.b\0\0\0",
            &[0, 0, 0, 0, 0, 0, 0, 0],
            b"/src/b.go\0\0\0\0\0\0\0",
            // Nothing; the file, number 0; the lines.
            &[0, 0, 0, 0, 2, 0x40, 0, 0, 16, 8, 4, 0x38, 0, 0, 0, 0],
            &[],
        ];
        let mut at = 8 + 8 * 8;
        let mut starts = Vec::new();
        for section in sections {
            starts.push(at as u64);
            at += section.len();
        }
        let words = [2, 1, 0x40_0000].into_iter().chain(starts);
        table.extend(words.flat_map(|word: u64| word.to_le_bytes()));
        table.extend(sections.concat());
        let index: [u32; 6] = [0, 24, 0x20, 60, 0x60, 0];
        let a: [u32; 9] = [0, 0, 0, 0, 0, 4, 8, 0, 0];
        let b: [u32; 9] = [0x20, 7, 0, 0, 0, 4, 8, 0, 0];
        let words = index.into_iter().chain(a).chain(b);
        table.extend(words.flat_map(u32::to_le_bytes));
        table
    }

    #[test]
    fn functions_are_found_with_their_lines() {
        let table = GoTable::of(table(), 0).unwrap();
        let found = table.find(0x40_0020).unwrap();
        assert_eq!(found.function, "main.b");
        assert_eq!(found.file.as_deref(), Some("/src/b.go"));
        assert_eq!(found.line, Some(7));
        assert_eq!(table.find(0x40_0028).unwrap().line, Some(9));
        assert_eq!(table.find(0x40_001f).unwrap().function, "main.a");
        assert!(table.find(0x3f_ffff).is_none());
    }

    proptest! {
        #[test]
        fn a_damaged_table_is_no_reason_to_panic(
            damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 0..20),
            address in any::<u32>(),
        ) {
            let mut bytes = table();
            for (place, value) in damage {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Some(table) = GoTable::of(bytes, 0) {
                table.find(u64::from(address));
                table.find(0x40_0020);
            }
        }
    }
}
