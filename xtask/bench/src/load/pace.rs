//! When the next batch is due: a rate, or as fast as possible, up to a limit.
//!
//! Time is a value here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// At most so many connections are open at the same time in a thread.
const BATCH: u32 = 16;

/// What one thread is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// No more connections than this.
    pub(crate) count: u64,
    /// Nor longer than this.
    pub(crate) seconds: f64,
    /// In a second; none is as fast as possible.
    pub(crate) rate: Option<f64>,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Next {
    Batch(u32),
    /// Not before this much time since the beginning has passed.
    Wait(Duration),
    Over,
}

impl Order {
    /// One thread's share.
    pub(crate) fn share(self, threads: u32) -> Self {
        Self {
            count: self.count / u64::from(threads),
            seconds: self.seconds,
            rate: self.rate.map(|rate| rate / f64::from(threads)),
        }
    }

    /// With `made` connections after `elapsed`.
    pub(crate) fn next(&self, made: u64, elapsed: Duration) -> Next {
        if made >= self.count || elapsed.as_secs_f64() >= self.seconds {
            return Next::Over;
        }
        let left = u32::try_from(self.count - made).unwrap_or(u32::MAX);
        let batch = left.min(self.batch());
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 connections")]
        let due = self.rate.map(|rate| made as f64 / rate);
        match due.map(Duration::from_secs_f64) {
            Some(due) if due > elapsed => Next::Wait(due),
            _ => Next::Batch(batch),
        }
    }

    /// Few together at a low rate: a burst each millisecond, not one each 16.
    fn batch(&self) -> u32 {
        let each_millisecond = self.rate.map_or(BATCH, |rate| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "clamped"
            )]
            let connections = (rate / 1_000.0).clamp(1.0, f64::from(BATCH)) as u32;
            connections
        });
        each_millisecond.clamp(1, BATCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order {
        count: 100,
        seconds: 10.0,
        rate: None,
    };

    #[test]
    fn without_a_rate_batches_follow_each_other_up_to_the_count() {
        assert_eq!(ORDER.next(0, Duration::ZERO), Next::Batch(BATCH));
        assert_eq!(ORDER.next(96, Duration::ZERO), Next::Batch(4));
        assert_eq!(ORDER.next(100, Duration::ZERO), Next::Over);
        assert_eq!(ORDER.next(0, Duration::from_secs(10)), Next::Over);
    }

    #[test]
    fn with_a_rate_a_batch_waits_until_it_is_due_and_a_late_one_does_not() {
        let order = Order {
            rate: Some(2_000.0),
            ..ORDER
        };
        assert_eq!(order.next(0, Duration::ZERO), Next::Batch(2));
        let due = Duration::from_millis(1);
        assert_eq!(order.next(2, Duration::ZERO), Next::Wait(due));
        assert_eq!(order.next(2, due), Next::Batch(2));
    }

    #[test]
    fn threads_share_count_and_rate_and_not_the_time() {
        let order = Order {
            rate: Some(10.0),
            ..ORDER
        };
        let share = order.share(2);
        assert_eq!((share.count, share.rate), (50, Some(5.0)));
        assert!((share.seconds - 10.0).abs() < f64::EPSILON);
    }
}
