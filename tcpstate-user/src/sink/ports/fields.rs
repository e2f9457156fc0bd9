//! The fields of the JSON lines of `ports`, in the order in which they are
//! written. Their names are a promise: README tells what they mean.

use std::collections::BTreeMap;

use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Line<'a, T> {
    pub(super) r#type: &'static str,
    pub(super) ts: &'a str,
    pub(super) mono_ns: u64,
    pub(super) r#final: bool,
    pub(super) what: &'static str,
    #[serde(flatten)]
    pub(super) row: T,
}

#[derive(Serialize)]
pub(super) struct SpaceLine<'a> {
    pub(super) netns: Option<u32>,
    pub(super) family: &'static str,
    pub(super) laddr: String,
    pub(super) raddr: String,
    pub(super) rport: u16,
    pub(super) states: BTreeMap<&'static str, u64>,
    pub(super) sockets: u64,
    pub(super) time_wait: u64,
    pub(super) fin_wait2: u64,
    pub(super) by: Vec<MakerLine>,
    pub(super) ended: BTreeMap<&'static str, u64>,
    pub(super) opened: u64,
    pub(super) opened_per_s: Option<f64>,
    pub(super) freed_per_s: Option<f64>,
    pub(super) rate_over_ns: Option<u64>,
    pub(super) used: u64,
    pub(super) reusable: u64,
    pub(super) reuse_after_ns: Option<u64>,
    pub(super) usable: Option<u32>,
    pub(super) left: Option<u64>,
    pub(super) left_reason: Option<&'a str>,
    pub(super) time_wait_ns: u64,
    pub(super) time_wait_measured: u64,
    pub(super) sustainable_per_s: Option<f64>,
    pub(super) exhaustion: &'static str,
    pub(super) exhaustion_ns: Option<u64>,
    pub(super) no_port: u64,
    pub(super) no_port_lately: bool,
    pub(super) verdict: &'static str,
    pub(super) advice: Vec<&'static str>,
    pub(super) message: Option<String>,
}

#[derive(Serialize)]
pub(super) struct MakerLine {
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comm_hex: Option<String>,
    pub(super) processes: Option<u64>,
    pub(super) time_wait: u64,
    pub(super) fin_wait2: u64,
    pub(super) other: u64,
    pub(super) no_port: u64,
}

#[derive(Serialize)]
pub(super) struct ServerLine {
    pub(super) netns: Option<u32>,
    pub(super) lport: u16,
    pub(super) states: BTreeMap<&'static str, u64>,
    pub(super) sockets: u64,
    pub(super) time_wait: u64,
    pub(super) fin_wait2: u64,
    pub(super) ports_used: u64,
    pub(super) message: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct ListenerLine<'a> {
    pub(super) netns: Option<u32>,
    pub(super) laddr: String,
    pub(super) lport: u16,
    pub(super) pid: Option<u32>,
    pub(super) comm: Option<String>,
    pub(super) sockets: u64,
    pub(super) queue: Option<u32>,
    pub(super) queue_limit: Option<u32>,
    pub(super) drops: Option<u32>,
    pub(super) queue_reason: Option<&'a str>,
    pub(super) full: bool,
    pub(super) message: Option<String>,
}

#[derive(Serialize)]
pub(super) struct NamespaceLine<'a> {
    pub(super) netns: u32,
    pub(super) range: Option<[u16; 2]>,
    pub(super) range_ports: Option<u32>,
    pub(super) reserved_ports: Option<u32>,
    pub(super) bound_ports: Option<u32>,
    pub(super) usable: Option<u32>,
    pub(super) usable_reason: Option<&'a str>,
    pub(super) tw_reuse: Option<u8>,
    pub(super) tw_reuse_delay_ms: Option<u32>,
    pub(super) tw_reuse_delay_reason: Option<&'a str>,
    pub(super) timestamps: Option<u8>,
    pub(super) tw_buckets: Option<u64>,
    pub(super) max_tw_buckets: Option<u64>,
    pub(super) counters: Option<CountersLine>,
    pub(super) since_start: Option<CountersLine>,
    pub(super) since_start_reason: Option<&'a str>,
    pub(super) messages: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct CountersLine {
    pub(super) listen_overflows: u64,
    pub(super) listen_drops: u64,
    pub(super) time_wait_overflows: u64,
}

#[derive(Serialize)]
pub(super) struct HostLine<'a> {
    pub(super) orphans: Option<u64>,
    pub(super) max_orphans: Option<u64>,
    pub(super) max_orphans_reason: Option<&'a str>,
    pub(super) limits: &'static str,
    pub(super) bound_reason: Option<&'a str>,
    pub(super) unaccounted: u64,
    pub(super) gaps: u64,
    pub(super) messages: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct RestLine {
    pub(super) of: &'static str,
    pub(super) count: u64,
    pub(super) at_least: bool,
    pub(super) states: BTreeMap<&'static str, u64>,
    pub(super) sockets: u64,
    pub(super) no_port: u64,
}
