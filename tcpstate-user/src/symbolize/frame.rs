//! One line of a call stack.

use serde::Serialize;

/// A function that was running, or what is known instead of its name. Texts
/// come from the files and processes that were traced: they may hold anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Frame {
    /// Name of the function, demangled.
    pub function: Option<String>,
    /// Source file, from debug information.
    pub file: Option<String>,
    /// Line in it: of the call, in every frame but the innermost.
    pub line: Option<u32>,
    /// File of the code, or the kernel's name for the memory.
    pub module: Option<String>,
    /// Address in the module's own numbering, as `addr2line` takes it: of the
    /// call, in every frame but the innermost. For code without a file its
    /// address in the process.
    pub offset: Option<u64>,
    /// What the linker wrote into the module to identify the build.
    pub build_id: Option<String>,
    /// Why there is no name.
    pub reason: Option<String>,
    /// A runtime made the code while the program ran: no file has it.
    pub jit: bool,
    /// The compiler made it part of the function in the next frame.
    pub inlined: bool,
    /// It belongs to the system or to a language's runtime, not to the application.
    pub system: bool,
}

impl Frame {
    /// Whether it is of code made at run time that nobody has named.
    pub(crate) const fn is_nameless_jit(&self) -> bool {
        self.jit && self.function.is_none()
    }
}
