//! The kernel side attached: hooks tried, chosen and refused, offsets, counters.
//!
//! It knows the programs' names and how they are configured, and nothing of
//! the records they send.

mod bpf;
mod btf;
mod candidates;
mod capture;
mod choice;
mod counters;
mod error;
mod facts;
mod hooks;
mod kallsyms;
mod loader;
mod offsets;
mod privilege;
mod report;
mod threads;
mod trial;

use std::{collections::BTreeMap, io};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use aya_log::EbpfLogger;
use tcpstate_common::settings::Filter;

use self::{
    btf::Btf,
    candidates::{INSPECT, PEEK},
    choice::{Choice, Tried},
    counters::CounterMap,
    facts::Facts,
    loader::{EVENTS, Plan},
    trial::{KernelTypes, Link},
};
pub use self::{
    capture::{Capture, Rate},
    counters::Totals,
    error::AttachError,
    hooks::{Family, Signal},
    report::{HookReport, Refusal, SignalReport},
    threads::ThreadWalker,
};
use crate::decode::SockAddr64;

/// What a session is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What the kernel side lets through.
    pub filter: Filter,
    /// Size of the ring buffer in bytes, rounded up to a power of two.
    pub ring_bytes: u32,
    /// Whether to hook the return of system calls when no better hook tells
    /// who accepts. It slows every system call of every process by 10 to 15 %.
    pub accept_by_syscall: bool,
    /// The only kind of hook that may be used for a signal that has it.
    pub hooks: Option<Family>,
    /// Whether the stacks of tasks that get a socket, or read its end, are captured.
    pub capture: Option<Capture>,
    /// Whether each socket is looked at before it is over, and exit told from
    /// close: what whole connections need, and plain transitions do not pay for.
    pub last_looks: bool,
    /// Whether the kernel side logs.
    pub verbose: bool,
}

/// Programs that are loaded and attached as long as this lives. Nothing is
/// pinned: when the process ends, however it ends, so does all of this.
pub struct Session {
    /// Kept only to be dropped; before the programs.
    links: Vec<Link>,
    ebpf: Ebpf,
    counters: CounterMap,
    threads: Option<ThreadWalker>,
    report: HookReport,
    reset_reasons: BTreeMap<u32, String>,
    not_looked_at: Vec<(&'static str, &'static str)>,
    filter: Filter,
    verbose: bool,
}

impl Session {
    /// Loads and attaches everything. From its return on nothing is missed.
    ///
    /// # Errors
    ///
    /// When not even state transitions can be had. Privilege and BTF are
    /// checked before anything is attached.
    pub fn open(request: &Request) -> Result<Self, AttachError> {
        Self::open_with(request, Tried::UntilOneWorks)
    }

    fn open_with(request: &Request, tried: Tried) -> Result<Self, AttachError> {
        if !privilege::may_load_programs() {
            return Err(AttachError::NoPrivilege);
        }
        privilege::raise_locked_memory_limit();
        let facts = Facts::begin();
        let bytes = facts::types().map_err(no_btf)?;
        let own = Btf::parse(&bytes).map_err(unfit)?;
        let aya = facts::functions(&own).map_err(unfit)?;
        let types = KernelTypes {
            aya: &aya,
            own: &own,
        };
        let offsets = offsets::offsets(&own).map_err(unfit)?;
        let stacks = capture::possible(&own, &offsets);
        let stacks_of_others = capture::of_others_possible(&own, &offsets);
        let capture = request.capture.map(|asked| asked.settings(&own));
        let symbols = facts.symbols.wait();
        let plan = Plan {
            callers: &symbols.callers,
            offsets: &offsets,
            filter: &request.filter,
            ring_bytes: request.ring_bytes,
            capture,
            last_looks: request.last_looks,
            verbose: request.verbose,
        };
        let mut ebpf = loader::load(facts.loader.wait(), &plan)?;
        let mut counters = CounterMap::new(&ebpf).map_err(unfit)?;
        let mut choice = Choice::new(&mut ebpf, &types, &symbols, request, tried);
        // The transitions late: a socket whose end is missed because its hook
        // came later would lend its history to the next one at its address.
        // Stacks behind them: a record with a stack comes behind the transition
        // that it belongs to.
        let signals = || Signal::ALL.into_iter();
        for signal in signals().filter(|signal| !signal.is_stack()).skip(1) {
            choice.choose(signal)?;
        }
        choice.choose(Signal::StateTransition)?;
        if request.capture.is_some() {
            for signal in signals().filter(|signal| signal.is_stack()) {
                let possible = match signal {
                    Signal::ThreadStacks => &stacks_of_others,
                    _ => &stacks,
                };
                choice.choose_if(signal, possible)?;
            }
        }
        let (mut report, links) = choice.made();
        report.signals.sort_by_key(|report| report.signal);
        counters.note_programs(&ebpf);
        Ok(Self {
            threads: ThreadWalker::new(&mut ebpf).ok(),
            links,
            ebpf,
            counters,
            report,
            reset_reasons: offsets::reset_reasons(&own),
            not_looked_at: match request.last_looks {
                true => offsets::not_looked_at(&offsets),
                false => Vec::new(),
            },
            filter: request.filter,
            verbose: request.verbose,
        })
    }

