//! A line of `health`, written.
//!
//! It is given what was counted; it decides nothing.
//!
//! The JSON object, field by field. What is not known is `null`, and `absent` says
//! why: nothing is 0 that was not counted.
//!
//! | field | |
//! |---|---|
//! | `type`, `ts`, `mono_ns` | `"health"`, and the end of the interval |
//! | `final` | the interval is the whole session, and only `end` follows |
//! | `netns` | the namespace of the counters and the events; `null`: of all that a recording has |
//! | `interval_ns` | its length |
//! | `active_per_s` … `in_errs_per_s` | the kernel's counters for each second |
//! | `retrans_share` | segments sent again, of all that were sent: from 0 to 1 |
//! | `totals` | the kernel's counters over the interval ([`Counter`]) |
//! | `sockets` | how many are in each state at its end |
//! | `established_now` | the kernel's own count of those in `ESTABLISHED` and `CLOSE_WAIT` |
//! | `timewait`, `timewait_max` | the namespace's minisockets (`FIN_WAIT2` ones too), and the limit |
//! | `orphans`, `orphans_max`, `allocated`, `memory_bytes`, `memory_pressure_bytes` | of the whole host |
//! | `events` | the same things counted by events: `active` is what `active_opens` counts, `passive` `passive_opens`, `failed` `attempt_fails`, `resets` `estab_resets`; besides, `connects` (with those without a port), `no_port`, `given_up`, `accepted`, and `failed_by` |
//! | `events_filtered` | a filter applies to `events`, `processes` and `sockets`; the counters know none |
//! | `processes`, `others` | whose these events were: the ten busiest, and all others together |
//! | `marks` | what is out of the ordinary: `mark`, `message`, and the command that tells more, `next` |
//! | `absent` | field to reason; a share is also `null` when no segment was sent |

#[cfg(test)]
mod golden;
#[cfg(test)]
mod sample;

use std::collections::BTreeMap;

use serde::Serialize;
use tcpstate_common::state::TcpState;

use super::{Style, Untrusted, json};
use crate::{
    counters::{Counter, Gauge},
    health::{Failure, Line, Share, Tally},
    track::Process,
};

/// What there is to write.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What was counted.
    pub line: &'a Line,
    /// Of what.
    pub scope: &'a Scope,
    /// Whether the names of the columns come before it.
    pub with_head: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Inode number of the network namespace; `None`: all of a recording.
    pub netns: Option<u32>,
    /// A filter applies to the events.
    pub is_filtered: bool,
    /// There are no counters.
    pub is_replay: bool,
    /// A hook tells of `accept`, for whatever passes the filter.
    pub has_accepts: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    r#type: &'static str,
    ts: &'a str,
    mono_ns: u64,
    r#final: bool,
    netns: Option<u32>,
    interval_ns: u64,
    active_per_s: Option<f64>,
    passive_per_s: Option<f64>,
    in_segs_per_s: Option<f64>,
    out_segs_per_s: Option<f64>,
    retrans_per_s: Option<f64>,
    retrans_share: Option<f64>,
    attempt_fails_per_s: Option<f64>,
    estab_resets_per_s: Option<f64>,
    out_rsts_per_s: Option<f64>,
    in_errs_per_s: Option<f64>,
    totals: BTreeMap<&'static str, Option<u64>>,
    sockets: BTreeMap<&'static str, Option<u64>>,
    established_now: Option<u64>,
    timewait: Option<u64>,
    timewait_max: Option<u64>,
    orphans: Option<u64>,
    orphans_max: Option<u64>,
    allocated: Option<u64>,
    memory_bytes: Option<u64>,
    memory_pressure_bytes: Option<u64>,
    events: Events,
    events_filtered: bool,
    processes: Vec<Whose>,
    others: Option<Others>,
    marks: Vec<Mark<'a>>,
    absent: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Events {
    connects: u64,
    no_port: u64,
    active: u64,
    passive: u64,
    accepted: Option<u64>,
    failed: u64,
    failed_by: BTreeMap<&'static str, u64>,
    given_up: u64,
    resets: u64,
}

#[derive(Serialize)]
struct Whose {
    pid: u32,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
    #[serde(flatten)]
    did: Did,
}

#[derive(Serialize)]
struct Others {
    processes: usize,
    #[serde(flatten)]
    did: Did,
}

#[derive(Serialize)]
struct Did {
    connects: u64,
    no_port: u64,
    accepted: Option<u64>,
    failed: u64,
    given_up: u64,
    resets: u64,
}

#[derive(Serialize)]
struct Mark<'a> {
    mark: &'static str,
    message: &'a str,
    next: Option<&'static str>,
}

pub(super) fn write(told: &Told<'_>, style: &mut Style, out: &mut Vec<u8>) {
    let mut ts = Vec::new();
    style.clock.at(told.line.to).write(&mut ts);
    json::object(&object(told, &String::from_utf8_lossy(&ts)), out);
}

