//! Bytes from the running kernel: the ring buffer, read in batches.
//!
//! The programs wake the reader only when the ring has grown by a good part of
//! itself (a wake-up per event would cost the traced task more than the record:
//! it is dearer than everything else the programs do), so a timer is the
//! backstop that brings a lone event to the screen.

use std::{io, os::fd::OwnedFd, time::Duration};

use aya::maps::{MapData, RingBuf};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A line appears within this time (and the time to write it) after its event,
/// while there are events.
const BACKSTOP: Duration = Duration::from_millis(50);

/// The same when the last look found nothing: a line appears within 100 ms. A
/// look costs an idle host 85 us (measured beside other work, where a peer's
/// bare wake-up took 31 us).
const IDLE: Duration = Duration::from_millis(90);

/// After so many looks that found nothing, which is more than a second, nothing is
/// left that waits for time to pass (a line waits for a RST for a second at most),
/// and whoever waits is told of every tenth only.
const QUIET: u32 = 16;
const SELDOM: u32 = 10;

/// The ring buffer of one session.
pub struct LiveRing {
    ring: AsyncFd<RingBuf<MapData>>,
    /// A timer of its own: the runtime's wakes twice for one deadline, because it
    /// sorts timers into slots of 64 ms first.
    alarm: AsyncFd<OwnedFd>,
    /// How many looks have found nothing since one found something.
    empty_looks: u32,
}

impl LiveRing {
    /// Takes over the ring. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the ring's descriptor, or there is no timer.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let alarm = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            // SAFETY: the ring owns its descriptor and gives the same one until it
            // is dropped; `AsyncFd` drops it only after its own registration.
            ring: unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
                .map_err(|refused| refused.into_parts().1)?,
            // SAFETY: as above.
            alarm: unsafe { AsyncFd::register_with_interest(alarm, Interest::READABLE) }
                .map_err(|refused| refused.into_parts().1)?,
            empty_looks: 0,
        })
    }

    /// Returns when the ring is worth reading: it was filled enough for the
    /// programs to say so, or the backstop's time has come.
    ///
    /// # Errors
    ///
    /// When the runtime loses the ring's descriptor.
    pub async fn wait(&mut self) -> io::Result<()> {
        loop {
            let flows = self.empty_looks == 0;
            self.set_alarm(if flows { BACKSTOP } else { IDLE })?;
            tokio::select! {
                ready = self.ring.readable() => ready?.clear_ready(),
                ready = self.alarm.readable() => ready?.clear_ready(),
            }
            self.empty_looks = self.empty_looks.saturating_add(1);
            let is_quiet = self.empty_looks > QUIET && !self.empty_looks.is_multiple_of(SELDOM);
            if !is_quiet || self.has_record() {
                return Ok(());
            }
        }
    }

    fn has_record(&mut self) -> bool {
        // A record is taken when it is dropped.
        self.ring.get_mut().next().map(std::mem::forget).is_some()
    }

    fn set_alarm(&self, after: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(after).map_err(io::Error::other)?,
        };
        timerfd_settime(self.alarm.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Gives at most `most` records to `each`, oldest first; returns how many.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut count = 0;
        while count < most {
            let Some(record) = ring.next() else { break };
            each(&record);
            count += 1;
        }
        if count > 0 {
            self.empty_looks = 0;
        }
        count
    }
}
