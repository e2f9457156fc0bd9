//! What the kernel side counted.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use tcpstate_common::settings::Counters;

use super::{
    bpf,
    candidates::{COPY, TRANSITION, TRANSITION_AGAIN},
    loader::{COUNTERS, possible_cpus},
};

/// A [`Counters`] as words: the fields of one, in order.
type Words = [u64; size_of::<Counters>() / 8];

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

/// The counters' map.
pub(super) struct CounterMap {
    map: Array<MapData, Words>,
    cpus: u32,
}

impl CounterMap {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf.take_map(COUNTERS).context("no counters")?;
        Ok(Self {
            map: Array::try_from(map)?,
            cpus: possible_cpus(),
        })
    }

    /// The totals; `recursion` over all programs that are loaded.
    pub(super) fn read(&self, ebpf: &Ebpf) -> Result<Totals> {
        // Misses before what was seen in spite of them: what is missed in between
        // and seen by a copy must not look like a loss.
        let misses = Misses::read(ebpf)?;
        let (mut firsts, mut seconds) = (0, 0);
        let mut totals = Totals::default();
        for cpu in 0..self.cpus {
            let words = self.map.get(&cpu, 0).context("cannot read the counters")?;
            let counters: Counters = zerocopy::transmute!(words);
            totals.seen += counters.seen;
            totals.ring_full += counters.ring_full;
            totals.foreign += counters.foreign;
            totals.filtered += counters.filtered;
            totals.rescued += counters.rescued;
            totals.sampled_out += counters.sampled_out;
            firsts += counters.firsts;
            seconds += counters.seconds;
        }
        // Each of these events has come to two programs, or has been missed by them.
        let by_both = (misses.with_copy + seconds).saturating_sub(firsts) / 2;
        let transitions = misses.transitions.saturating_sub(totals.rescued);
        totals.recursion = transitions + by_both + misses.others;
        Ok(totals)
    }
}

/// Events that a program was kept from, because it was running already.
#[derive(Default)]
struct Misses {
    /// By the first program at transitions. What the second one misses the first
    /// one sees.
    transitions: u64,
    /// By programs that have a copy, and by these copies.
    with_copy: u64,
    others: u64,
}

impl Misses {
    fn read(ebpf: &Ebpf) -> Result<Self> {
        let mut all = Self::default();
        for (name, program) in ebpf.programs() {
            let Ok(program) = program.fd() else {
                continue;
            };
            let misses = bpf::recursion_misses(program.as_fd())
                .context("cannot read a program's statistics")?;
            match name {
                TRANSITION => all.transitions = misses,
                TRANSITION_AGAIN => {}
                // A stack that is missing is no record that is missing.
                name if name.contains("_stack") => {}
                name if has_copy(ebpf, name) => all.with_copy += misses,
                _ => all.others += misses,
            }
        }
        Ok(all)
    }
}

/// Whether the program of this name is a copy or has one.
fn has_copy(ebpf: &Ebpf, name: &str) -> bool {
    name.ends_with(COPY) || ebpf.program(&format!("{name}{COPY}")).is_some()
}
