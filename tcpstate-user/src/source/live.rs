//! Bytes from the running kernel: the ring buffer, read in batches.
//!
//! The programs wake the reader only when the ring has grown by a good part of
//! itself (a wake-up per event would cost the traced task more than the record:
//! it is dearer than everything else the programs do), so a timer is the
//! backstop that brings an event to the screen. Once looks have found nothing
//! the programs are told that the reader sleeps: then the next record wakes it,
//! and the timer is for what waits for time to pass.

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

/// Between two looks that found nothing, while lines may wait for time to pass.
const IDLE: Duration = Duration::from_millis(90);

/// After so many looks that found nothing the next record shall wake the reader.
/// After one it would do so for each of 14 events in a second, twice as often as
/// the timer.
const SLEEPS: u32 = 2;

/// After so many, which is more than a second, nothing is left that waits (a line
/// waits for a RST for a second at most). A program that had not seen in time that
/// the reader sleeps has sent its record long ago, and a look has found it: so no
/// event waits for the rare one.
const QUIET: u32 = 16;

/// From then on. A look costs an idle host 85 us (measured beside other work,
/// where a peer's bare wake-up took 31 us).
const RARELY: Duration = Duration::from_secs(1);

/// The ring buffer of one session.
pub struct LiveRing {
    ring: AsyncFd<RingBuf<MapData>>,
    /// A timer of its own: the runtime's wakes twice for one deadline, because it
    /// sorts timers into slots of 64 ms first.
    alarm: AsyncFd<OwnedFd>,
    /// How many looks have found nothing since one found something.
    empty_looks: u32,
    /// Tells the programs whether the reader sleeps, and what they were told.
    tell: Box<dyn Fn(bool)>,
    told: bool,
}

impl LiveRing {
    /// Takes over the ring. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When the runtime cannot watch the ring's descriptor, or there is no timer.
    pub fn new(ring: RingBuf<MapData>, tell: Box<dyn Fn(bool)>) -> io::Result<Self> {
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
            tell,
            told: false,
        })
    }

    /// Returns when the ring is worth reading: it was filled enough for the
    /// programs to say so, a record came while the reader slept, or the backstop's
    /// time has come.
    ///
    /// # Errors
    ///
    /// When the runtime loses the ring's descriptor.
    pub async fn wait(&mut self) -> io::Result<()> {
        self.tell_of_sleep(self.empty_looks >= SLEEPS);
        self.set_alarm(match self.empty_looks {
            0 => BACKSTOP,
            1..=QUIET => IDLE,
            _ => RARELY,
        })?;
        tokio::select! {
            ready = self.ring.readable() => ready?.clear_ready(),
            ready = self.alarm.readable() => ready?.clear_ready(),
        }
        self.empty_looks = self.empty_looks.saturating_add(1);
        Ok(())
    }

    fn tell_of_sleep(&mut self, sleeps: bool) {
        if self.told != sleeps {
            (self.tell)(sleeps);
            self.told = sleeps;
        }
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
            self.tell_of_sleep(false);
        }
        count
    }
}
