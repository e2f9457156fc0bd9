//! What an ELF file says for unwinding: segments, unwind information, build-id.
//!
//! It is read, not mapped: whoever truncates a file that we have mapped would
//! kill us. Files come from whatever runs on the host, so nothing in them is
//! believed before it is checked, sizes least of all.

use std::{fs::File, ops::Range};

use framehop::{ExplicitModuleSectionInfo, Module as FramehopModule, Unwinder as _};
use gimli::BaseAddresses;
use object::{
    LittleEndian, ReadCache, ReadRef,
    elf::{self, FileHeader64},
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable},
};

use super::{vetted, walk::ModuleUnwinder};

/// Sections greater than this are not read; the greatest `.eh_frame` of a
/// browser has 30 MiB.
const MAX_SECTION: u64 = 64 << 20;
/// More segments or sections than this has no honest program.
const MAX_HEADERS: usize = 4096;
/// Notes are read up to this size, and so many of them.
const MAX_NOTE: u64 = 1 << 16;
const MAX_NOTES: usize = 16;

type Header = FileHeader64<LittleEndian>;
type Sections<'a, 'c> = SectionTable<'a, Header, &'a ReadCache<&'c File>>;

/// Part of the file that is mapped into memory as code.
#[derive(Clone, Debug)]
struct Segment {
    in_file: Range<u64>,
    address: u64,
}

/// What was read.
pub(super) struct Elf {
    segments: Vec<Segment>,
    pub(super) build_id: Option<Vec<u8>>,
    pub(super) unwinder: ModuleUnwinder,
    pub(super) has_unwind_info: bool,
    /// Bytes kept.
    pub(super) size: u64,
}

impl Elf {
    /// The address, in the file's own numbering, of what lies at this offset
    /// in the file.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        let holds = |segment: &&Segment| segment.in_file.contains(&offset);
        let segment = self.segments.iter().find(holds)?;
        let address = (offset - segment.in_file.start).checked_add(segment.address)?;
        // No user code lies higher, and whoever goes to the end of a range
        // from here must not come to the end of numbers.
        (address < 1 << 63).then_some(address)
    }
}

/// Reads a file; an error is a sentence for a person.
pub(super) fn read(file: &File) -> Result<Elf, String> {
    let cache = ReadCache::new(file);
    let endian = LittleEndian;
    let header = Header::parse(&cache).map_err(|_why| "not an ELF file".to_owned())?;
    if header.e_machine.get(endian) != elf::EM_X86_64 || !header.is_class_64() {
        return Err("not an x86-64 file".to_owned());
    }
    let broken = |error: object::Error| format!("broken ELF file: {error}");
    // Their tables are read as a whole.
    let many = header
        .phnum(endian, &cache)
        .map_err(broken)?
        .max(header.shnum(endian, &cache).map_err(broken)?);
    if many > MAX_HEADERS {
        return Err(format!("broken ELF file: {many} segments or sections"));
    }
    let programs = header.program_headers(endian, &cache).map_err(broken)?;
    let mut found = Elf {
        segments: Vec::new(),
        build_id: None,
        unwinder: ModuleUnwinder::new(),
        has_unwind_info: false,
        size: 0,
    };
    let mut notes = 0;
    for program in programs {
        let (start, size) = program.file_range(endian);
        match program.p_type(endian) {
            elf::PT_LOAD => found
                .segments
                .extend(start.checked_add(size).map(|end| Segment {
                    in_file: start..end,
                    address: program.p_vaddr(endian),
                })),
            elf::PT_NOTE if size <= MAX_NOTE && notes < MAX_NOTES => {
                notes += 1;
                found.build_id = found.build_id.or_else(|| build_id(program, &cache));
            }
            _ => {}
        }
    }
    if let Ok(sections) = header.sections(endian, &cache) {
        found.add_unwind_info(&sections, &cache);
    }
    Ok(found)
}

fn build_id<'a>(
    program: &elf::ProgramHeader64<LittleEndian>,
    cache: impl ReadRef<'a>,
) -> Option<Vec<u8>> {
    /// SHA-1 has 20.
    const MAX: usize = 64;
    let mut notes = program.notes(LittleEndian, cache).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.n_type(LittleEndian) == elf::NT_GNU_BUILD_ID && note.name() == elf::ELF_NOTE_GNU {
            return Some(note.desc().to_vec()).filter(|id| id.len() <= MAX);
        }
    }
    None
}

