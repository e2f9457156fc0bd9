//! The load: TCP connections on loopback, bounded, counted and timed by itself.
//!
//! A process of its own, driven line by line: it says `ready` when its sockets
//! are there, does what each [`Order`] on standard input says, answers with a
//! [`Done`], and ends with its input. It knows nothing of tools.

mod mode;
mod namespace;
mod pace;

use std::{
    io::{self, BufRead as _, Write as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

pub(crate) use self::{mode::Mode, pace::Order};
use self::{mode::Peers, pace::Next};

/// What kind of load.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Load {
    /// How connections come and go
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
    /// Threads, each both peers of its connections
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: u8,
    /// Connections that stay open meanwhile
    #[arg(long, default_value_t = 0)]
    pub(crate) hold: u32,
}

/// What an order came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Opened and ended.
    pub(crate) connections: u64,
    /// What these are in `sock:inet_sock_set_state`.
    pub(crate) transitions: u64,
    /// How long it took.
    pub(crate) wall_ns: u64,
    /// Of all threads, interrupts that they were charged with included.
    pub(crate) cpu_ns: u64,
}

impl Done {
    /// Transitions in a second.
    pub(crate) fn rate(&self) -> f64 {
        ratio(self.transitions, self.wall_ns) * 1e9
    }

    /// Nanoseconds of CPU for a transition.
    pub(crate) fn each(&self) -> f64 {
        ratio(self.cpu_ns, self.transitions)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
pub(crate) fn ratio(over: u64, under: u64) -> f64 {
    over as f64 / under as f64
}

/// Runs the load until its input ends.
pub(crate) fn command(load: &Load) -> Result<()> {
    namespace::enter()?;
    let mut peers = (0..load.threads)
        .map(|thread| Peers::new(load.mode, thread))
        .collect::<Result<Vec<_>, _>>()
        .context("the load's listeners")?;
    let _held = hold(load.hold)?;
    answer("ready")?;
    for line in io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("an order")?;
        let done = carry_out(load.mode, &mut peers, order)?;
        answer(&serde_json::to_string(&done)?)?;
    }
    Ok(())
}

fn answer(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Both ends of so many connections, until the value goes.
fn hold(count: u32) -> Result<Option<(Peers, Vec<rustix::fd::OwnedFd>)>> {
    if count == 0 {
        return Ok(None);
    }
    // The last addresses that no thread of a load has.
    let mut peers = Peers::new(Mode::ClientFin, 7)?;
    peers.widen(i32::try_from(count)?)?;
    let near = (0..count).map(|_| peers.keep());
    let near = near.collect::<Result<Vec<_>, _>>();
    let near = near.context("connections that stay")?;
    Ok(Some((peers, near)))
}

fn carry_out(mode: Mode, peers: &mut [Peers], order: Order) -> Result<Done> {
    let share = order.share(u32::try_from(peers.len())?);
    let cpu = cpu_ns();
    let began = Instant::now();
    let connections = thread::scope(|scope| {
        let threads: Vec<_> = peers
            .iter_mut()
            .map(|peers| scope.spawn(move || run(peers, &share, began)))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .sum::<Result<u64>>()
    })?;
    Ok(Done {
        connections,
        transitions: connections * mode.transitions(),
        wall_ns: u64::try_from(began.elapsed().as_nanos())?,
        cpu_ns: cpu_ns() - cpu,
    })
}

fn run(peers: &mut Peers, order: &Order, began: Instant) -> Result<u64> {
    let mut made = 0;
    loop {
        match order.next(made, began.elapsed()) {
            Next::Over => return Ok(made),
            Next::Wait(due) => sleep_until(began, due),
            Next::Batch(count) => {
                peers.batch(count).context("a connection of the load")?;
                made += u64::from(count);
            }
        }
    }
}

fn sleep_until(began: Instant, due: Duration) {
    thread::sleep(due.saturating_sub(began.elapsed()));
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    u64::try_from(nanoseconds).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_carried_out_by_all_threads_and_what_it_was_is_counted() {
        let mut peers = [0, 1].map(|thread| Peers::new(Mode::ServerReset, thread).unwrap());
        let order = Order {
            count: 40,
            seconds: 60.0,
            rate: None,
        };
        let done = carry_out(Mode::ServerReset, &mut peers, order).unwrap();
        assert_eq!((done.connections, done.transitions), (40, 240));
        assert!(done.wall_ns > 0 && done.cpu_ns > 0);
    }

    #[test]
    fn connections_that_stay_have_both_ends_with_one_descriptor() {
        let (_peers, near) = hold(50).unwrap().unwrap();
        assert_eq!(near.len(), 50);
    }
}
