//! Whole connections as bytes, one line for each.

mod csv;
#[cfg(test)]
mod golden;
mod json;

use super::{Format, Style, table::connections as table};
use crate::{connection::Connection, session::SessionInfo};

pub(super) fn head(format: Format, info: &SessionInfo, out: &mut Vec<u8>) {
    match format {
        Format::Table => table::head(out),
        Format::Wide => table::wide_head(out),
        Format::Json => super::json::start(info, out),
        Format::Csv => csv::head(out),
    }
}

pub(super) fn write(format: Format, it: &Connection, style: &mut Style, out: &mut Vec<u8>) {
    match format {
        Format::Table => table::row(it, style, out),
        Format::Wide => table::wide_row(it, style, out),
        Format::Json => json::line(it, style, out),
        Format::Csv => csv::row(it, style, out),
    }
}

/// What a `write` writes, as text.
fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
