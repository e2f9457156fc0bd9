//! What a session of tracing says about itself: at its start, and at its end.
//!
//! The same values head and close a recording (`source::recording`), the
//! machine output (`sink`) and the report of `doctor`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Written once the hooks are attached and existing sockets are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// [`tcpstate_common::record::SCHEMA`] of the records.
    pub schema: u32,
    /// Version of tcpstate.
    pub version: String,
    /// `uname -n`
    pub host: String,
    /// `uname -r`
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`: monotonic times compare only within one.
    pub boot_id: String,
    /// Nanoseconds to add to `CLOCK_MONOTONIC` to get `CLOCK_REALTIME`.
    pub clock_offset_ns: i64,
    /// Signal to the hook that gives it; `None` when nothing does.
    pub hooks: BTreeMap<String, Option<String>>,
    /// What this session cannot know, and why.
    pub not_measured: Vec<NotMeasured>,
    /// `enum sk_rst_reason` by number, empty where the kernel has none.
    pub reset_reasons: BTreeMap<u32, String>,
    /// Size of the ring buffer; `None` of an old recording.
    #[serde(default)]
    pub ring_bytes: Option<u64>,
    /// How many sockets are remembered at the same time: by who reads the
    /// records, be they recorded or not.
    #[serde(default)]
    pub max_sockets: Option<u64>,
}

/// A signal without a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotMeasured {
    /// Name of the signal.
    pub signal: String,
    /// Why no hook gives it.
    pub reason: String,
}

/// Written last. Conservation: `seen == delivered + sum of lost`, where known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndInfo {
    /// Records the kernel side wanted to send. Not known, like the next two, of
    /// a recording that breaks off.
    pub seen: Option<u64>,
    /// Records that arrived here.
    pub delivered: Option<u64>,
    /// Records that did not, by reason.
    pub lost: Option<BTreeMap<String, u64>>,
    /// Of the delivered ones, how many were not records.
    pub undecodable: u64,
    /// Of the delivered ones, how many were transitions.
    pub transitions: u64,
    /// Connections known during the session.
    pub connections: u64,
    /// Of the events and sockets that became known, those left out because as
    /// many sockets were known already as may be.
    #[serde(default)]
    pub no_room: u64,
    /// Whether the session was followed to its end; false for a recording that
    /// breaks off.
    pub complete: bool,
}
