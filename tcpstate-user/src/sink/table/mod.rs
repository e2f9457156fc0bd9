//! A table for people, in columns that keep their place.
//!
//! Columns are tab stops: a long cell pushes what follows, and the row is back
//! in place as soon as a shorter cell leaves room. Nothing is cut off.

pub(super) mod connections;
pub(super) mod dwell;
pub(super) mod explain;
mod grid;
pub(super) mod health;
mod notes;
pub(super) mod ports;
mod row;
pub(super) mod wide;

use super::{Style, digits};
use crate::{decode::KtimeNs, track::Change};
use row::Row;

/// Where the columns begin, or end when they are right-aligned: a row with
/// short names and addresses such as `127.0.0.1:43210` fits 100 columns.
mod stop {
    pub(super) const PID_END: usize = 19;
    pub(super) const COMM: usize = 20;
    pub(super) const LOCAL: usize = 28;
    pub(super) const REMOTE: usize = 44;
    pub(super) const STATES: usize = 60;
    pub(super) const DWELL_END: usize = 91;
    pub(super) const CAUSE: usize = 92;
}

pub(super) fn head(out: &mut Vec<u8>) {
    let mut row = Row::new(out, false);
    row.text(0, "TIME");
    row.text_end(stop::PID_END, "PID");
    row.text(stop::COMM, "COMM");
    row.text(stop::LOCAL, "LOCAL");
    row.text(stop::REMOTE, "REMOTE");
    row.text(stop::STATES, "OLD -> NEW");
    row.text_end(stop::DWELL_END, "TIME IN OLD");
    row.text(stop::CAUSE, "CAUSE");
    row.finish();
}

pub(super) fn row(change: &Change, style: &mut Style, out: &mut Vec<u8>) {
    let mut row = Row::new(out, style.color);
    time(&mut row, change.at, style);
    row.pid(stop::PID_END, change.origin.as_ref());
    row.comm(stop::COMM, change.origin.as_ref());
    row.local(stop::LOCAL, &change.tuple, change.family);
    row.remote(stop::REMOTE, &change.tuple, change.family);
    row.states(stop::STATES, change);
    row.dwell(stop::DWELL_END, change.dwell, &mut style.cell);
    row.cause(stop::CAUSE, change);
    row.finish();
}

/// The time of day, to a millisecond.
fn time(row: &mut Row<'_>, at: KtimeNs, style: &mut Style) {
    let instant = style.clock.at(at);
    row.cell(0, |out| {
        out.extend_from_slice(&instant.date_time[11..]);
        out.push(b'.');
        out.extend_from_slice(&digits::three(instant.nanos / 1_000_000));
        12
    });
}