impl Elf {
    fn add_unwind_info(&mut self, sections: &Sections<'_, '_>, cache: &ReadCache<&File>) {
        let range = |name: &[u8]| {
            let (_, section) = sections.section_by_name(LittleEndian, name)?;
            let start = section.sh_addr(LittleEndian);
            Some(start..start.checked_add(section.sh_size(LittleEndian))?)
        };
        let data = |name: &[u8]| {
            let (_, section) = sections.section_by_name(LittleEndian, name)?;
            let readable = section.sh_size(LittleEndian) <= MAX_SECTION
                && section.sh_flags(LittleEndian) & u64::from(elf::SHF_COMPRESSED) == 0;
            let data = readable.then(|| section.data(LittleEndian, cache).ok())??;
            (!data.is_empty()).then(|| data.to_vec())
        };
        let begin = |name: &[u8]| range(name).map_or(0, |range| range.start);
        let bases = BaseAddresses::default()
            .set_eh_frame(begin(b".eh_frame"))
            .set_eh_frame_hdr(begin(b".eh_frame_hdr"))
            .set_text(begin(b".text"))
            .set_got(begin(b".got"));
        let mut eh_frame_hdr = data(b".eh_frame_hdr");
        let eh_frame = data(b".eh_frame").filter(|frame| {
            let vetted = vetted::eh_frame(frame, eh_frame_hdr.as_deref(), &bases);
            eh_frame_hdr.take_if(|_| vetted != Ok(true));
            vetted.is_ok()
        });
        let debug_frame = match eh_frame {
            Some(_) => None,
            None => {
                data(b".debug_frame").filter(|frame| vetted::debug_frame(frame, &bases).is_ok())
            }
        };
        self.has_unwind_info = eh_frame.is_some() || debug_frame.is_some();
        let kept = [&eh_frame, &debug_frame, &eh_frame_hdr];
        let length = |data: &Option<Vec<u8>>| data.as_ref().map_or(0, Vec::len) as u64;
        self.size = kept.into_iter().map(length).sum();
        let base = self.segments.iter().map(|segment| segment.address).min();
        let base = base.unwrap_or(0);
        self.unwinder.add_module(FramehopModule::new(
            String::new(),
            base..u64::MAX,
            base,
            ExplicitModuleSectionInfo {
                base_svma: base,
                text_svma: range(b".text"),
                got_svma: range(b".got"),
                eh_frame_svma: range(b".eh_frame"),
                eh_frame,
                eh_frame_hdr_svma: range(b".eh_frame_hdr"),
                eh_frame_hdr,
                debug_frame,
                ..Default::default()
            },
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{Seek as _, Write as _},
    };

    use super::*;

    fn of(bytes: &[u8]) -> Result<Elf, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        read(&file)
    }

    /// A library that every test program has, and that is small enough to be
    /// damaged many times.
    fn library() -> Vec<u8> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let line = maps.lines().find(|line| line.contains("libgcc_s"));
        fs::read(line.unwrap().split_whitespace().last().unwrap()).unwrap()
    }

    #[test]
    fn a_library_has_segments_unwind_information_and_a_build_id() {
        let elf = of(&library()).unwrap();
        assert!(elf.has_unwind_info);
        assert_eq!(elf.build_id.as_ref().map(Vec::len), Some(20));
        assert_eq!(elf.address(0), Some(0));
        assert_eq!(elf.address(u64::MAX), None);
    }

    #[test]
    fn a_truncated_file_is_an_error_or_less_information_but_no_panic() {
        let whole = library();
        let mut without = 0;
        for length in (0..64).chain((64..whole.len()).step_by(4099)) {
            let read = of(&whole[..length]);
            without += u32::from(read.is_ok_and(|elf| !elf.has_unwind_info));
        }
        assert!(without > 0);
    }

    #[test]
    fn a_file_that_lies_about_sizes_is_no_reason_to_allocate_them() {
        let whole = library();
        for place in 16..64 {
            let mut damaged = whole.clone();
            damaged[place] = 0xff;
            let _any_answer = of(&damaged);
        }
        // The section headers lie at the end.
        let table = whole.len() - 40 * 64;
        for place in (table..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[place] = 0xff;
            let _any_answer = of(&damaged);
        }
    }
}
