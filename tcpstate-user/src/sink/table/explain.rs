//! The story of one connection for people, or the list of those that match.

use super::grid::{Cell, Grid, Side};
use crate::{
    explain::{Explained, Explanation, Moment, Seen},
    sink::{Style, Untrusted, address, digits, name},
    track::{Dwell, Opened},
};

/// The width that sentences are broken at.
const WIDTH: usize = 100;
/// Where a sentence begins, behind its label.
const LEFT: usize = 9;

/// `asked` is what was asked for, as it was given; of several connections at
/// most `most` are listed.
pub(in crate::sink) fn write(
    told: &Explanation,
    asked: Option<&str>,
    most: usize,
    style: &mut Style,
    out: &mut Vec<u8>,
) {
    match &told.connections[..] {
        [] => nothing(&told.seen, asked, out),
        [one] => story(one, style, out),
        [one, other] if are_ends_of_one(one, other) => {
            story(one, style, out);
            out.extend_from_slice(b"\nits other end is on this host, too:\n\n");
            story(other, style, out);
        }
        several => list(several, &told.seen, most, style, out),
    }
}

/// On loopback, an address and port is an end of both.
fn are_ends_of_one(one: &Explained, other: &Explained) -> bool {
    let (a, b) = (&one.tuple, &other.tuple);
    one.netns == other.netns
        && (a.laddr, a.lport) == (b.raddr, b.rport)
        && (a.raddr, a.rport) == (b.laddr, b.lport)
}

fn nothing(seen: &Seen, asked: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"no connection");
    if let Some(asked) = asked {
        out.extend_from_slice(b" matches ");
        Untrusted::new(asked.as_bytes()).term(out);
    }
    out.extend_from_slice(b"; seen: ");
    plural(seen.changes, "change of a state", "changes of state", out);
    if seen.listeners > 0 {
        out.extend_from_slice(b", and somebody listens there");
    }
    out.push(b'\n');
}

fn plural(count: u64, one: &str, several: &str, out: &mut Vec<u8>) {
    digits::decimal(count, out);
    out.push(b' ');
    let word = if count == 1 { one } else { several };
    out.extend_from_slice(word.as_bytes());
}

fn story(it: &Explained, style: &mut Style, out: &mut Vec<u8>) {
    head(it, style, out);
    let mut grid = Grid::new([
        (Side::Right, "AFTER"),
        (Side::Left, "STATE"),
        (Side::Right, "LASTED"),
        (Side::Left, "WHAT HAPPENED"),
    ]);
    for (n, moment) in it.timeline.iter().enumerate() {
        grid.row(vec![
            Cell::dwell(moment.since),
            Cell::State(moment.new),
            Cell::dwell(lasted(it, n, moment)),
            sentence(&moment.meaning),
        ]);
    }
    if it.timeline.is_empty() {
        out.extend_from_slice(b"nothing happened to it while it was watched\n");
    } else {
        grid.write(style.color, out);
    }
    if it.omitted > 0 {
        out.extend_from_slice(b"left out in the middle: ");
        digits::decimal(it.omitted, out);
        out.push(b'\n');
    }
    out.push(b'\n');
    wrapped("verdict", &it.verdict, out);
    if let Some(advice) = it.advice {
        wrapped("do", advice, out);
    }
}

/// Its name, when its story begins, its ends, and whose it is.
fn head(it: &Explained, style: &mut Style, out: &mut Vec<u8>) {
    out.extend_from_slice(b"connection ");
    name::conn(it.conn, out);
    if let Some(first) = it.timeline.first() {
        let instant = style.clock.at(first.at);
        out.extend_from_slice(b"  ");
        out.extend_from_slice(&instant.date_time[..10]);
        out.push(b' ');
        out.extend_from_slice(&instant.date_time[11..]);
        out.push(b'.');
        digits::padded(instant.nanos / 1_000_000, 3, out);
    }
    out.push(b'\n');
    ends(it, out);
    out.extend_from_slice(b"  ");
    match it.opened {
        Opened::Connect => out.extend_from_slice(b"connected by "),
        Opened::Accept => out.extend_from_slice(b"accepted by "),
        Opened::Unknown => out.extend_from_slice(b"of "),
    }
    match &it.process {
        Some(process) => {
            Untrusted::new(name::process(process).as_bytes()).term(out);
        }
        None => out.extend_from_slice(b"a process that is not known"),
    }
    out.extend_from_slice(b"\n\n");
}

fn ends(it: &Explained, out: &mut Vec<u8>) {
    let tuple = &it.tuple;
    address::endpoint(&tuple.laddr, tuple.lport, it.family, out);
    out.extend_from_slice(b" -> ");
    address::endpoint(&tuple.raddr, tuple.rport, it.family, out);
}

/// How long it stayed in the state that this moment brought it into.
fn lasted(it: &Explained, n: usize, moment: &Moment) -> Dwell {
    match (it.timeline.get(n + 1), it.now) {
        (Some(next), _) if next.old == moment.new => next.dwell,
        // It goes on.
        (None, Some(now)) if now.state == moment.new => match now.so_far {
            Dwell::Exact(ns) => Dwell::AtLeast(ns),
            other => other,
        },
        _ => Dwell::Unknown,
    }
}

fn list(all: &[Explained], seen: &Seen, most: usize, style: &Style, out: &mut Vec<u8>) {
    digits::decimal(seen.matches, out);
    out.extend_from_slice(b" connections match, the newest first");
    let untold = seen.matches.saturating_sub(all.len().min(most) as u64);
    if untold > 0 {
        out.extend_from_slice(b"; not listed: ");
        digits::decimal(untold, out);
    }
    out.extend_from_slice(b"\n\n");
    let mut grid = Grid::new([
        (Side::Left, "CONN"),
        (Side::Left, "LOCAL -> REMOTE"),
        (Side::Left, "VERDICT"),
    ]);
    for it in all.iter().take(most) {
        grid.row(vec![
            Cell::written(|out| name::conn(it.conn, out)),
            Cell::written(|out| {
                let start = out.len();
                ends(it, out);
                out.len() - start
            }),
            sentence(&it.verdict),
        ]);
    }
    grid.write(style.color, out);
    out.extend_from_slice(
        b"\nOne of them: `tcpstate explain CONN` with --replay of the same recording, or its \
        other end's address and port.\n",
    );
}

/// Names of processes are in it as they are.
fn sentence(text: &str) -> Cell {
    Cell::written(|out| Untrusted::new(text.as_bytes()).term(out))
}

/// Broken between words.
fn wrapped(label: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(label.as_bytes());
    let mut column = label.len();
    for word in text.split(' ') {
        let mut clean = Vec::new();
        let width = Untrusted::new(word.as_bytes()).term(&mut clean);
        if column > LEFT && column + 1 + width > WIDTH {
            out.push(b'\n');
            column = 0;
        }
        let blanks = LEFT.saturating_sub(column).max(1);
        out.resize(out.len() + blanks, b' ');
        out.extend_from_slice(&clean);
        column += blanks + width;
    }
    out.push(b'\n');
}