    /// Which hook gives which signal, and which were refused.
    #[must_use]
    pub const fn report(&self) -> &HookReport {
        &self.report
    }

    /// `enum sk_rst_reason` by number, without its prefix; empty where the
    /// kernel has none.
    #[must_use]
    pub const fn reset_reasons(&self) -> &BTreeMap<u32, String> {
        &self.reset_reasons
    }

    /// Facts of connections that are asked for and cannot be had, and the field
    /// of the kernel's that is missing for each.
    #[must_use]
    pub fn not_looked_at(&self) -> &[(&'static str, &'static str)] {
        &self.not_looked_at
    }

    /// What the kernel side lets through.
    #[must_use]
    pub const fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The ring buffer with the records.
    ///
    /// # Errors
    ///
    /// When it was taken before, or cannot be mapped into memory.
    pub fn take_ring(&mut self) -> anyhow::Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map(EVENTS);
        let map = map.context("the ring buffer was taken before")?;
        RingBuf::try_from(map).context("cannot map the ring buffer into memory")
    }

    /// The kernel side's log, when it was asked for and not taken before. It
    /// must be flushed when its descriptor is readable.
    pub fn take_logger(&mut self) -> Option<EbpfLogger<&'static dyn log::Log>> {
        if !self.verbose {
            return None;
        }
        EbpfLogger::init(&mut self.ebpf).ok()
    }

    /// What the kernel side has counted so far.
    ///
    /// # Errors
    ///
    /// When the kernel does not let us read its counters any more.
    pub fn counters(&self) -> anyhow::Result<Totals> {
        self.counters.read(&self.ebpf)
    }

    /// [`Totals::ring_full`], without asking the kernel.
    #[must_use]
    pub fn ring_full(&self) -> u64 {
        self.counters.ring_full()
    }

    /// Looks at one socket: its snapshot comes through the ring, before this
    /// returns. The address need not be a socket any more.
    ///
    /// # Errors
    ///
    /// When this kernel cannot ([`Signal::SocketLookup`] has no hook).
    pub fn peek(&self, sk: SockAddr64) -> anyhow::Result<()> {
        self.run_with(PEEK, sk)
    }

    /// As [`Self::peek`], for all that a report needs of a full socket.
    ///
    /// # Errors
    ///
    /// As [`Self::peek`].
    pub fn inspect(&self, sk: SockAddr64) -> anyhow::Result<()> {
        self.run_with(INSPECT, sk)
    }

    fn run_with(&self, program: &str, sk: SockAddr64) -> anyhow::Result<()> {
        let program = self.ebpf.program(program).context("no program to look")?;
        let program: &RawTracePoint = program.try_into()?;
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = sk.0;
        program.test_run(options)?;
        Ok(())
    }

    /// Walks over the threads of processes; `None` when this kernel has no
    /// `iter.s/task`, stacks were not asked for, or it was taken before. It
    /// works as long as it lives.
    pub const fn take_thread_walker(&mut self) -> Option<ThreadWalker> {
        self.threads.take()
    }

    /// Ends tracing. What is in the ring stays there, and the counters do not
    /// change any more.
    pub fn detach(&mut self) {
        self.links.clear();
        wait_for_programs_in_flight();
    }
}

/// Tries all candidates of every signal, those too that a session would not
/// reach or not be asked for. Nothing stays attached.
///
/// # Errors
///
/// As [`Session::open`].
pub fn probe() -> Result<HookReport, AttachError> {
    let request = Request {
        accept_by_syscall: true,
        capture: Some(Capture::default()),
        last_looks: true,
        ..Request::default()
    };
    Session::open_with(&request, Tried::All).map(|session| session.report)
}

/// A program that ran while it was detached may still be about to count or to
/// submit. Programs run inside RCU read-side critical sections, and this waits
/// for all of them: `synchronize_rcu` of
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/sched/membarrier.c#L623-L630>.
fn wait_for_programs_in_flight() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_long = 1;
    // SAFETY: the call takes no pointers. Where it is not allowed (nohz_full)
    // nothing is waited for.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
}

fn no_btf(error: io::Error) -> AttachError {
    match error.kind() {
        io::ErrorKind::NotFound => AttachError::NoBtf,
        _ => unfit(error),
    }
}

fn unfit(error: impl Into<anyhow::Error>) -> AttachError {
    AttachError::Other(format!("cannot trace this kernel: {:#}", error.into()))
}
