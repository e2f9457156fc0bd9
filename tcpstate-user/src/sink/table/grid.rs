//! Rows of cells in columns as wide as their widest cell.
//!
//! For what is written at once; lines that come one by one have tab stops.

use tcpstate_common::state::TcpState;

use super::row::Row;
use crate::{
    sink::{Untrusted, digits, duration},
    track::Dwell,
};

/// Where a cell stands in a column that is wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The rows so far.
pub(super) struct Grid {
    sides: Vec<Side>,
    rows: Vec<Vec<Cell>>,
}

/// A cell: its bytes, and how many columns of a terminal they take.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(Vec<u8>, usize),
    State(TcpState),
    Unknown,
}

impl Grid {
    pub(super) fn new(titles: impl IntoIterator<Item = (Side, &'static str)>) -> Self {
        let (sides, head) = titles
            .into_iter()
            .map(|(side, title)| (side, Cell::text(title)))
            .unzip();
        Self {
            sides,
            rows: vec![head],
        }
    }

    /// Adds a row with a cell for each title.
    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.sides.len());
        self.rows.push(cells);
    }

    pub(super) fn write(&self, color: bool, out: &mut Vec<u8>) {
        let width = |column: usize| self.rows.iter().map(move |row| row[column].width()).max();
        let widths: Vec<_> = (0..self.sides.len()).filter_map(width).collect();
        for cells in &self.rows {
            let mut row = Row::new(out, color);
            let mut stop = 0;
            for ((cell, side), width) in cells.iter().zip(&self.sides).zip(&widths) {
                let indent = match side {
                    Side::Left => 0,
                    Side::Right => width - cell.width(),
                };
                cell.write(stop + indent, &mut row);
                stop += width + 1;
            }
            row.finish();
        }
    }
}

impl Cell {
    /// Text of our own.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec(), text.chars().count())
    }

    /// What `write` writes, which says how wide it is.
    pub(super) fn written(write: impl FnOnce(&mut Vec<u8>) -> usize) -> Self {
        let mut text = Vec::new();
        let width = write(&mut text);
        Self::Text(text, width)
    }

    pub(super) fn number(number: u64) -> Self {
        Self::written(|out| {
            digits::decimal(number, out);
            digits::width(number)
        })
    }

    pub(super) fn duration(ns: u64) -> Self {
        Self::written(|out| duration::human(ns, out))
    }

    pub(super) fn dwell(dwell: Dwell) -> Self {
        match dwell {
            Dwell::Unknown => Self::Unknown,
            known => Self::written(|out| duration::dwell(known, out)),
        }
    }

    pub(super) fn comm(comm: &[u8; 16]) -> Self {
        Self::written(|out| Untrusted::comm(comm).term(out))
    }

    /// A cell for what may not be known.
    pub(super) fn known<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Unknown, cell)
    }

    fn width(&self) -> usize {
        match self {
            Self::Text(_, width) => *width,
            Self::State(state) => state.name().len(),
            Self::Unknown => 1,
        }
    }

    fn write(&self, stop: usize, row: &mut Row<'_>) {
        match self {
            // Nothing, not even the blanks before it.
            Self::Text(_, 0) => {}
            Self::Text(text, width) => row.cell(stop, |out| {
                out.extend_from_slice(text);
                *width
            }),
            Self::State(state) => row.one_state(stop, *state),
            Self::Unknown => row.unknown(stop),
        }
    }
}
