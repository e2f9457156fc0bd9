//! Connections as comma-separated values, named as in JSON; a column for each
//! state that a connection can be in.

use crate::{
    connection::{Connection, message},
    dwell::LIFE,
    sink::{
        Style, Untrusted, address,
        csv::{number, word},
        name,
    },
    track::Process,
};

const HEAD: &str = "ts,mono_ns,conn,netns,family,opened_by,pid,comm,laddr,lport,raddr,rport,\
                    lifetime_ns,lifetime,bytes_in,bytes_out,retransmits,unread,role,end,\
                    reset_reason,kernel_reason,closed_by_pid,closed_by_comm,closed_by_call";

pub(super) fn head(out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD.as_bytes());
    // The first one, LISTEN, is no state of a connection.
    for state in LIFE.iter().skip(1) {
        out.push(b',');
        out.extend_from_slice(state.name().to_ascii_lowercase().as_bytes());
        out.extend_from_slice(b"_ns");
    }
    out.extend_from_slice(b",message\n");
}

pub(super) fn row(it: &Connection, style: &mut Style, out: &mut Vec<u8>) {
    let tuple = &it.tuple;
    let (lifetime, lifetime_ns) = name::dwell(it.lifetime);
    style.clock.at(it.at).write(out);
    number(Some(it.at.0), out);
    out.push(b',');
    name::conn(it.conn, out);
    number((it.netns != 0).then_some(it.netns.into()), out);
    word(name::family(it.family), out);
    word(it.opened.name(), out);
    process(it.process.as_ref(), out);
    for (addr, port) in [(&tuple.laddr, tuple.lport), (&tuple.raddr, tuple.rport)] {
        out.push(b',');
        if address::is_known(addr, port) {
            address::write(addr, it.family, out);
        }
        number((port != 0).then_some(port.into()), out);
    }
    number(lifetime_ns, out);
    word(lifetime, out);
    let totals = it.totals.as_ref();
    number(totals.and_then(|totals| totals.bytes_in), out);
    number(totals.and_then(|totals| totals.bytes_out), out);
    let retransmits = totals.and_then(|totals| totals.retransmits);
    number(retransmits.map(u64::from), out);
    number(totals.map(|totals| totals.unread.into()), out);
    word(it.role.name(), out);
    word(it.end.name(), out);
    word(it.reset_reason.map_or("", |reason| reason.name()), out);
    out.push(b',');
    if let Some(number) = it.kernel_reason {
        style.reasons.with(number, |reason| reason.csv(out));
    }
    process(it.closed_by.as_ref().map(|closer| &closer.process), out);
    word(it.closed_by.map_or("", |closer| closer.call.name()), out);
    for state in LIFE.into_iter().skip(1) {
        number(
            it.states.get(state).and_then(|dwell| name::dwell(dwell).1),
            out,
        );
    }
    out.push(b',');
    Untrusted::new(message(it).as_bytes()).csv(out);
    out.push(b'\n');
}

fn process(process: Option<&Process>, out: &mut Vec<u8>) {
    number(process.map(|process| process.pid.into()), out);
    out.push(b',');
    if let Some(process) = process {
        Untrusted::comm(&process.comm).csv(out);
    }
}
