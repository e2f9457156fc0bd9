//! Programs of our own at `sock:inet_sock_set_state`, to compare with: one that
//! does nothing, one that counts, one that takes a stack.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use super::{
    Runs,
    bpf::{self, Instruction},
};

/// What the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// Nothing.
    Empty,
    /// Counts transitions for each CPU.
    Count,
    /// `bpf_get_stackid` of the user stack.
    Stack,
}

/// An attached program.
pub(crate) struct Attached {
    program: OwnedFd,
    _link: OwnedFd,
    map: Option<OwnedFd>,
}

/// `BPF_MAP_TYPE_PERCPU_ARRAY` and `BPF_MAP_TYPE_STACK_TRACE`.
const COUNTERS: u32 = 6;
const STACKS: u32 = 7;
/// `kernel.perf_event_max_stack`, unless somebody has changed it: 127 addresses.
const STACK: u32 = 127 * 8;

impl Reference {
    /// Where they are attached, and what every tool counts.
    pub(crate) const TRACEPOINT: &str = "inet_sock_set_state";

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Count => "count",
            Self::Stack => "stackid",
        }
    }

    /// Loads and attaches it.
    pub(crate) fn attach(self) -> Result<Attached> {
        self.try_attach()
            .with_context(|| format!("the reference program {}", self.name()))
    }

    fn try_attach(self) -> Result<Attached> {
        let map = match self {
            Self::Empty => None,
            Self::Count => Some(bpf::map(COUNTERS, 8, 1)?),
            Self::Stack => Some(bpf::map(STACKS, STACK, 1 << 12)?),
        };
        let fd = map.as_ref().map_or(-1, |map| map.as_raw_fd());
        let program = bpf::load(self.name(), &self.instructions(fd))?;
        let link = bpf::attach(program.as_fd(), c"inet_sock_set_state")?;
        Ok(Attached {
            program,
            _link: link,
            map,
        })
    }

    fn instructions(self, map: i32) -> Vec<Instruction> {
        let mut code = match self {
            Self::Empty => Vec::new(),
            Self::Count => count(map).to_vec(),
            Self::Stack => stack(map).to_vec(),
        };
        // r0 = 0; exit
        code.extend([instruction(0xb7, 0, 0, 0), instruction(0x95, 0, 0, 0)]);
        code
    }
}

/// Adds one to the value of key 0 on this CPU.
fn count(map: i32) -> [Instruction; 9] {
    let [low, high] = map_address(1, map);
    [
        instruction(0x62, 0x0a, -4, 0), // key = 0, on the stack
        instruction(0xbf, 0xa2, 0, 0),  // r2 = r10
        instruction(0x07, 0x02, 0, -4), // r2 += -4
        low,
        high,
        instruction(0x85, 0, 0, 1),    // bpf_map_lookup_elem
        instruction(0x15, 0, 2, 0),    // none: over the next two
        instruction(0xb7, 0x01, 0, 1), // r1 = 1
        instruction(0xdb, 0x10, 0, 0), // *r0 += r1, atomically
    ]
}

/// Puts the stack of the running task into the map; `r1` still is the context.
fn stack(map: i32) -> [Instruction; 4] {
    /// `BPF_F_USER_STACK` and `BPF_F_REUSE_STACKID`.
    const FLAGS: i32 = 1 << 8 | 1 << 10;
    let [low, high] = map_address(2, map);
    [
        low,
        high,
        instruction(0xb7, 0x03, 0, FLAGS),
        instruction(0x85, 0, 0, 27), // bpf_get_stackid
    ]
}

/// Loads a map's address (`BPF_PSEUDO_MAP_FD`) in a register.
const fn map_address(register: u8, map: i32) -> [Instruction; 2] {
    [
        instruction(0x18, 0x10 | register, 0, map),
        instruction(0, 0, 0, 0),
    ]
}

const fn instruction(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset,
        immediate,
    }
}

impl Attached {
    /// How often it has run, and how long where the kernel is asked to measure.
    pub(crate) fn runs(&self) -> Result<Runs> {
        Ok(Runs::of(
            &bpf::info(self.program.as_fd())?,
            Some(Reference::TRACEPOINT),
        ))
    }

    /// What [`Reference::Count`] has counted, and what the kernel has kept from
    /// it because it was running.
    pub(crate) fn count(&self) -> Result<u64> {
        let map = self.map.as_ref().context("it does not count")?;
        let mut values = vec![0; cpus()?];
        bpf::lookup(map.as_fd(), &mut values)?;
        let missed = bpf::info(self.program.as_fd())?.recursion_misses;
        Ok(values.iter().sum::<u64>() + missed)
    }
}

fn cpus() -> Result<usize> {
    aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))
}
