//! The parts of an ELF file that names come from, copied out of reach of
//! whoever can write to the file.
//!
//! blazesym maps what it reads: a file that is truncated meanwhile would end
//! this program by SIGBUS. So it is given a sealed file in memory, an ELF file
//! with the same section numbers and addresses, in which every other section is
//! empty. In passing, compressed sections are inflated, up to a limit (blazesym
//! believes the size that the file claims, and memory that cannot be had ends
//! the program), and links to other files are left out: they may name anything,
//! a pipe that nobody writes to among them.

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write},
    os::unix::fs::FileExt as _,
};

use flate2::read::ZlibDecoder;
use object::{
    LittleEndian, ReadCache, ReadRef as _, U16, U32, U64, bytes_of,
    elf::{self, CompressionHeader64, FileHeader64, SectionHeader64},
    read::elf::{CompressionHeader as _, FileHeader as _, SectionHeader as _},
};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

type Endian = LittleEndian;
const ENDIAN: Endian = LittleEndian;

/// Symbols take less: those of a browser have 200 MiB.
const MAX_SYMBOLS: u64 = 256 << 20;
/// More debug information than this, inflated, is left out. A browser's has
/// more, that of a large program in Rust 150 MiB.
const MAX_DEBUG: u64 = 512 << 20;
/// A byte of it can become 32 in memory.
const MAX_LINES: u64 = 64 << 20;

/// More has no program: it is object files that have one for each function.
const MAX_SECTIONS: usize = 4096;

/// What belongs together: without one of them the others are useless.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Symbols,
    Debug,
}

/// The sections that are read for the names of functions, files and lines.
const WANTED: [(&str, Kind); 15] = [
    (".symtab", Kind::Symbols),
    (".strtab", Kind::Symbols),
    (".dynsym", Kind::Symbols),
    (".dynstr", Kind::Symbols),
    (".debug_abbrev", Kind::Debug),
    (".debug_addr", Kind::Debug),
    (".debug_aranges", Kind::Debug),
    (".debug_info", Kind::Debug),
    (LINES, Kind::Debug),
    (".debug_line_str", Kind::Debug),
    (".debug_ranges", Kind::Debug),
    (".debug_rnglists", Kind::Debug),
    (".debug_str", Kind::Debug),
    (".debug_str_offsets", Kind::Debug),
    (ALTERNATIVE, Kind::Debug),
];
const LINES: &str = ".debug_line";
/// Names the file that has what several debug files share.
const ALTERNATIVE: &str = ".gnu_debugaltlink";

/// Who wrote the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    Anybody,
    /// The administrator, who put it among the debug files.
    Administrator,
}

/// The copy.
#[derive(Debug)]
pub(super) struct Extract {
    /// Sealed: it can neither be written nor truncated.
    pub(super) file: File,
    pub(super) size: u64,
    /// Whether it has more than symbols.
    pub(super) has_debug: bool,
}

/// A section to be copied.
struct Part {
    index: usize,
    name: &'static str,
    kind: Kind,
    offset: u64,
    size: u64,
    compressed: bool,
}

/// Copies what names need of a file; an error is a sentence for a person.
pub(super) fn extract(file: &File, author: Author) -> Result<Extract, String> {
    let cache = ReadCache::new(file);
    let broken = |error: object::Error| format!("broken ELF file: {error}");
    let header = FileHeader64::<Endian>::parse(&cache).map_err(broken)?;
    let count = header.shnum(ENDIAN, &cache).map_err(broken)?;
    if count > MAX_SECTIONS {
        return Err(format!("broken ELF file: {count} sections"));
    }
    let table = header.section_headers(ENDIAN, &cache).map_err(broken)?;
    let names = header.section_strings(ENDIAN, &cache, table);
    let names = names.map_err(broken)?;
    let mut parts = Vec::new();
    for (index, section) in table.iter().enumerate() {
        let name = section.name(ENDIAN, names).unwrap_or_default();
        let wanted = WANTED.iter().find(|(wanted, _)| wanted.as_bytes() == name);
        let Some(&(name, kind)) = wanted else {
            continue;
        };
        if name == ALTERNATIVE && author == Author::Anybody
            || section.sh_type(ENDIAN) == elf::SHT_NOBITS
        {
            continue;
        }
        let part = part(index, name, kind, section, &cache);
        parts.extend(part.filter(|part| part.size > 0));
    }
    let fits = |kind, most| {
        let parts = parts.iter().filter(|part| part.kind == kind);
        let sizes = parts.map(|part| part.size);
        sizes.fold(0, u64::saturating_add) <= most
    };
    if !fits(Kind::Symbols, MAX_SYMBOLS) {
        return Err("there are too many symbols to be read".to_owned());
    }
    let lines = parts.iter().filter(|part| part.name == LINES);
    let few_lines = lines.map(|part| part.size).max() <= Some(MAX_LINES);
    if !fits(Kind::Debug, MAX_DEBUG) || !few_lines {
        parts.retain(|part| part.kind == Kind::Symbols);
    }
    let copy = Copy::new(header, table)?;
    copy.fill(file, &parts)
        .map_err(|error| format!("cannot read its symbols: {error}"))
}

fn part(
    index: usize,
    name: &'static str,
    kind: Kind,
    section: &SectionHeader64<Endian>,
    cache: &ReadCache<&File>,
) -> Option<Part> {
    let offset = section.sh_offset(ENDIAN);
    let size = section.sh_size(ENDIAN);
    let compressed = section.sh_flags(ENDIAN) & u64::from(elf::SHF_COMPRESSED) != 0;
    let mut part = Part {
        index,
        name,
        kind,
        offset,
        size,
        compressed,
    };
    if compressed {
        let header: &CompressionHeader64<Endian> = cache.read_at(offset).ok()?;
        let known = header.ch_type(ENDIAN) == elf::ELFCOMPRESS_ZLIB;
        let length = size_of::<CompressionHeader64<Endian>>() as u64;
        part.offset = offset.checked_add(length)?;
        part.size = known.then(|| header.ch_size(ENDIAN))?;
    }
    Some(part)
}

