//! Files that were damaged on purpose, or while they were in use: names or a
//! reason in bounded time, and nothing worse.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Frame, Names};
use crate::{
    stack::CallStack,
    unwind::{End, Module, Modules, Place},
};

const SOURCE: &str = "
    static inline __attribute__((always_inline)) int inlined(int *at) { return *at * 3; }
    __attribute__((noinline)) int first(int *at) { return inlined(at) + 1; }
    int second(int *at) { return first(at) + first(at + inlined(at)); }
";

/// On a machine that does other things too; on an idle one it is milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A small library with debug information, made by the program that links this
/// one, too.
fn library(directory: &Path, more: &[&str]) -> Vec<u8> {
    let source = directory.join("library.c");
    let made = directory.join("library.so");
    fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-O2", "-shared", "-fPIC", "-nostdlib"]);
    compiler.args(more).arg("-o").args([&made, &source]);
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
    fs::read(made).unwrap()
}

/// Where `first` begins: after the build's own symbols.
fn first(bytes: &[u8]) -> u64 {
    use object::read::elf::{FileHeader as _, Sym as _};
    type Header = object::elf::FileHeader64<object::LittleEndian>;
    let endian = object::LittleEndian;
    let header = Header::parse(bytes).unwrap();
    let sections = header.sections(endian, bytes).unwrap();
    let symbols = sections
        .symbols(endian, bytes, object::elf::SHT_SYMTAB)
        .unwrap();
    let mut named = symbols.iter();
    let symbol = named.find(|it| it.name(endian, symbols.strings()) == Ok(b"first"));
    symbol.unwrap().st_value(endian)
}

fn module(path: &Path) -> Option<Arc<Module>> {
    let name = OsStr::new("/opt/library.so");
    let file = File::open(path).unwrap();
    Modules::default().of(file, name, false).unwrap()
}

fn frames(names: &mut Names, module: &Arc<Module>, addresses: &[u64]) -> Vec<Frame> {
    let place = |at: &u64| Place::Module(Arc::clone(module), *at);
    names.frames(&CallStack {
        places: addresses.iter().map(place).collect(),
        end: End::Root,
    })
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    let names = frames.iter().filter_map(|frame| frame.function.as_deref());
    names.collect()
}

#[test]
fn functions_files_and_lines_are_named_also_from_compressed_sections() {
    for compression in ["-gz=none", "-gz=zlib"] {
        let directory = tempfile::tempdir().unwrap();
        let bytes = library(directory.path(), &[compression]);
        let module = module(&directory.path().join("library.so")).unwrap();
        let found = frames(&mut Names::new(), &module, &[first(&bytes)]);
        assert_eq!(functions(&found), ["inlined", "first"], "{compression}");
        assert!(found.iter().all(|it| it.line.is_some()), "{found:#?}");
        let file = found[1].file.as_deref().unwrap();
        assert!(file.ends_with("library.c"), "{file}");
    }
}

#[test]
fn a_file_that_is_truncated_between_two_questions_goes_on_naming() {
    let directory = tempfile::tempdir().unwrap();
    let at = first(&library(directory.path(), &[]));
    let path = directory.path().join("library.so");
    let module = module(&path).unwrap();
    let mut names = Names::new();
    let before = frames(&mut names, &module, &[at]);
    assert_eq!(functions(&before), ["inlined", "first"]);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    let after = frames(&mut names, &module, &[at + 1, at + 100]);
    assert!(functions(&after).contains(&"first"), "{after:#?}");
    // To somebody who asks for the first time, it is a file without symbols.
    let late = frames(&mut Names::new(), &module, &[at]);
    assert_eq!(functions(&late), [""; 0]);
    let reason = late[0].reason.as_deref().unwrap();
    assert!(reason.contains("broken ELF file"), "{reason}");
}

