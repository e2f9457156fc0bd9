//! The stories of connections as JSON lines, one for each; and how things are
//! called in them.
//!
//! Where nothing matches there is a line nevertheless, with `conn` null.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::{Format, Heading, Style, address, connections, duration, json, name};
use crate::{
    explain::{Explained, Explanation, Moment, Say},
    track::{Closer, Process},
};

/// How sentences name processes and times.
pub const SAY: Say = Say {
    process: name::process,
    time: duration::text,
};

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    ts: &'a str,
    mono_ns: u64,
    r#final: bool,
    asked: Option<&'a str>,
    matches: u64,
    changes_seen: u64,
    listeners: u64,
    conn: Option<String>,
    netns: Option<u32>,
    family: Option<&'static str>,
    laddr: Option<String>,
    lport: Option<u16>,
    raddr: Option<String>,
    rport: Option<u16>,
    opened_by: Option<&'static str>,
    pid: Option<u32>,
    comm: Option<String>,
    timeline: Vec<Event<'a>>,
    omitted: u64,
    state: Option<&'static str>,
    state_ns: Option<u64>,
    state_time: Option<&'static str>,
    verdict: Option<&'a str>,
    advice: Option<&'a str>,
}

#[derive(Serialize)]
struct Event<'a> {
    ts: String,
    mono_ns: u64,
    since_birth_ns: Option<u64>,
    since_birth: &'static str,
    old: &'static str,
    new: &'static str,
    dwell_ns: Option<u64>,
    dwell: &'static str,
    kind: &'static str,
    cause: Option<&'static str>,
    by: Option<By>,
    meaning: &'a str,
}

#[derive(Serialize)]
struct By {
    pid: u32,
    comm: String,
    call: &'static str,
}

pub(super) fn write(
    heading: &Heading,
    told: &Explanation,
    asked: Option<&str>,
    most: usize,
    style: &mut Style,
    out: &mut Vec<u8>,
) {
    let ts = instant(style, heading.at);
    let line = Line::of_nothing(heading, &ts, told, asked);
    if told.connections.is_empty() {
        // With a null for the connection, as all lines of this type have one.
        with_connection(&line, b"null", out);
    }
    for it in told.connections.iter().take(most) {
        let mut connection = Vec::new();
        match &it.over {
            Some(over) => connections::write(Format::Json, over, style, &mut connection),
            None => connection.extend_from_slice(b"null"),
        }
        let line = Line::of_nothing(heading, &ts, told, asked).with(it, style);
        with_connection(&line, connection.trim_ascii_end(), out);
    }
}

/// The connection is the very object that `trace --connections` writes.
fn with_connection(line: &Line<'_>, connection: &[u8], out: &mut Vec<u8>) {
    json::object(line, out);
    out.truncate(out.trim_ascii_end().len() - 1);
    out.extend_from_slice(br#","connection":"#);
    out.extend_from_slice(connection);
    out.extend_from_slice(b"}\n");
}

fn instant(style: &mut Style, at: crate::decode::KtimeNs) -> String {
    duration::filled(|out| style.clock.at(at).write(out))
}

impl<'a> Line<'a> {
    fn of_nothing(
        heading: &Heading,
        ts: &'a str,
        told: &Explanation,
        asked: Option<&'a str>,
    ) -> Self {
        Self {
            r#type: "explain",
            ts,
            mono_ns: heading.at.0,
            r#final: heading.last,
            asked,
            matches: told.seen.matches,
            changes_seen: told.seen.changes,
            listeners: told.seen.listeners,
            conn: None,
            netns: None,
            family: None,
            laddr: None,
            lport: None,
            raddr: None,
            rport: None,
            opened_by: None,
            pid: None,
            comm: None,
            timeline: Vec::new(),
            omitted: 0,
            state: None,
            state_ns: None,
            state_time: None,
            verdict: None,
            advice: None,
        }
    }

    fn with(self, it: &'a Explained, style: &mut Style) -> Self {
        let tuple = &it.tuple;
        let addr = |addr, port| {
            address::is_known(addr, port)
                .then(|| duration::filled(|out| address::write(addr, it.family, out)))
        };
        let state = it.now.map(|now| name::dwell(now.so_far));
        Self {
            conn: Some(it.conn.to_string()),
            netns: (it.netns != 0).then_some(it.netns),
            family: Some(name::family(it.family)),
            laddr: addr(&tuple.laddr, tuple.lport),
            lport: (tuple.lport != 0).then_some(tuple.lport),
            raddr: addr(&tuple.raddr, tuple.rport),
            rport: (tuple.rport != 0).then_some(tuple.rport),
            opened_by: Some(it.opened.name()),
            pid: it.process.map(|process| process.pid),
            comm: it.process.as_ref().map(comm),
            timeline: it.timeline.iter().map(|it| event(it, style)).collect(),
            omitted: it.omitted,
            state: it.now.map(|now| now.state.name()),
            state_ns: state.and_then(|(_, ns)| ns),
            state_time: state.map(|(how, _)| how),
            verdict: Some(&it.verdict),
            advice: it.advice,
            ..self
        }
    }
}

fn event<'a>(it: &'a Moment, style: &mut Style) -> Event<'a> {
    let (since_birth, since_birth_ns) = name::dwell(it.since);
    let (dwell, dwell_ns) = name::dwell(it.dwell);
    Event {
        ts: instant(style, it.at),
        mono_ns: it.at.0,
        since_birth_ns,
        since_birth,
        old: it.old.name(),
        new: it.new.name(),
        dwell_ns,
        dwell,
        kind: name::kind(it.kind),
        cause: it.cause.map(crate::track::Cause::name),
        by: it.by.as_ref().map(by),
        meaning: &it.meaning,
    }
}

fn by(closer: &Closer) -> By {
    By {
        pid: closer.process.pid,
        comm: comm(&closer.process),
        call: closer.call.name(),
    }
}

/// The writer makes it harmless.
fn comm(process: &Process) -> String {
    super::Untrusted::comm(&process.comm).to_lossy()
}
