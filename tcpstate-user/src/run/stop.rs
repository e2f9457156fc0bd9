//! When a session ends: Ctrl-C, SIGTERM, or its time is over.
//!
//! While it waits for a pipe that nobody reads, a session does not see that it
//! should end: the second signal ends it as if nobody had watched the first.

use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use signal_hook::flag;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Sleep, sleep},
};

/// Waits for the first reason to stop. All of them are a normal end.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    over: Option<Pin<Box<Sleep>>>,
}

impl Stop {
    /// Watches the signals from now on.
    pub(super) fn new() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            // In this order: the first signal finds that nobody has asked yet.
            flag::register_conditional_default(kind.as_raw_value(), Arc::clone(&asked))?;
            flag::register(kind.as_raw_value(), Arc::clone(&asked))?;
        }
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            over: None,
        })
    }

    /// Lets the session end by itself, at the latest this long from now.
    pub(super) fn after(&mut self, time: Option<Duration>) {
        self.over = time.map(|time| Box::pin(sleep(time)));
    }

    /// Returns when it is time to stop.
    pub(super) async fn asked(&mut self) {
        let over = async {
            match &mut self.over {
                Some(sleep) => sleep.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            () = over => {}
        }
    }
}
