//! The machine: what it is, and whether anything else is at work on it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::process::wait_for;

/// What numbers depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
    /// BPF programs of others, which may be at the same tracepoint.
    pub(crate) foreign_programs: usize,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let field = |file: &str, key: &str| -> Result<String> {
            let text = fs::read_to_string(file).with_context(|| file.to_owned())?;
            let line = text.lines().find(|line| line.starts_with(key));
            let value = line.and_then(|line| line.split_once(':'));
            Ok(value.map_or_else(String::new, |(_, value)| value.trim().to_owned()))
        };
        let total = field("/proc/meminfo", "MemTotal")?;
        let kilobytes = total
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok());
        Ok(Self {
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpu: field("/proc/cpuinfo", "model name")?,
            cpus: std::thread::available_parallelism()?.get(),
            memory_bytes: kilobytes.unwrap_or(0) * 1024,
            foreign_programs: crate::kernel::loaded(),
        })
    }
}

/// CPU time that all CPUs have spent at work, by the clock tick.
pub(crate) fn busy_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    busy_ticks(&text)
        .map(|ticks| ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second()))
        .context("/proc/stat")
}

/// user, nice, system; not idle, iowait; irq, softirq; not what a host took away.
fn busy_ticks(text: &str) -> Option<u64> {
    let numbers = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = numbers
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    (numbers.len() >= 7).then(|| numbers[..3].iter().chain(&numbers[5..7]).sum())
}

/// Waits until most of the machine is idle, a little while only: what is still
/// at work then is told with each sample.
pub(crate) fn settle() -> Result<()> {
    const STEP: Duration = Duration::from_millis(100);
    // A quiet machine needs one step.
    let mut left = 15;
    let mut before = busy_ns()?;
    wait_for("an idle machine", || {
        std::thread::sleep(STEP);
        let now = busy_ns()?;
        let is_idle = now - before < 30_000_000;
        before = now;
        left -= 1;
        Ok((is_idle || left == 0).then_some(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_and_what_the_host_took_is_no_work() {
        let text = "cpu  10 1 5 100 50 2 3 99 0 0\ncpu0 1 1 1\n";
        assert_eq!(busy_ticks(text), Some(21));
        assert_eq!(busy_ticks("intr 5"), None);
    }

    #[test]
    fn this_machine_has_a_name_and_has_worked() {
        let machine = Machine::look().unwrap();
        assert!(machine.cpus > 0 && machine.memory_bytes > 0, "{machine:?}");
        assert!(busy_ns().unwrap() > 0);
    }
}
