//! JSON Lines: one object per line. Field names are a promise; absent knowledge
//! is `null`, never 0.
//!
//! The transition, which comes by the million, is written by hand; the rest
//! goes through `serde_json` with [`Guarded`] strings.

use std::{collections::BTreeMap, io};

use serde::Serialize;
use serde_json::{Serializer, ser::Formatter};

use super::{Style, Untrusted, address, digits, name, untrusted};
use crate::{
    decode::{Family, SocketKind},
    session::{EndInfo, NotMeasured, SessionInfo},
    track::Change,
};

/// Version of the field names.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    schema: u32,
    version: &'a str,
    host: &'a str,
    kernel: &'a str,
    boot_id: &'a str,
    hooks: &'a BTreeMap<String, Option<String>>,
    not_measured: &'a [NotMeasured],
    ring_bytes: Option<u64>,
    max_sockets: Option<u64>,
}

#[derive(Serialize)]
struct End<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    info: &'a EndInfo,
}

pub(super) fn start(info: &SessionInfo, out: &mut Vec<u8>) {
    let line = Start {
        r#type: "start",
        schema: SCHEMA,
        version: &info.version,
        host: &info.host,
        kernel: &info.kernel,
        boot_id: &info.boot_id,
        hooks: &info.hooks,
        not_measured: &info.not_measured,
        ring_bytes: info.ring_bytes,
        max_sockets: info.max_sockets,
    };
    object(&line, out);
}

pub(super) fn end(info: &EndInfo, out: &mut Vec<u8>) {
    let line = End {
        r#type: "end",
        info,
    };
    object(&line, out);
}

/// A line for any value with string keys.
pub(super) fn object(value: &impl Serialize, out: &mut Vec<u8>) {
    let written = value.serialize(&mut Serializer::with_formatter(&mut *out, Guarded));
    debug_assert!(written.is_ok(), "writing into a Vec does not fail");
    out.push(b'\n');
}

pub(super) fn transition(change: &Change, style: &mut Style, out: &mut Vec<u8>) {
    let tuple = &change.tuple;
    let (dwell, dwell_ns) = name::dwell(change.dwell);
    out.extend_from_slice(br#"{"type":"transition","ts":""#);
    style.clock.at(change.at).write(out);
    out.extend_from_slice(br#"","mono_ns":"#);
    digits::decimal(change.at.0, out);
    out.extend_from_slice(br#","conn":""#);
    name::conn(change.conn, out);
    out.extend_from_slice(br#"","netns":"#);
    number((change.netns != 0).then_some(change.netns.into()), out);
    word(r#","family":"#, Some(name::family(change.family)), out);
    out.extend_from_slice(br#","laddr":"#);
    addr(&tuple.laddr, tuple.lport, change.family, out);
    out.extend_from_slice(br#","lport":"#);
    number((tuple.lport != 0).then_some(tuple.lport.into()), out);
    out.extend_from_slice(br#","raddr":"#);
    addr(&tuple.raddr, tuple.rport, change.family, out);
    out.extend_from_slice(br#","rport":"#);
    number((tuple.rport != 0).then_some(tuple.rport.into()), out);
    word(r#","old":"#, Some(change.old.name()), out);
    word(r#","new":"#, Some(change.new.name()), out);
    out.extend_from_slice(br#","dwell_ns":"#);
    number(dwell_ns, out);
    word(r#","dwell":"#, Some(dwell), out);
    word(r#","kind":"#, Some(name::kind(change.kind)), out);
    if change.kind == SocketKind::Minisocket {
        out.extend_from_slice(br#","rearmed":"#);
        digits::decimal(change.rearmed.into(), out);
    }
    origin(change, out);
    word(r#","cause":"#, change.cause.map(|cause| cause.name()), out);
    if let Some(number) = change.reset_reason {
        out.extend_from_slice(br#","reset_reason":"#);
        style.reasons.with(number, |reason| reason.json(out));
    }
    out.extend_from_slice(b"}\n");
}

fn origin(change: &Change, out: &mut Vec<u8>) {
    let Some(process) = &change.origin else {
        out.extend_from_slice(br#","pid":null,"comm":null"#);
        return;
    };
    let comm = Untrusted::comm(&process.comm);
    out.extend_from_slice(br#","pid":"#);
    digits::decimal(u64::from(process.pid), out);
    out.extend_from_slice(br#","comm":"#);
    comm.json(out);
    if !comm.is_utf8() {
        out.extend_from_slice(br#","comm_hex":""#);
        comm.hex(out);
        out.push(b'"');
    }
}

fn number(value: Option<u64>, out: &mut Vec<u8>) {
    match value {
        Some(value) => digits::decimal(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

/// One of our own words: nothing in it needs an escape.
fn word(key: &str, value: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    match value {
        Some(value) => {
            out.push(b'"');
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn addr(addr: &[u8; 16], port: u16, family: Family, out: &mut Vec<u8>) {
    if address::is_known(addr, port) {
        out.push(b'"');
        address::write(addr, family, out);
        out.push(b'"');
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Compact JSON whose strings are safe to look at with a terminal: `serde_json`
/// by itself escapes C0 only, and DEL, C1 and bidi controls go out raw.
struct Guarded;

impl Formatter for Guarded {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut safe = Vec::with_capacity(fragment.len());
        untrusted::json_text(fragment, &mut safe);
        writer.write_all(&safe)
    }
}