/// A file that is being written.
struct Copy {
    file: File,
    header: FileHeader64<Endian>,
    table: Vec<SectionHeader64<Endian>>,
    names: Vec<u8>,
}

/// As tables of symbols need it.
const ALIGNMENT: u64 = 16;

impl Copy {
    fn new(
        header: &FileHeader64<Endian>,
        table: &[SectionHeader64<Endian>],
    ) -> Result<Self, String> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("tcpstate-symbols", flags);
        let file = file.map_err(|error| format!("no memory for its symbols: {error}"))?;
        let mut table = table.to_vec();
        for section in &mut table {
            section.sh_name = U32::new(ENDIAN, 0);
            section.sh_type = U32::new(ENDIAN, elf::SHT_NOBITS);
        }
        Ok(Self {
            file: file.into(),
            header: *header,
            table,
            names: vec![0],
        })
    }

    fn fill(mut self, from: &File, parts: &[Part]) -> io::Result<Extract> {
        let begin = size_of::<FileHeader64<Endian>>() as u64;
        self.file.seek(io::SeekFrom::Start(begin))?;
        for part in parts {
            let offset = self.align()?;
            self.copy(from, part)?;
            let name = self.name(part.name);
            let section = &mut self.table[part.index];
            let flags = section.sh_flags(ENDIAN) & !u64::from(elf::SHF_COMPRESSED);
            section.sh_name = name;
            section.sh_type = match part.name {
                ".symtab" => U32::new(ENDIAN, elf::SHT_SYMTAB),
                ".dynsym" => U32::new(ENDIAN, elf::SHT_DYNSYM),
                ".strtab" | ".dynstr" => U32::new(ENDIAN, elf::SHT_STRTAB),
                _ => U32::new(ENDIAN, elf::SHT_PROGBITS),
            };
            section.sh_flags = U64::new(ENDIAN, flags);
            section.sh_offset = U64::new(ENDIAN, offset);
            section.sh_size = U64::new(ENDIAN, part.size);
        }
        let size = self.finish()?;
        fcntl_add_seals(
            &self.file,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL,
        )?;
        Ok(Extract {
            file: self.file,
            size,
            has_debug: parts.iter().any(|part| part.kind == Kind::Debug),
        })
    }

    /// Copies as many bytes as the part has; too few are an error, and what is
    /// too much is not read.
    fn copy(&mut self, from: &File, part: &Part) -> io::Result<()> {
        let stored = Stored {
            file: from,
            at: part.offset,
        };
        let copied = if part.compressed {
            copy(ZlibDecoder::new(stored), part.size, &mut self.file)?
        } else {
            copy(stored, part.size, &mut self.file)?
        };
        if copied == part.size {
            Ok(())
        } else {
            Err(io::Error::other("the file is cut short"))
        }
    }

    fn name(&mut self, name: &str) -> U32<Endian> {
        let at = u32::try_from(self.names.len()).unwrap_or(0);
        self.names.extend(name.bytes().chain([0]));
        U32::new(ENDIAN, at)
    }

    /// Where the next part begins.
    fn align(&mut self) -> io::Result<u64> {
        let at = self.file.stream_position()?.next_multiple_of(ALIGNMENT);
        self.file.seek(io::SeekFrom::Start(at))
    }

    /// Writes the names, the table and the header; gives the whole size.
    fn finish(&mut self) -> io::Result<u64> {
        let name = self.name(".shstrtab");
        let names = self.align()?;
        self.file.write_all(&self.names)?;
        let none = U64::new(ENDIAN, 0);
        self.table.push(SectionHeader64 {
            sh_name: name,
            sh_type: U32::new(ENDIAN, elf::SHT_STRTAB),
            sh_flags: none,
            sh_addr: none,
            sh_offset: U64::new(ENDIAN, names),
            sh_size: U64::new(ENDIAN, self.names.len() as u64),
            sh_link: U32::new(ENDIAN, 0),
            sh_info: U32::new(ENDIAN, 0),
            sh_addralign: none,
            sh_entsize: none,
        });
        let table = self.align()?;
        for section in &self.table {
            self.file.write_all(bytes_of(section))?;
        }
        let size = self.file.stream_position()?;
        let count = u16::try_from(self.table.len()).unwrap_or(0);
        let header = &mut self.header;
        header.e_phoff = U64::new(ENDIAN, 0);
        header.e_phnum = U16::new(ENDIAN, 0);
        header.e_shoff = U64::new(ENDIAN, table);
        header.e_shnum = U16::new(ENDIAN, count);
        header.e_shstrndx = U16::new(ENDIAN, count.saturating_sub(1));
        self.file.write_all_at(bytes_of(header), 0)?;
        Ok(size)
    }
}

/// As `io::copy`, which is slower for lack of a large buffer.
fn copy(mut from: impl Read, most: u64, to: &mut File) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 18];
    let mut copied = 0;
    while copied < most {
        let rest = usize::try_from(most - copied).unwrap_or(usize::MAX);
        let room = rest.min(buffer.len());
        match from.read(&mut buffer[..room])? {
            0 => break,
            count => {
                to.write_all(&buffer[..count])?;
                copied += count as u64;
            }
        }
    }
    Ok(copied)
}

/// A file from a place on, read without moving anybody's cursor.
struct Stored<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Stored<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
