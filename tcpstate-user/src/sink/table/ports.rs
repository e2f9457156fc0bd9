//! The tables of `ports`: destinations, services, listeners and limits, and the
//! sentences that say what they mean.

use tcpstate_common::state::TcpState;

use super::{
    dwell::head,
    grid::{Cell, Grid, Side},
};
use crate::{
    ports::{Known, Listener, Maker, Namespace, Outlook, Rates, Rest, Row, Server},
    sink::{
        Heading, Style, Untrusted, duration,
        ports::{Told, endpoint, of, plain, words},
    },
};

use Side::{Left, Right};

/// Of the sentences below the tables.
const WIDTH: usize = 90;

pub(in crate::sink) fn write(
    heading: &Heading,
    told: &Told<'_>,
    style: &mut Style,
    out: &mut Vec<u8>,
) {
    let report = told.report;
    head(heading, style, out);
    if report.rows.is_empty() {
        out.extend_from_slice(b"No client has a connection.\n");
    } else {
        spaces(&report.rows, &report.rest, style.color, out);
    }
    if !report.servers.is_empty() {
        out.push(b'\n');
        servers(&report.servers, &report.other_servers, style.color, out);
    }
    if !report.listeners.is_empty() {
        out.push(b'\n');
        listeners(&report.listeners, report.other_listeners, style.color, out);
    }
    if !report.namespaces.is_empty() {
        out.push(b'\n');
        namespaces(
            &report.namespaces,
            report.other_namespaces,
            style.color,
            out,
        );
    }
    notes(told, heading.last, out);
}

fn spaces(rows: &[Row], rest: &Rest, color: bool, out: &mut Vec<u8>) {
    let mut grid = Grid::new([
        (Left, "LOCAL"),
        (Left, "REMOTE"),
        (Right, "USED"),
        (Right, "LEFT"),
        (Right, "TIME_WAIT"),
        (Right, "FIN_WAIT2"),
        (Right, "OTHER"),
        (Right, "OPENED/s"),
        (Right, "LASTS/s"),
        (Right, "RUNS OUT"),
        (Right, "FAILED"),
        (Left, "BY"),
    ]);
    for row in rows {
        let time_wait = of(&row.states, TcpState::TimeWait);
        let opened = row.rates.map(|rates: Rates| rates.opened);
        grid.row(vec![
            Cell::text(&plain(&row.space.laddr)),
            Cell::text(&endpoint(&row.space.raddr, row.space.rport)),
            Cell::number(row.used),
            told(&row.left),
            Cell::number(time_wait),
            Cell::number(row.fin_wait2),
            Cell::number(row.sockets - time_wait - row.fin_wait2),
            Cell::known(opened, rate),
            Cell::known(row.sustainable, rate),
            runs_out(row.outlook),
            Cell::number(row.failed),
            makers(&row.makers),
        ]);
    }
    if rest.sockets > 0 || rest.count > 0 {
        let time_wait = of(&rest.states, TcpState::TimeWait);
        let others = if rest.at_least { "or more" } else { "others" };
        let mut cells = vec![
            Cell::text("(rest)"),
            Cell::text(&format!("{} {others}", rest.count)),
            Cell::number(rest.sockets),
            Cell::Unknown,
            Cell::number(time_wait),
        ];
        cells.extend(std::iter::repeat_n(Cell::Unknown, 5));
        cells.extend([Cell::number(rest.failed), Cell::text("")]);
        grid.row(cells);
    }
    grid.write(color, out);
}

fn runs_out(outlook: Outlook) -> Cell {
    match outlook {
        Outlook::Now => Cell::text("now"),
        Outlook::In(ns) => Cell::written(|out| {
            out.extend_from_slice(b"in ");
            3 + duration::human(ns, out)
        }),
        Outlook::NotAtThisRate => Cell::text("no"),
        Outlook::Unknown => Cell::Unknown,
    }
}

/// The one who has most, and how many rows there are besides.
fn makers(makers: &[Maker]) -> Cell {
    let Some(first) = makers.first() else {
        return Cell::Unknown;
    };
    Cell::written(|out| {
        let mut width = match &first.comm {
            Some(comm) => Untrusted::comm(comm).term(out),
            None => {
                out.push(b'?');
                1
            }
        };
        let mut more = match first.pid {
            Some(pid) => format!("[{pid}]"),
            None if first.processes > 0 => format!(" ({} processes)", first.processes),
            None => String::new(),
        };
        if makers.len() > 1 {
            more += &format!(" and {} more", makers.len() - 1);
        }
        out.extend_from_slice(more.as_bytes());
        width += more.len();
        width
    })
}

fn servers(servers: &[Server], rest: &Rest, color: bool, out: &mut Vec<u8>) {
    let mut grid = Grid::new([
        (Right, "SERVER PORT"),
        (Right, "SOCKETS"),
        (Right, "TIME_WAIT"),
        (Right, "FIN_WAIT2"),
        (Right, "CLOSE_WAIT"),
        (Right, "PORTS USED UP"),
    ]);
    for it in servers {
        grid.row(vec![
            Cell::number(it.service.port.into()),
            Cell::number(it.sockets),
            Cell::number(of(&it.states, TcpState::TimeWait)),
            Cell::number(it.fin_wait2),
            Cell::number(of(&it.states, TcpState::CloseWait)),
            Cell::text("none"),
        ]);
    }
    if rest.sockets > 0 {
        grid.row(vec![
            Cell::text("(rest)"),
            Cell::number(rest.sockets),
            Cell::number(of(&rest.states, TcpState::TimeWait)),
            Cell::Unknown,
            Cell::number(of(&rest.states, TcpState::CloseWait)),
            Cell::text("none"),
        ]);
    }
    grid.write(color, out);
}

