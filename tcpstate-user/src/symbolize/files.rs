//! The files that names are looked up in, as blazesym reads them.
//!
//! A module's own file, and the one with its debug information that a
//! distribution has for it, by build-id. Each is copied once, as far as names
//! need it; when the copies have become many, all are forgotten.

use std::{
    collections::HashMap,
    fs::File,
    os::fd::AsRawFd as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
};

use blazesym::symbolize::{
    Input, Symbolizer,
    source::{Elf, Source},
};

use super::{
    Frame,
    extract::{Author, Extract, extract},
    frames,
    go::GoTable,
};
use crate::unwind::{Module, ModuleId};

/// So much is kept of copies, and besides what blazesym makes of them.
const MAX_BYTES: u64 = 512 << 20;
/// So many copies are kept; each is an open file.
const MAX_FILES: usize = 128;
/// Where distributions put debug information.
const DEBUG_FILES: &str = "/usr/lib/debug/.build-id";

/// A place's functions, innermost first, or the reason why there is none.
pub(super) type Found = Result<Arc<[Frame]>, &'static str>;

/// What was copied of files.
pub(super) struct Files {
    symbolizer: Symbolizer,
    known: HashMap<ModuleId, Result<Sources, String>>,
    /// Of modules without symbols; `None` for those that are not Go's.
    go: HashMap<ModuleId, Option<GoTable>>,
    bytes: u64,
}

/// Where a module's names are; looked up in this order.
struct Sources {
    debug: Option<Extract>,
    own: Extract,
}

impl Files {
    pub(super) fn new() -> Self {
        Self {
            symbolizer: symbolizer(),
            known: HashMap::new(),
            go: HashMap::new(),
            bytes: 0,
        }
    }

    /// The functions at these addresses, or why nothing can be said of any.
    pub(super) fn look_up(
        &mut self,
        module: &Module,
        addresses: &[u64],
    ) -> Result<Vec<Found>, String> {
        if !self.known.contains_key(&module.id()) {
            self.learn(module);
        }
        let sources = match self.known.get(&module.id()) {
            Some(Ok(sources)) => sources,
            Some(Err(reason)) => return Err(reason.clone()),
            None => return Err("not looked up".to_owned()),
        };
        let ask = |extract| ask(&self.symbolizer, extract, module, addresses);
        let own = ask(&sources.own);
        let debug = sources.debug.as_ref().map(ask);
        let found = match (debug, own) {
            (Some(Ok(debug)), Ok(own)) => Ok(better(debug, own)),
            (Some(Ok(found)), Err(_)) | (_, Ok(found)) => Ok(found),
            (_, Err(reason)) => Err(reason),
        };
        if matches!(&found, Err(Wrong::Panic)) {
            // Whatever state it left, nobody shall use it.
            let damaged = Err(Wrong::Panic.to_string());
            self.forget();
            self.known.insert(module.id(), damaged);
        }
        found.map_err(|wrong| wrong.to_string())
    }

    /// The table of a Go program.
    pub(super) fn go(&mut self, module: &Module) -> Option<&GoTable> {
        if !self.go.contains_key(&module.id()) {
            let table = module.file().and_then(GoTable::read);
            self.make_room(table.as_ref().map_or(0, GoTable::size));
            self.go.insert(module.id(), table);
        }
        self.go.get(&module.id())?.as_ref()
    }

    fn learn(&mut self, module: &Module) {
        let sources = sources(module);
        if let Ok(sources) = &sources {
            let debug = sources.debug.as_ref().map_or(0, |debug| debug.size);
            self.make_room(debug + sources.own.size);
        }
        self.known.insert(module.id(), sources);
    }

    fn make_room(&mut self, bytes: u64) {
        let files = self.known.len() + self.go.len();
        if self.bytes.saturating_add(bytes) > MAX_BYTES || files >= MAX_FILES {
            self.forget();
        }
        self.bytes += bytes;
    }

    fn forget(&mut self) {
        *self = Self::new();
    }
}

/// blazesym would write names without a limit.
fn symbolizer() -> Symbolizer {
    Symbolizer::builder().enable_demangling(false).build()
}

fn sources(module: &Module) -> Result<Sources, String> {
    let file = module.file();
    let own = extract(file.ok_or("too many files are open")?, Author::Anybody)?;
    let debug = match own.has_debug {
        true => None,
        false => debug_file(module).and_then(|file| extract(&file, Author::Administrator).ok()),
    };
    Ok(Sources { debug, own })
}

fn debug_file(module: &Module) -> Option<File> {
    let id = module.build_id()?;
    let (directory, name) = id.split_at_checked(2)?;
    let path = PathBuf::from(DEBUG_FILES).join(directory);
    let file = File::open(path.join(format!("{name}.debug"))).ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

enum Wrong {
    Unreadable(String),
    Panic,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "cannot read symbols: {why}"),
            Self::Panic => f.write_str("the symbols are damaged"),
        }
    }
}

/// blazesym was found to trust damaged debug information in places (an index
/// into its list of files, in `dwarf/lines.rs` of 0.2.7), so that it can
/// panic over a file of anybody's on the host. Where the program is built
/// to abort on a panic, this is its end.
fn ask(
    symbolizer: &Symbolizer,
    extract: &Extract,
    module: &Module,
    addresses: &[u64],
) -> Result<Vec<Found>, Wrong> {
    // Of this thread: a thread may have descriptors of its own.
    let path = format!("/proc/thread-self/fd/{}", extract.file.as_raw_fd());
    let source = Source::Elf(Elf::new(path));
    catch_unwind(AssertUnwindSafe(|| {
        let found = symbolizer.symbolize(&source, Input::VirtOffset(addresses));
        let found = found.map_err(|error| Wrong::Unreadable(format!("{error:#}")))?;
        let each = addresses.iter().zip(found);
        Ok(each.map(|(at, found)| frames(module, *at, found)).collect())
    }))
    .unwrap_or(Err(Wrong::Panic))
}

/// Debug information says more than the symbols that every library has.
fn better(debug: Vec<Found>, own: Vec<Found>) -> Vec<Found> {
    let each = debug.into_iter().zip(own);
    each.map(|(debug, own)| debug.or(own)).collect()
}
