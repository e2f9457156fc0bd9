//! When a report is due.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Ticks, if there are reports.
pub(super) struct Refresh(Option<Interval>);

impl Refresh {
    /// The first is due an interval from now. When one took so long that the
    /// next is late, that is due a whole interval later: the records that came
    /// meanwhile have their turn.
    pub(super) fn every(interval: Option<Duration>) -> Self {
        Self(interval.map(|interval| {
            let mut ticks = interval_at(Instant::now() + interval, interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        }))
    }

    /// Returns when a report is due.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}
