//! The code of one process: its memory map, and the modules in it.
//!
//! Modules are opened when the first stack goes through them, not before: a
//! stack goes through three to six, a process has up to some hundreds.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, MetadataExt as _},
    },
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    directory::ProcessDirectory,
    epilogue::{self, Epilogue, epilogue},
    maps::{self, Mapping},
    module::{Module, Modules},
    processes::ProcessKey,
    walk::{Code, CodeMap},
};
use crate::decode::KtimeNs;

/// An address in no mapping makes the map be read again, but not more often
/// than this, and not for more than a hundredth of the time. (Measured: 0.1 to
/// 0.3 ms for a map of 500 lines.)
const BETWEEN_READINGS: Duration = Duration::from_millis(5);
const OF_THE_TIME: u32 = 100;

/// So many addresses of code without a file are remembered for each process.
const MAX_EPILOGUES: usize = 1 << 14;

/// A place in the code.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a module, at this address in the file's own numbering.
    Module(Arc<Module>, u64),
    /// In the memory of a process, without a file.
    Memory {
        /// Which process.
        process: ProcessKey,
        /// Where in it.
        address: u64,
        /// What the kernel calls the mapping, as `[vdso]`; may be empty.
        mapping: Arc<OsStr>,
    },
}

/// Two places are the same when they would be named the same.
impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Module(one, at), Self::Module(two, also)) => one.id() == two.id() && at == also,
            (
                Self::Memory {
                    process, address, ..
                },
                Self::Memory {
                    process: other,
                    address: also,
                    ..
                },
            ) => process == other && address == also,
            _ => false,
        }
    }
}

impl Eq for Place {}

impl std::hash::Hash for Place {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Module(module, at) => (module.id(), at).hash(state),
            Self::Memory {
                process, address, ..
            } => (process, address).hash(state),
        }
    }
}

/// What is known of a process.
#[derive(Debug)]
pub(super) struct Process {
    key: ProcessKey,
    directory: ProcessDirectory,
    code: Vec<Mapped>,
    read_at: KtimeNs,
    reading_took: Duration,
    epilogues: HashMap<u64, Option<Epilogue>>,
}

/// A mapping, and what lies in it.
#[derive(Debug)]
struct Mapped {
    mapping: Mapping,
    name: Arc<OsStr>,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    NotLooked,
    Module(Arc<Module>),
    /// Memory, or a file that is no module or could not be opened.
    Other,
}

impl Process {
    /// Opens a process; an error when it is gone, or another has its id.
    pub(super) fn open(key: ProcessKey, now: KtimeNs) -> io::Result<Self> {
        let mut process = Self {
            key,
            directory: ProcessDirectory::open(key)?,
            code: Vec::new(),
            read_at: now,
            reading_took: Duration::ZERO,
            epilogues: HashMap::new(),
        };
        process.read_map(now)?;
        // One that has just exited still has a directory, and no memory.
        if process.code.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(process)
    }

    fn read_map(&mut self, now: KtimeNs) -> io::Result<()> {
        let began = Instant::now();
        let maps = self.directory.read("maps")?;
        let known = self.code.drain(..);
        let mut known: HashMap<_, _> = known
            .map(|mapped| (mapped.mapping, mapped.content))
            .collect();
        self.code = maps::executable(&maps)
            .into_iter()
            .map(|mapping| Mapped {
                name: mapping.name.as_os_str().into(),
                content: known.remove(&mapping).unwrap_or(Content::NotLooked),
                mapping,
            })
            .collect();
        self.epilogues.clear();
        self.read_at = now;
        self.reading_took = began.elapsed();
        Ok(())
    }

    fn index_of(&self, address: u64) -> Option<usize> {
        let behind = self
            .code
            .partition_point(|mapped| mapped.mapping.start <= address);
        let index = behind.checked_sub(1)?;
        (address < self.code[index].mapping.end).then_some(index)
    }

    fn may_read_again(&self, now: KtimeNs) -> bool {
        let since = Duration::from_nanos(now.since(self.read_at));
        since > BETWEEN_READINGS.max(self.reading_took * OF_THE_TIME)
    }

    /// Opens what is mapped: through the mapping itself, which works in
    /// containers and for deleted files; without the privilege for that, through
    /// the process's root, if the same file is there.
    fn open_file(&self, mapping: &Mapping) -> io::Result<File> {
        let Mapping { start, end, .. } = *mapping;
        let mapped = format!("map_files/{start:x}-{end:x}");
        let file = self.directory.open_file(mapped).or_else(|refused| {
            if !mapping.name.as_bytes().starts_with(b"/") {
                return Err(refused);
            }
            let path = [b"root", mapping.name.as_bytes()].concat();
            let file = self.directory.open_file(path)?;
            if file.metadata()?.ino() == mapping.inode {
                Ok(file)
            } else {
                Err(io::Error::other("another file has this name now"))
            }
        })?;
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(io::Error::other("not a regular file"))
        }
    }

    /// The epilogue at an address of code without a file.
    fn epilogue(&mut self, address: u64) -> Option<Epilogue> {
        if let Some(known) = self.epilogues.get(&address) {
            return *known;
        }
        let mut code = [0; epilogue::LONGEST];
        let memory = self.directory.open_file("mem");
        let read = memory.and_then(|memory| memory.read_at(&mut code, address));
        let found = read.ok().and_then(|length| epilogue(&code[..length]));
        if self.epilogues.len() < MAX_EPILOGUES {
            self.epilogues.insert(address, found);
        }
        found
    }
}

/// A process's code during one walk.
pub(super) struct ProcessCode<'a> {
    pub(super) process: &'a mut Process,
    pub(super) modules: &'a mut Modules,
    pub(super) now: KtimeNs,
}

impl ProcessCode<'_> {
    fn index_of(&mut self, address: u64) -> Option<usize> {
        if let Some(index) = self.process.index_of(address) {
            return Some(index);
        }
        if !self.process.may_read_again(self.now) {
            return None;
        }
        self.process.read_map(self.now).ok()?;
        self.process.index_of(address)
    }

    fn content(&mut self, index: usize) -> Content {
        let Mapped {
            mapping, content, ..
        } = &self.process.code[index];
        if !matches!(content, Content::NotLooked) {
            return content.clone();
        }
        let found = if mapping.inode == 0 {
            Content::Other
        } else {
            let module = self.process.open_file(mapping).and_then(|file| {
                let Mapping { name, deleted, .. } = mapping;
                self.modules.of(file, name, *deleted)
            });
            module
                .ok()
                .flatten()
                .map_or(Content::Other, Content::Module)
        };
        self.process.code[index].content = found.clone();
        found
    }
}

impl CodeMap for ProcessCode<'_> {
    type Place = Place;

    fn at(&mut self, address: u64) -> Option<(Place, Code)> {
        let index = self.index_of(address)?;
        let content = self.content(index);
        let Mapped { mapping, name, .. } = &self.process.code[index];
        if let Content::Module(module) = content
            && let Some(in_file) = (address - mapping.start).checked_add(mapping.offset)
            && let Some(at) = module.address(in_file)
        {
            let bias = address.wrapping_sub(at);
            return Some((
                Place::Module(Arc::clone(&module), at),
                Code::Module(module, bias),
            ));
        }
        let place = Place::Memory {
            process: self.process.key,
            address,
            mapping: Arc::clone(name),
        };
        // An address of a call, one byte before the next instruction.
        let code = self.process.epilogue(address.wrapping_add(1));
        Some((place, code.map_or(Code::Unknown, Code::Epilogue)))
    }
}