/// Numbers that are the same in every run: xorshift64.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Asks about a damaged file; every address must have its answer in time.
fn ask(path: &Path, bytes: &[u8], at: u64) -> bool {
    let began = Instant::now();
    fs::write(path, bytes).unwrap();
    let Some(module) = module(path) else {
        return false;
    };
    let asked = [at, at + 3, 1, 1 << 62];
    let found = frames(&mut Names::new(), &module, &asked);
    assert!(found.len() >= asked.len());
    assert!(
        found
            .iter()
            .all(|it| it.function.is_some() || it.reason.is_some())
    );
    let took = began.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    !functions(&found).is_empty()
}

#[test]
fn bytes_that_were_changed_cost_names_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.so");
    for compression in ["-gz=none", "-gz=zlib"] {
        let whole = library(directory.path(), &[compression]);
        let at = first(&whole);
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let mut named = 0;
        const ROUNDS: u32 = 400;
        for round in 0..ROUNDS {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(6) {
                let place = numbers.below(bytes.len());
                let values = [0, 0xff, 0x7f, 0x80, 1 << (round % 8)];
                bytes[place] = values[numbers.below(values.len())];
            }
            named += u32::from(ask(&path, &bytes, at));
        }
        assert!(named > 0 && named <= ROUNDS, "{named}");
    }
}

#[test]
fn a_file_that_is_cut_anywhere_costs_names_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.so");
    let whole = library(directory.path(), &[]);
    let at = first(&whole);
    let mut named = 0;
    let lengths = (0..64).chain((64..whole.len()).step_by(61));
    for length in lengths.chain([whole.len()]) {
        named += u32::from(ask(&path, &whole[..length], at));
    }
    assert!(named > 0);
}

/// Overwrites a field of every section's header.
fn with_headers(whole: &[u8], field: usize, value: u64) -> Vec<u8> {
    const HEADER: usize = 64;
    let mut bytes = whole.to_vec();
    let table = u64::from_le_bytes(whole[0x28..0x30].try_into().unwrap());
    let count = u16::from_le_bytes(whole[0x3c..0x3e].try_into().unwrap());
    for index in 0..usize::from(count) {
        let at = usize::try_from(table).unwrap() + index * HEADER + field;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[test]
fn headers_that_lie_cost_names_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.so");
    for compression in ["-gz=none", "-gz=zlib"] {
        let whole = library(directory.path(), &[compression]);
        let at = first(&whole);
        let values = [0, 1, 0xffff, u64::MAX >> 1, u64::MAX - 8, u64::MAX];
        // Flags, address, offset, size, link and info, alignment, entry size.
        for field in [8, 16, 24, 32, 40, 48, 56] {
            for value in values {
                ask(&path, &with_headers(&whole, field, value), at);
            }
        }
        // In the file's own header, and in the first segments' ones.
        for place in (0x18..0x40).chain((0x40..0x40 + 3 * 56).step_by(8)) {
            for value in [0x80, 0xff] {
                let mut bytes = whole.clone();
                let end = (place + 8).min(bytes.len());
                bytes[place..end].fill(value);
                ask(&path, &bytes, at);
            }
        }
    }
}

#[test]
fn a_compressed_section_that_claims_more_than_memory_has_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("damaged.so");
    let whole = library(directory.path(), &["-gz=zlib"]);
    let at = first(&whole);
    // The type of compression, four bytes of nothing, then the size.
    let starts = whole.windows(8).enumerate();
    let headers = starts.filter(|(at, bytes)| at % 8 == 0 && *bytes == [1, 0, 0, 0, 0, 0, 0, 0]);
    let headers: Vec<_> = headers.map(|(at, _)| at).collect();
    assert!(!headers.is_empty());
    for claimed in [1_u64 << 28, 1 << 45, u64::MAX] {
        let mut bytes = whole.clone();
        for &header in &headers {
            bytes[header + 8..header + 16].copy_from_slice(&claimed.to_le_bytes());
        }
        ask(&path, &bytes, at);
    }
}
