//! A report of `dwell` as JSON lines, one for each group.
//!
//! All lines of a report have the same `ts`. A key of the groups that was not
//! asked for is absent, one that is not known is `null`.

use serde::Serialize;

use super::{Heading, Style, Untrusted, address, json, name};
use crate::dwell::{Exact, Key, Keys, Report, Row, Unmeasured};

/// A key: absent, or `null`, or a value.
type Asked<T> = Option<Option<T>>;

#[derive(Default, Serialize)]
struct Line<'a> {
    r#type: &'static str,
    ts: &'a str,
    mono_ns: u64,
    r#final: bool,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Asked<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Asked<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lport: Asked<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Asked<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rport: Asked<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Asked<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rest: bool,
    count: Option<u64>,
    sum_ns: Option<u128>,
    min_ns: Option<u64>,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: Option<u64>,
    at_least: Option<u64>,
    unknown: Option<u64>,
    open: Option<u64>,
    oldest_ns: Option<u64>,
    oldest: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_measured: Option<&'static str>,
}

pub(super) fn write(heading: &Heading, report: &Report, style: &mut Style, out: &mut Vec<u8>) {
    let mut ts = Vec::new();
    style.clock.at(heading.at).write(&mut ts);
    let ts = String::from_utf8_lossy(&ts);
    let missing = |state| report.missing(state).map(Unmeasured::name);
    for state in report.silent() {
        let line = Line {
            not_measured: missing(state),
            ..Line::of(heading, &ts, state.name())
        };
        json::object(&line, out);
    }
    for row in &report.rows {
        let line = Line {
            not_measured: missing(row.key.state),
            ..Line::of(heading, &ts, row.key.state.name())
                .with_keys(&row.key, report.keys)
                .with(row)
        };
        json::object(&line, out);
    }
}

impl<'a> Line<'a> {
    /// Nothing is known of it.
    fn of(heading: &Heading, ts: &'a str, state: &'static str) -> Self {
        Self {
            r#type: "dwell",
            ts,
            mono_ns: heading.at.0,
            r#final: heading.last,
            state,
            ..Self::default()
        }
    }

    fn with_keys(self, key: &Key, keys: Keys) -> Self {
        let comm = key
            .process
            .as_ref()
            .map(|process| Untrusted::comm(&process.comm));
        let hex = comm.filter(|comm| !comm.is_utf8());
        Self {
            pid: keys.process.then(|| key.process.map(|process| process.pid)),
            comm: keys.process.then(|| comm.map(Untrusted::to_lossy)),
            comm_hex: hex.map(|comm| text(|out| comm.hex(out))),
            lport: keys.lport.then_some(key.lport),
            peer: keys.peer.then(|| {
                key.peer
                    .map(|it| text(|out| address::write(&it.addr, it.family, out)))
            }),
            rport: keys.rport.then_some(key.rport),
            netns: keys.netns.then_some(key.netns),
            rest: key.is_rest,
            ..self
        }
    }

    fn with(self, row: &Row) -> Self {
        let of_exact = |number: fn(&Exact) -> u64| row.exact.as_ref().map(number);
        let oldest = row.oldest.map(name::dwell);
        Self {
            count: Some(row.count),
            sum_ns: Some(row.sum_ns),
            min_ns: of_exact(|exact| exact.min_ns),
            p50_ns: of_exact(|exact| exact.p50_ns),
            p90_ns: of_exact(|exact| exact.p90_ns),
            p99_ns: of_exact(|exact| exact.p99_ns),
            max_ns: of_exact(|exact| exact.max_ns),
            at_least: Some(row.at_least),
            unknown: Some(row.unknown),
            open: Some(row.open),
            oldest_ns: oldest.and_then(|(_, ns)| ns),
            oldest: oldest.map(|(how, _)| how),
            ..self
        }
    }
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
