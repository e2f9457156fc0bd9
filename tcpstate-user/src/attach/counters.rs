//! What the kernel side counted.

mod mapped;

use std::{os::fd::AsFd as _, rc::Rc};

use anyhow::{Context as _, Result};
use aya::{Ebpf, maps::Map};

use self::mapped::Mapped;
use super::{
    Session, bpf,
    candidates::{COPY, TRANSITION, TRANSITION_AGAIN},
    loader::{COUNTERS, possible_cpus},
};

/// Counters of all CPUs together, since the session was opened. Monotonic.
///
/// Conservation: `seen` = delivered + `ring_full`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records the programs wanted to send.
    pub seen: u64,
    /// Of these, lost because the ring buffer was full.
    pub ring_full: u64,
    /// Events of protocols that are not TCP: not in `seen`.
    pub foreign: u64,
    /// Events the filter refused: not in `seen`.
    pub filtered: u64,
    /// Transitions that only the second program saw: in `seen`.
    pub rescued: u64,
    /// Stacks that were not captured, because there were too many: not in `seen`.
    pub sampled_out: u64,
    /// Events that no program saw, because an interrupt or, where programs can be
    /// preempted, another task brought them while the same program ran on that
    /// CPU: not in `seen`, and with no mark on
    /// any record. Always 0 before Linux 5.12, which does not count them.
    pub recursion: u64,
}

/// The counters' map, and whom to ask for what is not in it.
pub(super) struct CounterMap {
    cells: Rc<Mapped>,
    programs: Vec<(String, Kind)>,
}

/// What it means that a program was kept from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The first one at transitions. What the second one misses the first one sees.
    Transition,
    /// It has a copy, or is one.
    WithCopy,
    Other,
}

impl Session {
    /// Tells the programs whether the reader of the ring sleeps: while it does, a
    /// record that finds the ring read to its end wakes it. It can be told as long
    /// as the teller lives.
    #[must_use]
    pub fn sleep_teller(&self) -> Box<dyn Fn(bool)> {
        let cells = Rc::clone(&self.counters.cells);
        Box::new(move |sleeps| cells.tell(sleeps))
    }
}

impl CounterMap {
    pub(super) fn new(ebpf: &Ebpf) -> Result<Self> {
        let Some(Map::Array(map)) = ebpf.map(COUNTERS) else {
            anyhow::bail!("no counters");
        };
        let cells = Mapped::new(map.fd().as_fd(), possible_cpus());
        Ok(Self {
            cells: Rc::new(cells.context("cannot map the counters into memory")?),
            programs: Vec::new(),
        })
    }

    /// Notes which programs are loaded: from now on none is.
    pub(super) fn note_programs(&mut self, ebpf: &Ebpf) {
        let loaded = ebpf.programs().filter(|(_, program)| program.fd().is_ok());
        let kinds = loaded.filter_map(|(name, _)| Some((name.to_owned(), kind(ebpf, name)?)));
        self.programs = kinds.collect();
    }

    /// The totals; `recursion` over all programs that are loaded, which takes a
    /// system call for each.
    pub(super) fn read(&self, ebpf: &Ebpf) -> Result<Totals> {
        // Misses before what was seen in spite of them: what is missed in between
        // and seen by a copy must not look like a loss.
        let misses = self.misses(ebpf)?;
        let counters = self.cells.sum();
        // Each of these events has come to two programs, or has been missed by them.
        let by_both = (misses.with_copy + counters.seconds).saturating_sub(counters.firsts) / 2;
        let transitions = misses.transitions.saturating_sub(counters.rescued);
        Ok(Totals {
            seen: counters.seen,
            ring_full: counters.ring_full,
            foreign: counters.foreign,
            filtered: counters.filtered,
            rescued: counters.rescued,
            sampled_out: counters.sampled_out,
            recursion: transitions + by_both + misses.others,
        })
    }

    /// [`Totals::ring_full`], without a system call.
    pub(super) fn ring_full(&self) -> u64 {
        self.cells.sum().ring_full
    }

    fn misses(&self, ebpf: &Ebpf) -> Result<Misses> {
        let mut all = Misses::default();
        for (name, kind) in &self.programs {
            let program = ebpf.program(name).context("a program is gone")?;
            let misses = bpf::recursion_misses(program.fd()?.as_fd())
                .context("cannot read a program's statistics")?;
            match kind {
                Kind::Transition => all.transitions = misses,
                Kind::WithCopy => all.with_copy += misses,
                Kind::Other => all.others += misses,
            }
        }
        Ok(all)
    }
}

/// Events that a program was kept from, because it was running already.
#[derive(Default)]
struct Misses {
    transitions: u64,
    with_copy: u64,
    others: u64,
}

/// `None` for programs whose misses are none of ours.
fn kind(ebpf: &Ebpf, name: &str) -> Option<Kind> {
    match name {
        TRANSITION => Some(Kind::Transition),
        TRANSITION_AGAIN => None,
        // A stack that is missing is no record that is missing.
        name if name.contains("_stack") => None,
        name if has_copy(ebpf, name) => Some(Kind::WithCopy),
        _ => Some(Kind::Other),
    }
}

/// Whether the program of this name is a copy or has one.
fn has_copy(ebpf: &Ebpf, name: &str) -> bool {
    name.ends_with(COPY) || ebpf.program(&format!("{name}{COPY}")).is_some()
}
