//! The table with everything that is known, on lines as long as it takes.

use super::Row;
use crate::{
    sink::{Style, name},
    track::Change,
};

mod stop {
    pub(super) const MONO_END: usize = 52;
    pub(super) const CONN: usize = 53;
    pub(super) const NETNS_END: usize = 84;
    pub(super) const FAMILY: usize = 85;
    pub(super) const KIND: usize = 92;
    pub(super) const PID_END: usize = 110;
    pub(super) const COMM: usize = 111;
    pub(super) const LOCAL: usize = 127;
    pub(super) const REMOTE: usize = 149;
    pub(super) const STATES: usize = 171;
    pub(super) const DWELL_END: usize = 208;
    pub(super) const CAUSE: usize = 209;
    pub(super) const REASON: usize = 224;
}

pub(in crate::sink) fn head(out: &mut Vec<u8>) {
    let mut row = Row::new(out, false);
    row.text(0, "TIME");
    row.text_end(stop::MONO_END, "MONO");
    row.text(stop::CONN, "CONN");
    row.text_end(stop::NETNS_END, "NETNS");
    row.text(stop::FAMILY, "FAMILY");
    row.text(stop::KIND, "KIND");
    row.text_end(stop::PID_END, "PID");
    row.text(stop::COMM, "COMM");
    row.text(stop::LOCAL, "LOCAL");
    row.text(stop::REMOTE, "REMOTE");
    row.text(stop::STATES, "OLD -> NEW");
    row.text_end(stop::DWELL_END, "TIME IN OLD");
    row.text(stop::CAUSE, "CAUSE");
    row.text(stop::REASON, "REASON");
    row.finish();
}

pub(in crate::sink) fn row(change: &Change, style: &mut Style, out: &mut Vec<u8>) {
    let mut row = Row::new(out, style.color);
    row.cell(0, |out| {
        let start = out.len();
        style.clock.at(change.at).write(out);
        out.len() - start
    });
    row.number_end(stop::MONO_END, change.at.0);
    row.cell(stop::CONN, |out| name::conn(change.conn, out));
    match change.netns {
        0 => row.unknown(stop::NETNS_END - 1),
        inode => row.number_end(stop::NETNS_END, u64::from(inode)),
    }
    row.text(stop::FAMILY, name::family(change.family));
    row.text(stop::KIND, name::kind(change.kind));
    row.pid(stop::PID_END, change.origin.as_ref());
    row.comm(stop::COMM, change.origin.as_ref());
    row.local(stop::LOCAL, &change.tuple, change.family);
    row.remote(stop::REMOTE, &change.tuple, change.family);
    row.states(stop::STATES, change);
    row.dwell(stop::DWELL_END, change.dwell, &mut style.cell);
    row.cause(stop::CAUSE, change);
    match change.reset_reason {
        Some(number) => row.cell(stop::REASON, |out| {
            style.reasons.with(number, |reason| reason.term(out))
        }),
        None => row.unknown(stop::REASON),
    }
    row.finish();
}
