//! The walk from a frame to its caller, and so on to the root.
//!
//! It knows no process and no file: a [`CodeMap`] tells what code an address
//! is in.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use framehop::{
    Error, FrameAddress, Unwinder as _,
    x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64},
};

use super::{Module, epilogue::Epilogue};

/// More frames than this have nobody read; runaway recursion has them.
const MAX_FRAMES: usize = 256;

/// What walks before this one have learned, in whatever process.
pub struct Cache {
    rules: CacheX86_64,
    /// For code without a module: frame pointers.
    ignorant: ModuleUnwinder,
}

impl Cache {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            rules: CacheX86_64::new(),
            ignorant: ModuleUnwinder::new(),
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

/// Unwinds within one module, at the addresses that its file has.
pub(super) type ModuleUnwinder = UnwinderX86_64<Vec<u8>>;

/// The registers that an unwinder begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, which need not be one.
    pub fp: u64,
}

/// What code lies at an address.
#[derive(Clone, Debug)]
pub enum Code {
    /// A module's, which is mapped this far above the addresses in its file.
    Module(Arc<Module>, u64),
    /// Code that does nothing any more but return.
    Epilogue(Epilogue),
    /// Code that nothing is known of.
    Unknown,
}

/// Where code is.
pub trait CodeMap {
    /// A place in the code.
    type Place;

    /// What lies at this address; `None` when it is no code.
    fn at(&mut self, address: u64) -> Option<(Self::Place, Code)>;
}

/// How a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// The outermost frame was reached.
    Root,
    /// The slice ends before the stack does.
    Truncated,
    /// A module has no unwind information, and frame pointers led nowhere.
    NoUnwindInfo,
    /// It goes through code that was made at run time and followed its frame
    /// pointers: frames behind it may be missing.
    Jit,
    /// The unwind information led to what is no code.
    Lost,
    /// There are more frames than anybody would read.
    TooDeep,
    /// The task had no user registers: a kernel thread, or one of `io_uring`'s.
    NoRegisters,
    /// A 32-bit program.
    Compat,
    /// There was nothing to read at the stack pointer.
    Unreadable,
    /// The process was gone before its memory map could be read.
    ProcessGone,
    /// There were too many different stacks.
    TooMany,
    /// The thread runs: where, its registers do not say.
    Running,
}

impl End {
    /// The name in machine output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Truncated => "truncated",
            Self::NoUnwindInfo => "no_unwind_info",
            Self::Jit => "jit",
            Self::Lost => "lost",
            Self::TooDeep => "too_deep",
            Self::NoRegisters => "no_registers",
            Self::Compat => "32_bit",
            Self::Unreadable => "unreadable",
            Self::ProcessGone => "process_gone",
            Self::TooMany => "too_many_stacks",
            Self::Running => "running",
        }
    }
}

/// The places that a task was in, innermost first, and how its stack ended.
///
/// Each place but the first is that of a call, one byte before the address to
/// which it will return: the return address itself may belong to the next line
/// or the next function.
pub fn walk<M: CodeMap>(
    registers: Registers,
    slice: &[u8],
    map: &mut M,
    cache: &mut Cache,
) -> (Vec<M::Place>, End) {
    let mut walker = Walker::new(registers, slice);
    let mut guess = Guess::None;
    let mut places = Vec::new();
    loop {
        let Some((place, code)) = map.at(walker.at.address_for_lookup()) else {
            return (places, guess.astray());
        };
        places.push(place);
        if places.len() == MAX_FRAMES {
            return (places, End::TooDeep);
        }
        guess = guess.max(code.guess());
        match walker.step(&code, cache) {
            Step::Caller => {}
            Step::Root => return (places, guess.root()),
            Step::BehindSlice => return (places, End::Truncated),
            Step::Astray => return (places, guess.astray()),
        }
    }
}

impl Code {
    fn guess(&self) -> Guess {
        match self {
            Self::Module(module, _) if module.has_unwind_info() => Guess::None,
            Self::Epilogue(_) => Guess::None,
            Self::Module(..) => Guess::Module,
            Self::Unknown => Guess::Jit,
        }
    }
}

/// What a walk relied on besides unwind information; the greater the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Guess {
    None,
    /// Frame pointers of a module without unwind information.
    Module,
    /// Frame pointers of code that was made at run time.
    Jit,
}

impl Guess {
    /// How a stack ended whose walk led to what is no code.
    const fn astray(self) -> End {
        match self {
            Self::None => End::Lost,
            Self::Module => End::NoUnwindInfo,
            Self::Jit => End::Jit,
        }
    }

    /// How a stack ended whose walk led to a root. Modules without unwind
    /// information, which are Go's, keep frame pointers; run-time code may use
    /// that register for anything, and skip frames by it.
    const fn root(self) -> End {
        match self {
            Self::None | Self::Module => End::Root,
            Self::Jit => End::Jit,
        }
    }
}