fn listeners(listeners: &[Listener], others: u64, color: bool, out: &mut Vec<u8>) {
    let mut grid = Grid::new([
        (Left, "LISTENER"),
        (Right, "QUEUE"),
        (Right, "LIMIT"),
        (Right, "DROPS"),
        (Right, "PID"),
    ]);
    for it in listeners {
        let queue = it.queue.as_ref().ok();
        let number = |of: Option<u32>| Cell::known(of, |number| Cell::number(number.into()));
        grid.row(vec![
            Cell::text(&endpoint(&it.addr, it.port)),
            number(queue.map(|queue| queue.waiting)),
            number(queue.map(|queue| queue.limit)),
            number(queue.and_then(|queue| queue.drops)),
            number(it.pid),
        ]);
    }
    if others > 0 {
        let mut cells = vec![Cell::text(&format!("({others} others)"))];
        cells.extend(std::iter::repeat_n(Cell::Unknown, 4));
        grid.row(cells);
    }
    grid.write(color, out);
}

fn namespaces(namespaces: &[Namespace], others: u64, color: bool, out: &mut Vec<u8>) {
    let mut grid = Grid::new([
        (Right, "NETNS"),
        (Left, "PORT RANGE"),
        (Right, "RESERVED"),
        (Right, "BOUND"),
        (Right, "USABLE"),
        (Right, "MINISOCKETS"),
        (Right, "AT MOST"),
        (Right, "OVERFLOWS"),
        (Right, "DROPS"),
    ]);
    for it in namespaces {
        let room = it.room.as_ref().ok();
        let range = it.limits.range.as_ref().ok();
        let of_room = |number: Option<u32>| Cell::known(number, |it| Cell::number(it.into()));
        let grown = it.grown.as_ref().ok();
        grid.row(vec![
            Cell::number(it.limits.netns.into()),
            Cell::known(range, |(low, high)| Cell::text(&format!("{low}-{high}"))),
            of_room(room.map(|room| room.reserved)),
            of_room(room.map(|room| room.bound)),
            of_room(room.map(|room| room.usable)),
            told(&it.limits.tw_buckets),
            told(&it.limits.max_tw_buckets),
            Cell::known(grown.map(|grown| grown.listen_overflows), Cell::number),
            Cell::known(grown.map(|grown| grown.listen_drops), Cell::number),
        ]);
    }
    if others > 0 {
        let mut cells = vec![Cell::text(&format!("({others} others)")), Cell::text("")];
        cells.extend(std::iter::repeat_n(Cell::Unknown, 7));
        grid.row(cells);
    }
    grid.write(color, out);
}

/// What is wrong at once; at the end also what the numbers mean.
fn notes(told: &Told<'_>, last: bool, out: &mut Vec<u8>) {
    let report = told.report;
    let mut said: Vec<String> = report.worst().and_then(words::space).into_iter().collect();
    said.extend(report.listeners.iter().filter_map(words::listener));
    said.extend(report.namespaces.iter().flat_map(words::namespace));
    said.extend(words::host(told));
    if last {
        let waits = |it: &Server| of(&it.states, TcpState::TimeWait) > 0;
        if report.servers.iter().any(waits) {
            said.push(words::NO_PORTS.to_owned());
        }
        said.extend(report.rows.iter().take(3).filter_map(words::ended));
        said.extend(reasons(told));
        if report.worst().is_none() && report.rows.iter().any(|row| row.left.is_ok()) {
            said.push("Ports are not running out anywhere.".to_owned());
        }
    }
    if !said.is_empty() {
        out.push(b'\n');
    }
    for paragraph in said {
        wrapped(&paragraph, out);
    }
}

/// In lines of at most [`WIDTH`] columns, all but the first indented.
fn wrapped(paragraph: &str, out: &mut Vec<u8>) {
    let mut column = 0;
    for word in paragraph.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            out.extend_from_slice(b"\n  ");
            column = 2;
        } else if column > 0 {
            out.push(b' ');
            column += 1;
        }
        out.extend_from_slice(word.as_bytes());
        column += width;
    }
    out.push(b'\n');
}

/// Why something is not known, and orphans, which have no table.
fn reasons(told: &Told<'_>) -> Vec<String> {
    let report = told.report;
    let mut said = Vec::new();
    if let (Ok(now), Ok(max)) = (&report.orphans, &report.max_orphans) {
        said.push(format!("Orphans: {now} of at most {max}."));
    }
    let mut why: Vec<&str> = report
        .rows
        .iter()
        .filter_map(|row| row.left.as_ref().err())
        .map(|why| &**why)
        .collect();
    why.dedup();
    if told.live {
        said.extend(
            why.into_iter()
                .take(3)
                .map(|why| format!("Ports left are not known: {why}.")),
        );
    }
    if let Some(why) = &report.bound_unknown {
        said.push(format!("LEFT may be too high: {why}."));
    }
    said
}

fn told(known: &Known<u64>) -> Cell {
    Cell::known(known.as_ref().ok().copied(), Cell::number)
}

fn rate(rate: f64) -> Cell {
    let digits = if rate < 100.0 { 1 } else { 0 };
    Cell::text(&format!("{rate:.digits$}"))
}
