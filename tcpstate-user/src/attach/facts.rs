//! What is read of the kernel before anything is loaded into it: its types and
//! its symbols.
//!
//! Three threads read, for a moment: measured, the list of symbols takes 15 ms,
//! and the loader, which reads all types for itself whoever it is for, 15 ms.

use std::{
    fs, io,
    panic::resume_unwind,
    thread::{self, Scope},
};

use aya::{Btf as AyaBtf, EbpfLoader, Endianness};

use super::{
    btf::{self, Btf},
    hooks::{Attach, Signal},
    kallsyms::Symbols,
};

/// What was read.
pub(super) struct Facts {
    pub(super) symbols: Symbols,
    /// The kernel's types as bytes.
    pub(super) types: Vec<u8>,
    pub(super) loader: EbpfLoader<'static>,
}

impl Facts {
    /// Reads everything; fails when there are no types.
    pub(super) fn read() -> io::Result<Self> {
        thread::scope(|scope| {
            let symbols = beside(scope, Symbols::read);
            let loader = beside(scope, EbpfLoader::new);
            let types = fs::read(btf::VMLINUX);
            Ok(Self {
                symbols: symbols(),
                loader: loader(),
                types: types?,
            })
        })
    }
}

/// Begins it in a thread, or does it when the value is wanted if there can be none.
fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    read: fn() -> T,
) -> impl FnOnce() -> T {
    let thread = thread::Builder::new().spawn_scoped(scope, read);
    move || match thread {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_refused) => read(),
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
