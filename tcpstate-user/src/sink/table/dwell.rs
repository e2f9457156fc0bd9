//! The table of `dwell`: a row for each group, and what the numbers mean.

use super::{
    grid::{Cell, Grid, Side},
    notes,
};
use crate::{
    dwell::{DECADES, Exact, Keys, LIFE, Report, Row},
    sink::{Heading, Style, address, duration},
};

/// Over every third cell of the picture what it begins with. The first has all
/// below 10 µs as well, the last all above 28 hours.
const SCALE: &str = "1µs 1ms 1s  1ks";

/// Eighths of the highest cell. What there is at all is seen.
const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

struct Column {
    side: Side,
    title: &'static str,
    cell: fn(&Row) -> Cell,
}

const fn left(title: &'static str, cell: fn(&Row) -> Cell) -> Column {
    let side = Side::Left;
    Column { side, title, cell }
}

const fn right(title: &'static str, cell: fn(&Row) -> Cell) -> Column {
    let side = Side::Right;
    Column { side, title, cell }
}

pub(in crate::sink) fn write(
    heading: &Heading,
    report: &Report,
    style: &mut Style,
    out: &mut Vec<u8>,
) {
    head(heading, style, out);
    let columns = columns(report);
    let mut grid = Grid::new(columns.iter().map(|it| (it.side, it.title)));
    for state in LIFE {
        if report.silent().any(|silent| silent == state) {
            let dashes = std::iter::repeat_n(Cell::Unknown, columns.len() - 1);
            grid.row(std::iter::once(Cell::State(state)).chain(dashes).collect());
        }
        for row in report.rows.iter().filter(|row| row.key.state == state) {
            grid.row(columns.iter().map(|column| (column.cell)(row)).collect());
        }
    }
    grid.write(style.color, out);
    if heading.last {
        notes::dwell(report, out);
    }
}

pub(in crate::sink) fn head(heading: &Heading, style: &mut Style, out: &mut Vec<u8>) {
    out.extend_from_slice(&style.clock.at(heading.at).date_time[11..]);
    out.extend_from_slice(b", after ");
    duration::human(heading.after_ns, out);
    out.extend_from_slice(if heading.last { b" (final)\n" } else { b"\n" });
}

fn columns(report: &Report) -> Vec<Column> {
    let mut columns = vec![left("STATE", |row| Cell::State(row.key.state))];
    keys(report.keys, &mut columns);
    columns.extend([
        right("COUNT", |row| Cell::number(row.count)),
        right("MIN", |row| of_exact(row, |it| it.min_ns)),
        right("P50", |row| of_exact(row, |it| it.p50_ns)),
        right("P90", |row| of_exact(row, |it| it.p90_ns)),
        right("P99", |row| of_exact(row, |it| it.p99_ns)),
        right("MAX", |row| of_exact(row, |it| it.max_ns)),
        right("SUM", |row| {
            let sum = u64::try_from(row.sum_ns).unwrap_or(u64::MAX);
            Cell::known((row.count > 0).then_some(sum), Cell::duration)
        }),
        right(">=", |row| Cell::number(row.at_least)),
    ]);
    if report.rows.iter().any(|row| row.unknown > 0) {
        columns.push(right("?", |row| Cell::number(row.unknown)));
    }
    columns.extend([
        right("OPEN", |row| Cell::number(row.open)),
        right("OLDEST", |row| Cell::known(row.oldest, Cell::dwell)),
        left(SCALE, |row| Cell::text(&picture(&row.decades))),
    ]);
    columns
}

fn keys(keys: Keys, columns: &mut Vec<Column>) {
    if keys.process {
        columns.push(right("PID", |row| match row.key.process {
            _ if row.key.is_rest => Cell::text("(rest)"),
            process => Cell::known(process, |it| Cell::number(it.pid.into())),
        }));
        columns.push(left("COMM", |row| {
            Cell::known(row.key.process, |it| Cell::comm(&it.comm))
        }));
    }
    if keys.lport {
        columns.push(right("LPORT", |row| number(row, row.key.lport)));
    }
    if keys.peer {
        columns.push(left("PEER", |row| match row.key.peer {
            _ if row.key.is_rest => Cell::text("(rest)"),
            peer => Cell::known(peer, |it| {
                Cell::written(|out| {
                    address::write(&it.addr, it.family, out);
                    out.len()
                })
            }),
        }));
    }
    if keys.rport {
        columns.push(right("RPORT", |row| number(row, row.key.rport)));
    }
    if keys.netns {
        columns.push(right("NETNS", |row| number(row, row.key.netns)));
    }
}

fn number(row: &Row, number: Option<impl Into<u64>>) -> Cell {
    if row.key.is_rest {
        return Cell::text("(rest)");
    }
    Cell::known(number, |number| Cell::number(number.into()))
}

fn of_exact(row: &Row, number: fn(&Exact) -> u64) -> Cell {
    Cell::known(row.exact.as_ref().map(number), Cell::duration)
}

/// How many there are of each decade, as heights, three decades together.
fn picture(decades: &[u64; DECADES]) -> String {
    let highest = decades.iter().copied().max().unwrap_or(0);
    if highest == 0 {
        return String::new();
    }
    let bar = |count: &u64| {
        let eighths = (u128::from(*count) * 8).div_ceil(u128::from(highest));
        let place = usize::try_from(eighths).unwrap_or(0).checked_sub(1);
        place.map_or("·", |place| BARS[place])
    };
    let thousands = decades.chunks(3);
    let bars: Vec<String> = thousands.map(|it| it.iter().map(bar).collect()).collect();
    bars.join(" ")
}

#[cfg(test)]
mod tests {
    use super::picture;

    #[test]
    fn a_lone_long_stay_is_seen_beside_a_million_short_ones() {
        let mut decades = [0; super::DECADES];
        decades[1] = 1_000_000;
        decades[2] = 500_000;
        decades[7] = 1;
        assert_eq!(picture(&decades), "·█▄ ··· ·▁· ···");
        assert_eq!(picture(&[0; super::DECADES]), "");
        assert_eq!(picture(&[u64::MAX; super::DECADES]), "███ ███ ███ ███");
    }
}
