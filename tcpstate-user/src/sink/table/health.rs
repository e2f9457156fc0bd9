//! The table of `health`: a row for each interval, and sentences under it where
//! something is out of the ordinary.

use tcpstate_common::state::TcpState;

use super::row::Row;
use crate::{
    counters::{Counter, Gauge},
    health::{Line, Mark},
    sink::{
        Style, Untrusted, duration,
        health::{Scope, Told, bytes},
    },
};

const YELLOW: &[u8] = b"\x1b[33m";
const RESET: &[u8] = b"\x1b[0m";

struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&Line) -> Option<String>,
}

const fn column(title: &'static str, width: usize, cell: fn(&Line) -> Option<String>) -> Column {
    Column { title, width, cell }
}

/// `sar -n TCP,ETCP` calls the rates so, but for `retr/s` (`retrans/s`), `fail/s`
/// (`atmptf/s`), `rst/s` (`orsts/s`) and `bad/s` (`isegerr/s`).
const COLUMNS: [Column; 18] = [
    column("active/s", 9, |it| rate(it, Counter::ActiveOpens)),
    column("passive/s", 10, |it| rate(it, Counter::PassiveOpens)),
    column("iseg/s", 8, |it| rate(it, Counter::InSegs)),
    column("oseg/s", 8, |it| rate(it, Counter::OutSegs)),
    column("retr/s", 7, |it| rate(it, Counter::RetransSegs)),
    column("retr%", 6, |it| {
        it.retransmitted().map(|share| short(share * 100.0))
    }),
    column("fail/s", 7, |it| rate(it, Counter::AttemptFails)),
    column("estres/s", 9, |it| rate(it, Counter::EstabResets)),
    column("rst/s", 6, |it| rate(it, Counter::OutRsts)),
    column("bad/s", 6, |it| rate(it, Counter::InErrs)),
    column("ESTAB", 6, |it| state(it, TcpState::Established)),
    column("CLOSEW", 7, |it| state(it, TcpState::CloseWait)),
    column("FINW2", 6, |it| state(it, TcpState::FinWait2)),
    column("TIMEW", 6, |it| state(it, TcpState::TimeWait)),
    column("ORPHAN", 7, |it| gauge(it, Gauge::Orphans)),
    column("MEM", 6, |it| {
        let pages = it.reading.gauge(Gauge::MemoryPages).ok()?;
        Some(size(bytes(pages)))
    }),
    column("OVFL", 5, |it| count(it, Counter::ListenOverflows)),
    column("DROP", 5, |it| count(it, Counter::ListenDrops)),
];

/// Room for the time of day.
const TIME: usize = 8;

/// What stands before the first row.
pub(in crate::sink) fn head(scope: &Scope, out: &mut Vec<u8>) {
    let whose = match (scope.is_replay, scope.netns) {
        (true, _) => "A recording: what events tell; it has no counters.".to_owned(),
        (_, Some(netns)) => format!(
            "Network namespace {netns}; --netns chooses another. ORPHAN and MEM are the whole host's."
        ),
        (_, None) => "All network namespaces.".to_owned(),
    };
    out.extend_from_slice(whose.as_bytes());
    if scope.is_filtered && !scope.is_replay {
        out.extend_from_slice(
            b"\nThe filter applies to the sockets and to what is said of processes: the kernel's\n\
              counters, and with them all rates, know no filter.",
        );
    }
    out.push(b'\n');
}

pub(in crate::sink) fn write(told: &Told<'_>, style: &mut Style, out: &mut Vec<u8>) {
    let line = told.line;
    if told.with_head {
        titles(out);
    }
    let mut row = Row::new(out, false);
    if line.is_final {
        row.text(0, "average");
    } else {
        let time = style.clock.at(line.to).date_time;
        row.text(0, &String::from_utf8_lossy(&time[11..]));
    }
    let mut end = TIME;
    for column in &COLUMNS {
        end += column.width;
        match (column.cell)(line) {
            Some(text) => row.text_end(end, &text),
            None => row.unknown(end - 1),
        }
    }
    row.finish();
    if line.is_final {
        totals(told, out);
    }
    for found in &line.marks {
        mark(found, style.color, out);
    }
}