fn object<'a>(told: &Told<'a>, ts: &'a str) -> Object<'a> {
    let (line, scope) = (told.line, told.scope);
    let rate = |counter| line.per_second(counter);
    let gauge = |gauge| line.reading.gauge(gauge).ok();
    Object {
        r#type: "health",
        ts,
        mono_ns: line.to.0,
        r#final: line.is_final,
        netns: scope.netns,
        interval_ns: line.to.since(line.from),
        active_per_s: rate(Counter::ActiveOpens),
        passive_per_s: rate(Counter::PassiveOpens),
        in_segs_per_s: rate(Counter::InSegs),
        out_segs_per_s: rate(Counter::OutSegs),
        retrans_per_s: rate(Counter::RetransSegs),
        retrans_share: line.retransmitted(),
        attempt_fails_per_s: rate(Counter::AttemptFails),
        estab_resets_per_s: rate(Counter::EstabResets),
        out_rsts_per_s: rate(Counter::OutRsts),
        in_errs_per_s: rate(Counter::InErrs),
        totals: Counter::ALL
            .map(|counter| (counter.name(), line.count(counter).ok()))
            .into(),
        sockets: TcpState::ALL
            .map(|state| (state.name(), line.sockets.of(state)))
            .into(),
        established_now: gauge(Gauge::Established),
        timewait: gauge(Gauge::TimeWait),
        timewait_max: gauge(Gauge::MaxTimeWait),
        orphans: gauge(Gauge::Orphans),
        orphans_max: gauge(Gauge::MaxOrphans),
        allocated: gauge(Gauge::Allocated),
        memory_bytes: gauge(Gauge::MemoryPages).map(bytes),
        memory_pressure_bytes: gauge(Gauge::PressurePages).map(bytes),
        events: events(&line.events, scope),
        events_filtered: scope.is_filtered,
        processes: line
            .processes
            .iter()
            .map(|(process, did)| whose(process, did, scope))
            .collect(),
        others: line.others.map(|share| others(&share, scope)),
        marks: line
            .marks
            .iter()
            .map(|mark| Mark {
                mark: mark.name.name(),
                message: &mark.message,
                next: mark.next,
            })
            .collect(),
        absent: absent(line, scope),
    }
}

/// What the kernel counts in pages.
pub(super) fn bytes(pages: u64) -> u64 {
    pages.saturating_mul(rustix::param::page_size() as u64)
}

fn events(all: &Tally, scope: &Scope) -> Events {
    Events {
        connects: all.connects,
        no_port: all.no_port,
        active: all.active(),
        passive: all.passive,
        accepted: scope.has_accepts.then_some(all.accepted),
        failed: all.failed(),
        failed_by: Failure::ALL
            .map(|failure| (failure.name(), all.failures(failure)))
            .into(),
        given_up: all.given_up,
        resets: all.resets,
    }
}

fn whose(process: &Process, did: &Tally, scope: &Scope) -> Whose {
    let comm = Untrusted::comm(&process.comm);
    let mut hex = Vec::new();
    comm.hex(&mut hex);
    let hex = String::from_utf8_lossy(&hex).into_owned();
    Whose {
        pid: process.pid,
        comm: comm.to_lossy(),
        comm_hex: (!comm.is_utf8()).then_some(hex),
        did: did_by(did, scope),
    }
}

fn others(share: &Share, scope: &Scope) -> Others {
    Others {
        processes: share.processes,
        did: did_by(&share.tally, scope),
    }
}

fn did_by(tally: &Tally, scope: &Scope) -> Did {
    Did {
        connects: tally.connects,
        no_port: tally.no_port,
        accepted: scope.has_accepts.then_some(tally.accepted),
        failed: tally.failed(),
        given_up: tally.given_up,
        resets: tally.resets,
    }
}

/// Why something is `null`, by its name.
fn absent(line: &Line, scope: &Scope) -> BTreeMap<&'static str, String> {
    let counters = Counter::ALL.map(|counter| (counter.name(), line.count(counter)));
    let gauges = Gauge::ALL.map(|gauge| (gauge.name(), line.reading.gauge(gauge)));
    let all = counters.into_iter().chain(gauges);
    let numbers = all.filter_map(|(name, value)| Some((name, value.err()?.to_string())));
    let states = TcpState::ALL.into_iter().filter_map(|state| {
        let why = match state {
            TcpState::SynRecv => "nothing tells of a request before it ends",
            _ => "no hook tells when minisockets begin and end",
        };
        let is_absent = line.sockets.of(state).is_none();
        is_absent.then(|| (state.name(), why.to_owned()))
    });
    let why = "no hook tells of accept, or not whether it passes the filter";
    let accepts = (!scope.has_accepts).then(|| ("accepted", why.to_owned()));
    numbers.chain(states).chain(accepts).collect()
}
