//! The status line: how much is flowing, and whether anything is being lost.
//!
//! Only for a person: on stderr, when stderr is a terminal and the results go
//! somewhere else.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(1);

/// A line on stderr that rewrites itself once a second.
#[derive(Debug)]
pub(super) struct StatusLine {
    shown: bool,
    last: Option<(Instant, u64)>,
}

impl StatusLine {
    /// A status line, if anybody would see it without being disturbed by it.
    pub(super) fn for_terminal() -> Option<Self> {
        let wanted = io::stderr().is_terminal() && !io::stdout().is_terminal();
        wanted.then_some(Self {
            shown: false,
            last: None,
        })
    }

    /// Whether a second has passed since the line was written.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.last.is_none_or(|(at, _)| now - at >= EVERY)
    }

    /// Rewrites the line.
    pub(super) fn show(&mut self, now: Instant, delivered: u64, lost: u64) {
        let rate = self.last.map_or(0.0, |(at, before)| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "events per second, rounded for a person"
            )]
            let events = (delivered - before) as f64;
            events / (now - at).as_secs_f64()
        });
        self.last = Some((now, delivered));
        self.shown = true;
        // A terminal that is gone is no reason to stop tracing.
        let _gone = write!(
            io::stderr(),
            "\r\x1b[Ktracing… {rate:.0} records/s, {lost} lost"
        );
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.shown {
            let _gone = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
