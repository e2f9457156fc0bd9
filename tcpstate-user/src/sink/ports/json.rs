//! A report of `ports` as JSON lines.
//!
//! `what` says what a line is of: `space`, `server`, `listener`, `namespace`,
//! `host`, or `rest` (`of` says of which). All lines of a report have the same
//! `ts`; each report has a line `host`, its last. What is not known is `null`,
//! and a field of the same name with `_reason` says why.

use std::collections::BTreeMap;

use serde::Serialize;
use tcpstate_common::state::TcpState;

use super::{
    Told,
    fields::{
        CountersLine, HostLine, Line, ListenerLine, MakerLine, NamespaceLine, RestLine, ServerLine,
        SpaceLine,
    },
    of, plain, words,
};
use crate::{
    ports::{Counters, Held, Known, Listener, Maker, Namespace, Outlook, Rest, Row, Server},
    sink::{Heading, Style, Untrusted, json::object, name},
};

pub(in crate::sink) fn write(
    heading: &Heading,
    told: &Told<'_>,
    style: &mut Style,
    out: &mut Vec<u8>,
) {
    let mut ts = Vec::new();
    style.clock.at(heading.at).write(&mut ts);
    let ts = String::from_utf8_lossy(&ts);
    let report = told.report;
    let mut lines = Lines {
        heading,
        ts: &ts,
        out,
    };
    for row in &report.rows {
        lines.add("space", space(row));
    }
    for it in &report.servers {
        lines.add("server", server(it));
    }
    for it in &report.listeners {
        lines.add("listener", listener(it));
    }
    for it in &report.namespaces {
        lines.add("namespace", namespace(it));
    }
    let beyond = |count| Rest {
        count,
        ..Rest::default()
    };
    for (of, it) in [
        ("space", report.rest),
        ("server", report.other_servers),
        ("listener", beyond(report.other_listeners)),
        ("namespace", beyond(report.other_namespaces)),
    ] {
        if it.count > 0 || it.sockets > 0 {
            lines.add("rest", rest(of, &it));
        }
    }
    lines.add("host", host(told));
}

struct Lines<'a> {
    heading: &'a Heading,
    ts: &'a str,
    out: &'a mut Vec<u8>,
}

impl Lines<'_> {
    fn add(&mut self, what: &'static str, row: impl Serialize) {
        let line = Line {
            r#type: "ports",
            ts: self.ts,
            mono_ns: self.heading.at.0,
            r#final: self.heading.last,
            what,
            row,
        };
        object(&line, self.out);
    }
}

fn space(row: &Row) -> SpaceLine<'_> {
    let (exhaustion, exhaustion_ns) = match row.outlook {
        Outlook::Now => ("now", Some(0)),
        Outlook::In(ns) => ("at_this_rate", Some(ns)),
        Outlook::NotAtThisRate => ("not_at_this_rate", None),
        Outlook::Unknown => ("unknown", None),
    };
    let rate = |of: fn(&crate::ports::Rates) -> f64| row.rates.as_ref().map(of).map(rounded);
    SpaceLine {
        netns: known(row.space.netns),
        family: name::family(row.space.family()),
        laddr: plain(&row.space.laddr),
        raddr: plain(&row.space.raddr),
        rport: row.space.rport,
        states: states(&row.states),
        sockets: row.sockets,
        time_wait: of(&row.states, TcpState::TimeWait),
        fin_wait2: row.fin_wait2,
        by: row.makers.iter().map(maker).collect(),
        ended: row.ended.iter().copied().collect(),
        opened: row.opened,
        opened_per_s: rate(|rates| rates.opened),
        freed_per_s: rate(|rates| rates.freed),
        rate_over_ns: row.rates.map(|rates| rates.over_ns),
        used: row.used,
        reusable: row.reusable,
        reuse_after_ns: row.reuse_after_ns,
        usable: row.room.as_ref().ok().map(|room| room.usable),
        left: value(&row.left),
        left_reason: why(&row.left),
        time_wait_ns: row.time_wait.ns,
        time_wait_measured: row.time_wait.measured,
        sustainable_per_s: row.sustainable.map(rounded),
        exhaustion,
        exhaustion_ns,
        no_port: row.failed,
        no_port_lately: row.failed_lately,
        verdict: row.verdict.name(),
        advice: row.advice.iter().map(|advice| advice.name()).collect(),
        message: words::space(row),
    }
}

