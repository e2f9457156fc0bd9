//! Return addresses from a slice of a task's stack and its registers.
//!
//! [`walk`] is pure: registers, bytes and a map of the code go in, places in
//! the code come out. Around it lie the parts that read what such a map needs:
//! a process's memory map, and the files that it has mapped.
//!
//! It knows no names, and keeps nothing of a slice.

mod directory;
mod elf;
mod epilogue;
mod maps;
mod module;
mod process;
mod processes;
#[cfg(test)]
mod tests;
mod vetted;
mod walk;

pub(crate) use self::directory::ProcessDirectory;
pub use self::{
    module::{Module, ModuleId, Modules},
    process::Place,
    processes::{Captured, ProcessKey, Processes},
    walk::{Cache, Code, CodeMap, End, Registers, walk},
};
