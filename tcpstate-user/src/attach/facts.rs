//! What is read of the kernel before anything is loaded into it: its types and
//! its symbols.
//!
//! Three threads read, for a moment: measured, the list of symbols takes 25 ms of
//! CPU, and the loader, which reads all types for itself whoever it is for, 15 ms.
//! The third one, which began them, goes on with what it finds in the types.

use std::{
    fs, io,
    panic::resume_unwind,
    thread::{self, JoinHandle},
};

use aya::{Btf as AyaBtf, EbpfLoader, Endianness};

use super::{
    btf::{self, Btf},
    hooks::{Attach, Signal},
    kallsyms::Symbols,
};

/// What others read.
pub(super) struct Facts {
    pub(super) symbols: Beside<Symbols>,
    pub(super) loader: Beside<EbpfLoader<'static>>,
}

impl Facts {
    /// Begins to read.
    pub(super) fn begin() -> Self {
        Self {
            symbols: Beside::begin(Symbols::read),
            loader: Beside::begin(loader),
        }
    }
}

/// The loader without the types that it has read. It would need them to relocate
/// the object's accesses to fields, of which there are none (the programs get the
/// offsets); and 127,000 of them take long to forget, here beside others.
fn loader() -> EbpfLoader<'static> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    loader
}

/// The kernel's types as bytes; fails when there are none.
pub(super) fn types() -> io::Result<Vec<u8>> {
    fs::read(btf::VMLINUX)
}

/// Read in a thread, or when the value is wanted if there can be none.
pub(super) struct Beside<T> {
    thread: io::Result<JoinHandle<T>>,
    read: fn() -> T,
}

impl<T: Send + 'static> Beside<T> {
    fn begin(read: fn() -> T) -> Self {
        let thread = thread::Builder::new().spawn(read);
        Self { thread, read }
    }

    /// The value, as soon as it is there.
    pub(super) fn wait(self) -> T {
        match self.thread {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_refused) => (self.read)(),
        }
    }
}

/// The functions that any hook may be attached to, as the loader wants them.
pub(super) fn functions(own: &Btf<'_>) -> anyhow::Result<AyaBtf> {
    let mut names = Vec::new();
    for candidate in Signal::ALL.iter().flat_map(|signal| signal.candidates()) {
        name_functions(&candidate.attach, &mut names);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let bytes = own.only_functions(&names)?;
    Ok(AyaBtf::parse(&bytes, Endianness::default())?)
}

fn name_functions(attach: &Attach, names: &mut Vec<String>) {
    match attach {
        Attach::Fentry { function, .. } | Attach::Fexit { function, .. } => {
            names.push((*function).to_owned());
        }
        // Aya's name for what an iterator's program is attached to, and libbpf's.
        Attach::Iterator { target, .. } => names.push(format!("bpf_iter_{target}")),
        Attach::Together(all) => all.iter().for_each(|one| name_functions(one, names)),
        _ => {}
    }
}
