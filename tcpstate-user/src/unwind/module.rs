//! The files that processes have mapped as code, each read once and kept open.
//!
//! An open file can still be asked for names when the process has exited and
//! the file has been deleted. It also holds the inode, so that its number
//! cannot become another file's.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::Arc,
};

use super::{elf, walk::ModuleUnwinder};

/// So many files are kept open; an ordinary process may open 1024.
const MAX_OPEN: usize = 512;
/// So many are known: a host has some thousands of programs and libraries.
const MAX_MODULES: usize = 8192;
/// So many bytes of unwind information are kept. All programs and libraries of
/// a desktop have about 100 MiB together.
const MAX_BYTES: u64 = 512 << 20;

/// Which module; never another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(pub u32);

/// An ELF file.
pub struct Module {
    id: ModuleId,
    path: PathBuf,
    deleted: bool,
    file: Option<File>,
    elf: elf::Elf,
}

impl Module {
    /// Which one.
    #[must_use]
    pub const fn id(&self) -> ModuleId {
        self.id
    }

    /// The path at which the first process that was seen with it has it.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether it had no path any more when it was first seen.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// What the linker wrote to identify the build, in hexadecimal.
    #[must_use]
    pub fn build_id(&self) -> Option<String> {
        let id = self.elf.build_id.as_ref()?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The file; `None` when too many are open.
    #[must_use]
    pub const fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// Whether it says how its functions are left.
    #[must_use]
    pub const fn has_unwind_info(&self) -> bool {
        self.elf.has_unwind_info
    }

    /// The address in the file's own numbering of what lies at this offset.
    pub(super) fn address(&self, offset: u64) -> Option<u64> {
        self.elf.address(offset)
    }

    pub(super) const fn unwinder(&self) -> &ModuleUnwinder {
        &self.elf.unwinder
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("id", &self.id)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A file, until it is written to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// All modules that were seen.
#[derive(Default)]
pub struct Modules {
    /// `None` for a file that is no module.
    known: HashMap<Identity, Option<Arc<Module>>>,
    /// So many of them are modules.
    count: u32,
    open: usize,
    bytes: u64,
}

impl Modules {
    /// The module that this file is, read when it is new; `None` for a file
    /// that is none. Every caller with the same file gets the same module.
    pub(crate) fn of(
        &mut self,
        file: File,
        path: &OsStr,
        deleted: bool,
    ) -> io::Result<Option<Arc<Module>>> {
        let about = file.metadata()?;
        let identity = Identity {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
        };
        if let Some(known) = self.known.get(&identity) {
            return Ok(known.clone());
        }
        if self.known.len() >= MAX_MODULES || self.bytes >= MAX_BYTES {
            return Err(io::Error::other("too many modules"));
        }
        let module = self.read(file, path, deleted).ok().map(Arc::new);
        self.known.insert(identity, module.clone());
        Ok(module)
    }

    fn read(&mut self, file: File, path: &OsStr, deleted: bool) -> Result<Module, String> {
        let elf = elf::read(&file)?;
        let id = ModuleId(self.count);
        self.count += 1;
        self.bytes += elf.size;
        let keeps = self.open < MAX_OPEN;
        self.open += usize::from(keeps);
        Ok(Module {
            id,
            path: PathBuf::from(OsString::from(path)),
            deleted,
            file: keeps.then_some(file),
            elf,
        })
    }

    /// How many modules were seen.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modules")
            .field("count", &self.count)
            .field("open", &self.open)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
