//! What a kernel allows, as a value: the report of `tcpstate doctor`.
//!
//! It knows neither how the kernel was asked (`attach`) nor how the report is
//! written (`sink::report`).

use serde::{Deserialize, Serialize};

/// Everything that `tcpstate doctor` found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorReport {
    /// `uname -r`
    pub kernel: String,
    /// The kernel's type information, which gives the field offsets.
    pub btf: Btf,
    /// The capabilities that matter, each with whether this process has it.
    pub capabilities: Vec<Capability>,
    /// Kernel lockdown: `none`, `integrity` or `confidentiality`; `None` where
    /// the kernel does not say.
    pub lockdown: Option<String>,
    /// One row per signal, the most important first.
    pub signals: Vec<SignalRow>,
    /// Size of the ring buffer that would be used, in bytes.
    pub ring_bytes: u64,
    /// Sockets that would be remembered at the same time.
    pub max_sockets: u64,
    /// What these two depend on: CPUs that are online.
    pub cpus: u64,
    /// And the memory that this process may use.
    pub memory_bytes: u64,
    /// What to do, one sentence each; empty when nothing is missing.
    pub advice: Vec<String>,
}

impl DoctorReport {
    /// Whether `tcpstate trace` would run here: without the first signal
    /// nothing does.
    #[must_use]
    pub fn can_trace(&self) -> bool {
        self.signals.first().is_some_and(|row| row.chosen.is_some())
    }
}

/// Whether the kernel's type information can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Btf {
    /// Read from here.
    Found(String),
    /// Not there or not usable, and why.
    Missing(String),
}

impl Default for Btf {
    fn default() -> Self {
        Self::Missing("not looked for".to_owned())
    }
}

/// One capability of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// `CAP_BPF` and so on.
    pub name: String,
    /// Whether it is in the effective set.
    pub held: bool,
}

/// One signal and the hook it gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRow {
    /// Name of the signal.
    pub signal: String,
    /// The hook that would be used; `None` when all were refused.
    pub chosen: Option<String>,
    /// The better ones, and why the kernel refused them.
    pub refused: Vec<Refusal>,
    /// What cannot be told without this signal.
    pub without: String,
}

/// A hook that did not load or attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The hook.
    pub hook: String,
    /// What the kernel said.
    pub reason: String,
}
