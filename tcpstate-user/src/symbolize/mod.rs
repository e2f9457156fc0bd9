//! Names for places in the code, or the reason why there is none.
//!
//! It reads symbols and debug information of the files that stacks went
//! through: milliseconds for a program, a tenth of a second for one with
//! debug information, and tens of megabytes. So it is done for a report, on
//! whatever thread has the time, and never for each event.

#[cfg(test)]
mod damaged;
mod extract;
mod files;
mod frame;
mod go;
mod jit;
mod perf_map;
mod readable;
mod runtime;
mod system;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use blazesym::symbolize::{CodeInfo, Reason, Sym, Symbolized};

use self::{
    files::Files,
    jit::JitNames,
    readable::{clipped, readable},
};
pub use self::{
    frame::Frame,
    system::{Sight, sight},
};
use crate::{
    stack::CallStack,
    unwind::{Module, ModuleId, Place, ProcessKey},
};

/// Names for the stacks of one [`crate::stack::Stacks`]. What was found once is
/// remembered; dropping it gives the memory back.
pub struct Names {
    files: Files,
    /// A place in a module is several frames where functions are inlined,
    /// innermost first.
    known: HashMap<(ModuleId, u64), Arc<[Frame]>>,
    jit: JitNames,
}

impl Names {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            files: Files::new(),
            known: HashMap::new(),
            jit: JitNames::default(),
        }
    }

    /// The frames of a stack, innermost first.
    pub fn frames(&mut self, stack: &CallStack) -> Vec<Frame> {
        self.learn(stack);
        let mut frames = Vec::with_capacity(stack.places.len());
        for place in &stack.places {
            match place {
                Place::Module(module, at) => match self.known.get(&(module.id(), *at)) {
                    Some(known) => frames.extend_from_slice(known),
                    None => frames.push(unnamed(module, *at, "not looked up")),
                },
                Place::Memory {
                    process,
                    address,
                    mapping,
                } => frames.push(self.jit.frame(*process, *address, mapping)),
            }
        }
        frames
    }

    /// What would make a stack with these frames say more: switches of the
    /// runtime that is in the way.
    pub fn advice(&mut self, stack: &CallStack, frames: &[Frame]) -> Option<String> {
        let runtime = memory_of(stack).and_then(|process| {
            let runtime = self.jit.runtime(process)?;
            Some((runtime, process.pid))
        });
        runtime::advice(frames, stack.end, runtime)
    }

    /// Whether names of code that was made at run time may be others than those
    /// given before.
    pub fn have_changed(&mut self) -> bool {
        self.jit.forget_changed()
    }

    /// Looks up what is new, module by module.
    fn learn(&mut self, stack: &CallStack) {
        let mut wanted: HashMap<ModuleId, (&Arc<Module>, Vec<u64>)> = HashMap::new();
        for place in &stack.places {
            if let Place::Module(module, at) = place
                && !self.known.contains_key(&(module.id(), *at))
            {
                let (_, addresses) = wanted.entry(module.id()).or_insert((module, Vec::new()));
                addresses.push(*at);
            }
        }
        for (id, (module, addresses)) in wanted {
            let found = self.look_up(module, &addresses);
            let places = addresses.iter().map(|at| (id, *at));
            self.known.extend(places.zip(found));
        }
    }

    fn look_up(&mut self, module: &Module, addresses: &[u64]) -> Vec<Arc<[Frame]>> {
        let found = match self.files.look_up(module, addresses) {
            Ok(found) => found,
            Err(reason) => {
                let frame = |at: &u64| Arc::from([unnamed(module, *at, &reason)]);
                return addresses.iter().map(frame).collect();
            }
        };
        let each = addresses.iter().zip(found);
        each.map(|(at, found)| found.unwrap_or_else(|why| self.by_go(module, *at, why)))
            .collect()
    }

    /// What a Go program says of itself, for want of symbols.
    fn by_go(&mut self, module: &Module, at: u64, why: &str) -> Arc<[Frame]> {
        match self.files.go(module).and_then(|go| go.find(at)) {
            Some(found) => Arc::from([found.frame(place(module, at))]),
            None => Arc::from([unnamed(module, at, why)]),
        }
    }
}

/// The process in whose memory, and in no file, is code that a stack went
/// through.
pub(crate) fn memory_of(stack: &CallStack) -> Option<ProcessKey> {
    stack.places.iter().find_map(|place| match place {
        Place::Memory { process, .. } => Some(*process),
        Place::Module(..) => None,
    })
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names")
            .field("known", &self.known.len())
            .finish_non_exhaustive()
    }
}

/// A place in a module, as far as that needs no symbols.
fn place(module: &Module, at: u64) -> Frame {
    Frame {
        module: Some(module.path().to_string_lossy().into_owned()),
        offset: Some(at),
        build_id: module.build_id(),
        ..Frame::default()
    }
}

fn unnamed(module: &Module, at: u64, reason: &str) -> Frame {
    let mut frame = Frame {
        reason: Some(reason.to_owned()),
        ..place(module, at)
    };
    frame.system = system::is_system(&frame);
    frame
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingSyms => "the file has no symbols (install its debug symbols)",
        Reason::UnknownAddr => "no symbol covers this address (install debug symbols)",
        _ => "the symbols cannot be read",
    }
}

/// The functions at one place, or why there are none.
fn frames(module: &Module, at: u64, found: Symbolized<'_>) -> Result<Arc<[Frame]>, &'static str> {
    match found {
        Symbolized::Sym(sym) => Ok(named(module, at, sym)),
        Symbolized::Unknown(reason) => Err(why(reason)),
    }
}

/// The functions at one place, innermost first: those that were inlined, and
/// the one that holds them all.
fn named(module: &Module, at: u64, sym: Sym<'_>) -> Arc<[Frame]> {
    let Sym {
        name,
        code_info,
        inlined,
        ..
    } = sym;
    let frame = |name: &str, info: Option<&CodeInfo<'_>>, inlined: bool| {
        let mut frame = Frame {
            function: Some(readable(name)),
            file: info.map(|info| clipped(&info.to_path().to_string_lossy())),
            line: info.and_then(|info| info.line),
            inlined,
            ..place(module, at)
        };
        frame.system = system::is_system(&frame);
        frame
    };
    let inner = inlined.iter().rev();
    let inner = inner.map(|one| frame(&one.name, one.code_info.as_ref(), true));
    inner
        .chain([frame(&name, code_info.as_deref(), false)])
        .collect()
}
