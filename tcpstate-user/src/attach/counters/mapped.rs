//! The counters' array as the kernel keeps it, seen through a mapping: reading it
//! takes no system call.
//!
//! It does not know what the counters count, nor when a reader sleeps.

use std::{
    io,
    mem::offset_of,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tcpstate_common::settings::Counters;

/// Words of one [`Counters`].
const WORDS: usize = size_of::<Counters>() / 8;

/// One [`Counters`] for each CPU there may be.
pub(super) struct Mapped {
    first: NonNull<AtomicU64>,
    cpus: usize,
}

impl Mapped {
    /// Maps the array of so many CPUs, which has been created to allow it.
    pub(super) fn new(map: BorrowedFd<'_>, cpus: u32) -> io::Result<Self> {
        let cpus = cpus as usize;
        let length = length(cpus);
        // SAFETY: the address is the kernel's choice, so nothing of ours is there.
        let at = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                map,
                0,
            )
        }?;
        let first = NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { first, cpus })
    }

    /// The counters of all CPUs together.
    pub(super) fn sum(&self) -> Counters {
        let mut sum = [0_u64; WORDS];
        for (index, word) in self.words().iter().enumerate() {
            let total = &mut sum[index % WORDS];
            *total = total.wrapping_add(word.load(Ordering::Relaxed));
        }
        zerocopy::transmute!(sum)
    }

    /// Tells the programs, on each CPU, whether the reader sleeps.
    pub(super) fn tell(&self, sleeps: bool) {
        const SLEEPS: usize = offset_of!(Counters, reader_sleeps) / 8;
        for word in self.words().iter().skip(SLEEPS).step_by(WORDS) {
            word.store(sleeps.into(), Ordering::Relaxed);
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: so many bytes are mapped as long as this lives, a page begins at
        // a multiple of eight, all bits are a value, and whoever changes words
        // changes whole ones, by atomic instructions.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.cpus * WORDS) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and nothing refers to it any more.
        // It fails for addresses that are not ours only.
        let _ours = unsafe { munmap(self.first.as_ptr().cast(), length(self.cpus)) };
    }
}

/// In bytes; the kernel rounds it up to whole pages.
const fn length(cpus: usize) -> usize {
    cpus * size_of::<Counters>()
}