fn titles(out: &mut Vec<u8>) {
    let mut row = Row::new(out, false);
    row.text(0, "TIME");
    let mut end = TIME;
    for column in &COLUMNS {
        end += column.width;
        row.text_end(end, column.title);
    }
    row.finish();
}

fn mark(mark: &Mark, color: bool, out: &mut Vec<u8>) {
    let (begin, end): (&[u8], &[u8]) = if color { (YELLOW, RESET) } else { (b"", b"") };
    out.extend_from_slice(b"  ");
    out.extend_from_slice(begin);
    out.push(b'!');
    out.extend_from_slice(end);
    out.push(b' ');
    // Processes choose their names.
    Untrusted::new(mark.message.as_bytes()).term(out);
    if let Some(next) = mark.next {
        out.extend_from_slice(b" -> ");
        out.extend_from_slice(next.as_bytes());
    }
    out.push(b'\n');
}

/// The whole session in numbers.
fn totals(told: &Told<'_>, out: &mut Vec<u8>) {
    let (line, scope) = (told.line, told.scope);
    let mut length = Vec::new();
    duration::human(line.to.since(line.from), &mut length);
    let length = String::from_utf8_lossy(&length);
    let number = |counter| match line.count(counter) {
        Ok(count) => count.to_string(),
        Err(_absent) => "?".to_owned(),
    };
    if !scope.is_replay {
        let text = format!(
            "\nIn {length}: {} opened, {} came in, {} attempts failed, {} connections reset;\n\
             {} segments in ({} bad), {} out ({} of them again, {} RSTs); listeners: {} overflows, {} drops.\n",
            number(Counter::ActiveOpens),
            number(Counter::PassiveOpens),
            number(Counter::AttemptFails),
            number(Counter::EstabResets),
            number(Counter::InSegs),
            number(Counter::InErrs),
            number(Counter::OutSegs),
            number(Counter::RetransSegs),
            number(Counter::OutRsts),
            number(Counter::ListenOverflows),
            number(Counter::ListenDrops),
        );
        out.extend_from_slice(text.as_bytes());
    }
    let did = &line.events;
    let accepted = match scope.has_accepts {
        true => format!(" ({} accepted)", did.accepted),
        false => String::new(),
    };
    let text = format!(
        "By events{}: {} connects ({} without a port, {} given up), {} came in{accepted}, {} attempts failed, {} connections reset.\n",
        if scope.is_replay {
            format!(", in {length}")
        } else {
            String::new()
        },
        did.connects,
        did.no_port,
        did.given_up,
        did.passive,
        did.failed(),
        did.resets
    );
    out.extend_from_slice(text.as_bytes());
    let states = TcpState::ALL.iter().filter_map(|state| {
        let count = line.sockets.of(*state).filter(|count| *count > 0)?;
        Some(format!("{count} {}", state.name()))
    });
    let states: Vec<_> = states.collect();
    if !states.is_empty() {
        out.extend_from_slice(format!("Sockets: {}.\n", states.join(", ")).as_bytes());
    }
}

fn rate(line: &Line, counter: Counter) -> Option<String> {
    line.per_second(counter).map(short)
}

fn count(line: &Line, counter: Counter) -> Option<String> {
    line.count(counter).ok().map(|count| count.to_string())
}

fn gauge(line: &Line, gauge: Gauge) -> Option<String> {
    line.reading
        .gauge(gauge)
        .ok()
        .map(|value| value.to_string())
}

fn state(line: &Line, state: TcpState) -> Option<String> {
    line.sockets.of(state).map(|count| count.to_string())
}

/// Two places, as `sar` has them, as long as they fit.
fn short(number: f64) -> String {
    match number {
        ..999.995 => format!("{number:.2}"),
        _ => format!("{number:.0}"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..0x00a0_0000 => format!("{}K", bytes >> 10),
        0x00a0_0000..0x0002_8000_0000 => format!("{}M", bytes >> 20),
        _ => format!("{}G", bytes >> 30),
    }
}
