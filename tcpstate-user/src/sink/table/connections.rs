//! Whole connections in columns, and how each ended in words.
//!
//! The sentence stands last, and is as long as it is.

use super::{Row, time};
use crate::{
    connection::{Connection, End, message},
    sink::{Style, Untrusted, duration, name},
};

mod stop {
    pub(super) const PID_END: usize = 19;
    pub(super) const COMM: usize = 20;
    pub(super) const LOCAL: usize = 28;
    pub(super) const REMOTE: usize = 44;
    pub(super) const LIFETIME_END: usize = 68;
    pub(super) const END: usize = 69;
    pub(super) const MESSAGE: usize = 84;
}

mod wide {
    pub(super) const MONO_END: usize = 52;
    pub(super) const CONN: usize = 53;
    pub(super) const NETNS_END: usize = 84;
    pub(super) const FAMILY: usize = 85;
    pub(super) const OPENED: usize = 92;
    pub(super) const PID_END: usize = 107;
    pub(super) const COMM: usize = 108;
    pub(super) const LOCAL: usize = 124;
    pub(super) const REMOTE: usize = 146;
    pub(super) const LIFETIME_END: usize = 178;
    pub(super) const IN_END: usize = 189;
    pub(super) const OUT_END: usize = 200;
    pub(super) const AGAIN_END: usize = 207;
    pub(super) const ROLE: usize = 208;
    pub(super) const END: usize = 221;
    pub(super) const REASON: usize = 239;
    pub(super) const KERNEL: usize = 256;
    pub(super) const BY: usize = 280;
    pub(super) const STATES: usize = 308;
    pub(super) const MESSAGE: usize = 380;
}

pub(in crate::sink) fn head(out: &mut Vec<u8>) {
    let mut row = Row::new(out, false);
    row.text(0, "TIME");
    row.text_end(stop::PID_END, "PID");
    row.text(stop::COMM, "COMM");
    row.text(stop::LOCAL, "LOCAL");
    row.text(stop::REMOTE, "REMOTE");
    row.text_end(stop::LIFETIME_END, "LIFE");
    row.text(stop::END, "END");
    row.text(stop::MESSAGE, "WHO AND WHY");
    row.finish();
}

pub(in crate::sink) fn row(it: &Connection, style: &mut Style, out: &mut Vec<u8>) {
    let mut row = Row::new(out, style.color);
    time(&mut row, it.at, style);
    row.pid(stop::PID_END, it.process.as_ref());
    row.comm(stop::COMM, it.process.as_ref());
    row.local(stop::LOCAL, &it.tuple, it.family);
    row.remote(stop::REMOTE, &it.tuple, it.family);
    row.dwell(stop::LIFETIME_END, it.lifetime, &mut style.cell);
    end(&mut row, stop::END, it.end);
    said(&mut row, stop::MESSAGE, it);
    row.finish();
}

pub(in crate::sink) fn wide_head(out: &mut Vec<u8>) {
    let mut row = Row::new(out, false);
    row.text(0, "TIME");
    row.text_end(wide::MONO_END, "MONO");
    row.text(wide::CONN, "CONN");
    row.text_end(wide::NETNS_END, "NETNS");
    row.text(wide::FAMILY, "FAMILY");
    row.text(wide::OPENED, "OPENED BY");
    row.text_end(wide::PID_END, "PID");
    row.text(wide::COMM, "COMM");
    row.text(wide::LOCAL, "LOCAL");
    row.text(wide::REMOTE, "REMOTE");
    row.text_end(wide::LIFETIME_END, "LIFE");
    row.text_end(wide::IN_END, "IN");
    row.text_end(wide::OUT_END, "OUT");
    row.text_end(wide::AGAIN_END, "RETR");
    row.text(wide::ROLE, "ROLE");
    row.text(wide::END, "END");
    row.text(wide::REASON, "REASON");
    row.text(wide::KERNEL, "KERNEL'S REASON");
    row.text(wide::BY, "CLOSED BY");
    row.text(wide::STATES, "TIME IN STATES");
    row.text(wide::MESSAGE, "WHO AND WHY");
    row.finish();
}

pub(in crate::sink) fn wide_row(it: &Connection, style: &mut Style, out: &mut Vec<u8>) {
    let mut row = Row::new(out, style.color);
    row.cell(0, |out| {
        let start = out.len();
        style.clock.at(it.at).write(out);
        out.len() - start
    });
    row.number_end(wide::MONO_END, it.at.0);
    row.cell(wide::CONN, |out| name::conn(it.conn, out));
    let netns = (it.netns != 0).then_some(it.netns.into());
    number(&mut row, wide::NETNS_END, netns);
    row.text(wide::FAMILY, name::family(it.family));
    row.text(wide::OPENED, it.opened.name());
    row.pid(wide::PID_END, it.process.as_ref());
    row.comm(wide::COMM, it.process.as_ref());
    row.local(wide::LOCAL, &it.tuple, it.family);
    row.remote(wide::REMOTE, &it.tuple, it.family);
    row.dwell(wide::LIFETIME_END, it.lifetime, &mut style.cell);
    let totals = it.totals.as_ref();
    let bytes_in = totals.and_then(|totals| totals.bytes_in);
    let bytes_out = totals.and_then(|totals| totals.bytes_out);
    let again = totals.and_then(|totals| totals.retransmits);
    number(&mut row, wide::IN_END, bytes_in);
    number(&mut row, wide::OUT_END, bytes_out);
    number(&mut row, wide::AGAIN_END, again.map(u64::from));
    row.text(wide::ROLE, it.role.name());
    end(&mut row, wide::END, it.end);
    match it.reset_reason {
        Some(reason) => row.text(wide::REASON, reason.name()),
        None => row.unknown(wide::REASON),
    }
    match it.kernel_reason {
        Some(number) => row.cell(wide::KERNEL, |out| {
            style.reasons.with(number, |reason| reason.term(out))
        }),
        None => row.unknown(wide::KERNEL),
    }
    closed_by(&mut row, it);
    states(&mut row, it);
    said(&mut row, wide::MESSAGE, it);
    row.finish();
}

fn number(row: &mut Row<'_>, end: usize, number: Option<u64>) {
    match number {
        Some(number) => row.number_end(end, number),
        None => row.unknown(end - 1),
    }
}

fn end(row: &mut Row<'_>, stop: usize, end: End) {
    match end {
        End::Fin => row.text(stop, end.name()),
        _ => row.alarm(stop, end.name()),
    }
}

fn closed_by(row: &mut Row<'_>, it: &Connection) {
    let Some(closer) = &it.closed_by else {
        return row.unknown(wide::BY);
    };
    row.cell(wide::BY, |out| {
        let comm = Untrusted::comm(&closer.process.comm).term(out);
        let name = out.len();
        out.extend_from_slice(format!("/{} ", closer.process.pid).as_bytes());
        out.extend_from_slice(closer.call.name().as_bytes());
        comm + out.len() - name
    });
}

/// `SYN_SENT 1.2ms, ESTABLISHED 75.0s, …`
fn states(row: &mut Row<'_>, it: &Connection) {
    row.cell(wide::STATES, |out| {
        let mut width = 0;
        for (place, (state, dwell)) in it.states.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            let text = format!("{comma}{} ", state.name());
            out.extend_from_slice(text.as_bytes());
            width += text.len() + duration::dwell(dwell, out);
        }
        width
    });
}

fn said(row: &mut Row<'_>, stop: usize, it: &Connection) {
    row.cell(stop, |out| Untrusted::new(message(it).as_bytes()).term(out));
}