enum Step {
    Caller,
    Root,
    BehindSlice,
    Astray,
}

struct Walker<'s> {
    slice: Slice<'s>,
    at: FrameAddress,
    registers: UnwindRegsX86_64,
}

impl<'s> Walker<'s> {
    fn new(Registers { ip, sp, fp }: Registers, slice: &'s [u8]) -> Self {
        Self {
            slice: Slice {
                begin: sp & !7,
                bytes: slice,
                missed: false,
            },
            at: FrameAddress::from_instruction_pointer(ip),
            registers: UnwindRegsX86_64::new(ip, sp, fp),
        }
    }

    fn step(&mut self, code: &Code, cache: &mut Cache) -> Step {
        let returns_to = match code {
            Code::Module(module, bias) => self.by_module(module.unwinder(), *bias, cache),
            Code::Epilogue(epilogue) => self.by_epilogue(*epilogue),
            Code::Unknown => self.by_frame_pointer(cache),
        };
        match returns_to.map(|address| address.and_then(FrameAddress::from_return_address)) {
            Ok(Some(address)) => {
                self.at = address;
                Step::Caller
            }
            // A return address of zero is as good an end as a declared one.
            Ok(None) | Err(Error::ReturnAddressIsNull) => Step::Root,
            Err(_) if self.slice.missed => Step::BehindSlice,
            Err(_) => Step::Astray,
        }
    }

    /// The module's unwinder knows the addresses of its file, and only the
    /// instruction's address has to be one of those: everything else is the
    /// stack's. So one unwinder, and what its cache has learned, is good for
    /// all processes.
    ///
    /// framehop subtracts from an address that the information may have made
    /// too small (`cfa - 8`, in `x86_64/dwarf.rs` of 0.16.0), which panics where
    /// overflows are checked.
    fn by_module(
        &mut self,
        unwinder: &ModuleUnwinder,
        bias: u64,
        cache: &mut Cache,
    ) -> Result<Option<u64>, Error> {
        let here = match self.at {
            FrameAddress::InstructionPointer(address) => {
                FrameAddress::InstructionPointer(address.wrapping_sub(bias))
            }
            FrameAddress::ReturnAddress(address) => {
                FrameAddress::from_return_address(address.get().wrapping_sub(bias))
                    .ok_or(Error::ReturnAddressIsNull)?
            }
        };
        let slice = &mut self.slice;
        let rules = &mut cache.rules;
        let registers = &mut self.registers;
        catch_unwind(AssertUnwindSafe(|| {
            unwinder.unwind_frame(here, registers, rules, &mut |at| slice.word(at))
        }))
        .unwrap_or(Err(Error::IntegerOverflow))
    }

    fn by_frame_pointer(&mut self, cache: &mut Cache) -> Result<Option<u64>, Error> {
        let Cache { rules, ignorant } = cache;
        let slice = &mut self.slice;
        ignorant.unwind_frame(self.at, &mut self.registers, rules, &mut |at| {
            slice.word(at)
        })
    }

    fn by_epilogue(&mut self, epilogue: Epilogue) -> Result<Option<u64>, Error> {
        let sp = self.registers.sp();
        let mut word = |offset: u64| {
            let at = sp.checked_add(offset).ok_or(Error::IntegerOverflow)?;
            self.slice
                .word(at)
                .map_err(|()| Error::CouldNotReadStack(at))
        };
        let returns_to = word(epilogue.return_address)?;
        let fp = epilogue.frame_pointer.map(&mut word).transpose()?;
        if let Some(fp) = fp {
            self.registers.set_bp(fp);
        }
        let popped = epilogue.return_address.checked_add(8);
        let sp = popped.and_then(|popped| sp.checked_add(popped));
        self.registers.set_sp(sp.ok_or(Error::IntegerOverflow)?);
        self.registers.set_ip(returns_to);
        Ok(Some(returns_to))
    }
}

/// The memory that was copied.
struct Slice<'s> {
    begin: u64,
    bytes: &'s [u8],
    /// Whether something was wanted that lies behind the end at which the
    /// copying stopped for want of room.
    missed: bool,
}

impl Slice<'_> {
    fn word(&mut self, at: u64) -> Result<u64, ()> {
        let offset = at.checked_sub(self.begin).ok_or(())?;
        let offset = usize::try_from(offset).map_err(|_too_far| ())?;
        let word = self.bytes.get(offset..).and_then(<[u8]>::first_chunk);
        match word {
            Some(word) => Ok(u64::from_le_bytes(*word)),
            None => {
                self.missed |= self.is_cut();
                Err(())
            }
        }
    }

    /// Copying stops at the first page that cannot be read, which is the end of
    /// the stack, or anywhere when there is no more room.
    fn is_cut(&self) -> bool {
        const PAGE: u64 = 4096;
        let end = self.begin.wrapping_add(self.bytes.len() as u64);
        !end.is_multiple_of(PAGE)
    }
}
