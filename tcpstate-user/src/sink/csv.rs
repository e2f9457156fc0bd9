//! Comma-separated values (RFC 4180, lines ending in LF), named as in JSON.
//!
//! An empty cell is not known. There is no start and no end line: what they
//! say goes to standard error.

use super::{Style, Untrusted, address, digits, name};
use crate::{decode::Family, track::Change};

const HEAD: &str = "ts,mono_ns,conn,netns,family,kind,pid,comm,laddr,lport,raddr,rport,\
                    old,new,dwell_ns,dwell,cause,reset_reason\n";

pub(super) fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD.as_bytes());
}

pub(super) fn row(change: &Change, style: &mut Style, out: &mut Vec<u8>) {
    let tuple = &change.tuple;
    let (dwell, dwell_ns) = name::dwell(change.dwell);
    style.clock.at(change.at).write(out);
    number(Some(change.at.0), out);
    out.push(b',');
    name::conn(change.conn, out);
    number((change.netns != 0).then_some(change.netns.into()), out);
    word(name::family(change.family), out);
    word(name::kind(change.kind), out);
    number(change.origin.map(|process| process.pid.into()), out);
    out.push(b',');
    if let Some(process) = &change.origin {
        Untrusted::comm(&process.comm).csv(out);
    }
    endpoint(&tuple.laddr, tuple.lport, change.family, out);
    endpoint(&tuple.raddr, tuple.rport, change.family, out);
    word(change.old.name(), out);
    word(change.new.name(), out);
    number(dwell_ns, out);
    word(dwell, out);
    word(change.cause.map_or("", |cause| cause.name()), out);
    out.push(b',');
    if let Some(number) = change.reset_reason {
        style.reasons.with(number, |reason| reason.csv(out));
    }
    out.push(b'\n');
}

pub(super) fn number(value: Option<u64>, out: &mut Vec<u8>) {
    out.push(b',');
    if let Some(value) = value {
        digits::decimal(value, out);
    }
}

/// One of our own words: never a separator, a quote or a formula.
pub(super) fn word(text: &str, out: &mut Vec<u8>) {
    out.push(b',');
    out.extend_from_slice(text.as_bytes());
}

fn endpoint(addr: &[u8; 16], port: u16, family: Family, out: &mut Vec<u8>) {
    out.push(b',');
    if address::is_known(addr, port) {
        address::write(addr, family, out);
    }
    number((port != 0).then_some(port.into()), out);
}