fn maker(maker: &Maker) -> MakerLine {
    let Held {
        time_wait,
        fin_wait2,
        open,
        failed,
    } = maker.held;
    let comm = maker.comm.as_ref().map(Untrusted::comm);
    let hex = comm.filter(|comm| !comm.is_utf8());
    MakerLine {
        pid: maker.pid,
        comm: comm.map(Untrusted::to_lossy),
        comm_hex: hex.map(|comm| super::text(|out| comm.hex(out))),
        processes: (maker.processes > 0).then_some(maker.processes),
        time_wait,
        fin_wait2,
        other: open,
        no_port: failed,
    }
}

fn server(it: &Server) -> ServerLine {
    let time_wait = of(&it.states, TcpState::TimeWait);
    ServerLine {
        netns: known(it.service.netns),
        lport: it.service.port,
        states: states(&it.states),
        sockets: it.sockets,
        time_wait,
        fin_wait2: it.fin_wait2,
        ports_used: 0,
        message: (time_wait > 0).then_some(words::NO_PORTS),
    }
}

fn listener(it: &Listener) -> ListenerLine<'_> {
    let queue = it.queue.as_ref().ok();
    ListenerLine {
        netns: known(it.netns),
        laddr: plain(&it.addr),
        lport: it.port,
        pid: it.pid,
        comm: it
            .comm
            .as_ref()
            .map(|comm| Untrusted::comm(comm).to_lossy()),
        sockets: it.sockets,
        queue: queue.map(|queue| queue.waiting),
        queue_limit: queue.map(|queue| queue.limit),
        drops: queue.and_then(|queue| queue.drops),
        queue_reason: why(&it.queue),
        full: it.is_full,
        message: words::listener(it),
    }
}

fn namespace(it: &Namespace) -> NamespaceLine<'_> {
    let limits = &it.limits;
    let room = it.room.as_ref().ok();
    NamespaceLine {
        netns: limits.netns,
        range: limits.range.as_ref().ok().map(|(low, high)| [*low, *high]),
        range_ports: room.map(|room| room.range),
        reserved_ports: room.map(|room| room.reserved),
        bound_ports: room.map(|room| room.bound),
        usable: room.map(|room| room.usable),
        usable_reason: why(&it.room),
        tw_reuse: value(&limits.tw_reuse),
        tw_reuse_delay_ms: value(&limits.tw_reuse_delay_ms),
        tw_reuse_delay_reason: why(&limits.tw_reuse_delay_ms),
        timestamps: value(&limits.timestamps),
        tw_buckets: value(&limits.tw_buckets),
        max_tw_buckets: value(&limits.max_tw_buckets),
        counters: value(&limits.counters).map(counters),
        since_start: value(&it.grown).map(counters),
        since_start_reason: why(&it.grown),
        messages: words::namespace(it),
    }
}

const fn counters(counters: Counters) -> CountersLine {
    CountersLine {
        listen_overflows: counters.listen_overflows,
        listen_drops: counters.listen_drops,
        time_wait_overflows: counters.time_wait_overflows,
    }
}

fn host<'a>(told: &Told<'a>) -> HostLine<'a> {
    let report = told.report;
    HostLine {
        orphans: value(&report.orphans),
        max_orphans: value(&report.max_orphans),
        max_orphans_reason: why(&report.max_orphans),
        limits: if told.live {
            "read"
        } else {
            "not_in_recording"
        },
        bound_reason: report.bound_unknown.as_deref(),
        unaccounted: report.unaccounted,
        gaps: told.gaps,
        messages: words::host(told),
    }
}

fn rest(of: &'static str, it: &Rest) -> RestLine {
    RestLine {
        of,
        count: it.count,
        at_least: it.at_least,
        states: states(&it.states),
        sockets: it.sockets,
        no_port: it.failed,
    }
}

fn states(states: &[u64; 12]) -> BTreeMap<&'static str, u64> {
    let all = TcpState::ALL.into_iter();
    let counted = all.map(|state| (state.name(), of(states, state)));
    counted.filter(|(_, count)| *count > 0).collect()
}

fn known(netns: u32) -> Option<u32> {
    (netns != 0).then_some(netns)
}

fn value<T: Copy>(known: &Known<T>) -> Option<T> {
    known.as_ref().ok().copied()
}

fn why<T>(known: &Known<T>) -> Option<&str> {
    known.as_ref().err().map(|why| &**why)
}

/// To a thousandth: more digits would not be true.
fn rounded(rate: f64) -> f64 {
    (rate * 1e3).round() / 1e3
}
