//! A connection as a JSON line.

use std::collections::BTreeMap;

use serde::Serialize;

use super::text;
use crate::{
    connection::{Connection, message},
    sink::{Style, Untrusted, address, json, name},
    track::{Closer, Process},
};

#[derive(Serialize)]
struct Line {
    r#type: &'static str,
    ts: String,
    mono_ns: u64,
    conn: String,
    netns: Option<u32>,
    family: &'static str,
    laddr: Option<String>,
    lport: Option<u16>,
    raddr: Option<String>,
    rport: Option<u16>,
    opened_by: &'static str,
    #[serde(flatten)]
    process: Named,
    lifetime_ns: Option<u64>,
    lifetime: &'static str,
    /// Of each state it was in: how long, `null` when that is not known.
    states: BTreeMap<&'static str, Option<u64>>,
    /// Of which of these the time is a lower bound.
    at_least: Vec<&'static str>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    retransmits: Option<u32>,
    unread: Option<u32>,
    idle_ns: Option<u64>,
    role: &'static str,
    end: &'static str,
    reset_reason: Option<&'static str>,
    kernel_reason: Option<String>,
    closed_by: Option<By>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<&'static str>,
    message: String,
}

#[derive(Serialize)]
struct Named {
    pid: Option<u32>,
    comm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm_hex: Option<String>,
}

#[derive(Serialize)]
struct By {
    #[serde(flatten)]
    process: Named,
    call: &'static str,
    /// Whose process it is: `this` end's or the `other`'s.
    side: &'static str,
}

pub(super) fn line(it: &Connection, style: &mut Style, out: &mut Vec<u8>) {
    let (lifetime, lifetime_ns) = name::dwell(it.lifetime);
    let ts = text(|out| style.clock.at(it.at).write(out));
    let tuple = &it.tuple;
    let addr = |addr: &[u8; 16], port| {
        address::is_known(addr, port).then(|| text(|out| address::write(addr, it.family, out)))
    };
    let states = || {
        it.states
            .iter()
            .map(|(state, dwell)| (state, name::dwell(dwell)))
    };
    let bounds = states().filter(|(_, (how, _))| *how == "at_least");
    let line = Line {
        r#type: "connection",
        ts,
        mono_ns: it.at.0,
        conn: it.conn.to_string(),
        netns: (it.netns != 0).then_some(it.netns),
        family: name::family(it.family),
        laddr: addr(&tuple.laddr, tuple.lport),
        lport: (tuple.lport != 0).then_some(tuple.lport),
        raddr: addr(&tuple.raddr, tuple.rport),
        rport: (tuple.rport != 0).then_some(tuple.rport),
        opened_by: it.opened.name(),
        process: named(it.process.as_ref()),
        lifetime_ns,
        lifetime,
        states: states()
            .map(|(state, (_, ns))| (state.name(), ns))
            .collect(),
        at_least: bounds.map(|(state, _)| state.name()).collect(),
        bytes_in: it.totals.and_then(|totals| totals.bytes_in),
        bytes_out: it.totals.and_then(|totals| totals.bytes_out),
        retransmits: it.totals.and_then(|totals| totals.retransmits),
        unread: it.totals.map(|totals| totals.unread),
        idle_ns: it.idle_ns,
        role: it.role.name(),
        end: it.end.name(),
        reset_reason: it.reset_reason.map(|reason| reason.name()),
        kernel_reason: it
            .kernel_reason
            .map(|number| style.reasons.with(number, |reason| reason.to_lossy())),
        closed_by: it.closed_by.map(|closer| by(&closer, it.closer_is_peer)),
        gone: it.gone.map(|cause| cause.name()),
        message: message(it),
    };
    json::object(&line, out);
}

fn by(closer: &Closer, is_peer: bool) -> By {
    By {
        process: named(Some(&closer.process)),
        call: closer.call.name(),
        side: if is_peer { "other" } else { "this" },
    }
}

fn named(process: Option<&Process>) -> Named {
    let comm = process.map(|process| Untrusted::comm(&process.comm));
    let hex = comm.filter(|comm| !comm.is_utf8());
    Named {
        pid: process.map(|process| process.pid),
        comm: comm.map(|comm| comm.to_lossy()),
        comm_hex: hex.map(|comm| text(|out| comm.hex(out))),
    }
}
