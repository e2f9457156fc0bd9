//! Events that the kernel keeps from a program because that is running already,
//! given to a copy of it.
//!
//! The kernel does not run a program on a CPU that is running it already
//! (`prog->active`, since Linux 6.1 for raw tracepoints too:
//! <https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L2354-L2360>,
//! <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/trampoline.c#L892-L906>).
//! What interrupts it goes unseen: a packet, or, where a task can be preempted
//! inside a program (seen with Debian's 7.2 and 7.3), any other task, until the
//! first one runs again. So what runs where interrupts are on has a copy, at the
//! same hook; whatever keeps one of them from running does not keep the other.
//! What the kernel does with softirqs off, as with minisockets, needs none: of
//! these nothing was missed on 7.3 where a dozen transitions were. Kprobes cannot
//! be helped: one that runs keeps all others from its CPU.

use core::{ffi::c_void, mem::offset_of};

use tcpstate_common::settings::Counters;

use crate::{
    emit::count,
    maps::{MARKED, MARKS},
};

/// Where an event under way is marked, and the mark: where its arguments lie on
/// the stack. They lie there for both programs, and for no other event as long as
/// this one is under way. Events that interrupt each other have places of their
/// own, but for 1 in [`MARKS`]: of those, one may be recorded twice.
pub(crate) struct Mark {
    place: *mut u64,
    event: u64,
}

impl Mark {
    /// The mark of the event whose arguments are at `ctx`.
    #[inline(always)]
    pub(crate) fn of(ctx: *mut c_void) -> Option<Self> {
        /// 2^64 divided by the golden ratio: spreads what differs in the low bits.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        const SHIFT: u32 = 64 - MARKS.ilog2();
        let marks = MARKED.get_ptr_mut(0)?;
        // The verifier lets no pointer be multiplied, but two be subtracted.
        let event = (ctx as u64).wrapping_sub(marks as u64);
        let index = (event.wrapping_mul(SPREAD) >> SHIFT) as usize;
        // SAFETY: the index is below `MARKS`: it has that many bits.
        let place = unsafe { marks.cast::<u64>().add(index) };
        Some(Self { place, event })
    }

    /// Whether the event bears it.
    #[inline(always)]
    pub(crate) fn is_set(&self) -> bool {
        // SAFETY: a map value is valid as long as the program runs; volatile,
        // because an interrupt looks at it in between.
        unsafe { self.place.read_volatile() == self.event }
    }

    /// Marks the event.
    #[inline(always)]
    pub(crate) fn set(&self) {
        // SAFETY: as above.
        unsafe { self.place.write_volatile(self.event) };
    }

    /// Takes the mark away.
    #[inline(always)]
    pub(crate) fn clear(&self) {
        // SAFETY: as above.
        unsafe { self.place.write_volatile(0) };
    }
}

/// Runs `record` in whichever copy of a program comes first. The order in which
/// trampolines call their programs is the kernel's affair.
///
/// Of events that one copy alone has seen the mark stays behind, and the next
/// event there is recorded by its second program. The counters hold all the same:
/// with every event twice either here or in the kernel's count of misses,
/// (misses + seconds - firsts) / 2 were seen by no program.
#[inline(always)]
pub(crate) fn once(ctx: *mut c_void, record: impl FnOnce()) {
    let Some(mark) = Mark::of(ctx) else {
        return;
    };
    if mark.is_set() {
        mark.clear();
        count(offset_of!(Counters, seconds));
    } else {
        record();
        mark.set();
        count(offset_of!(Counters, firsts));
    }
}
