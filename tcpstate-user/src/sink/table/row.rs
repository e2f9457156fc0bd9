//! One row of a table: cells at tab stops, in sober colour.

use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    decode::Family,
    sink::{Untrusted, address, digits, duration},
    track::{Cause, Change, Dwell, Process},
};

const DIM: &[u8] = b"\x1b[2m";
const RED: &[u8] = b"\x1b[31m";
const YELLOW: &[u8] = b"\x1b[33m";
const RESET: &[u8] = b"\x1b[0m";

/// A row being written.
pub(super) struct Row<'a> {
    out: &'a mut Vec<u8>,
    column: usize,
    color: bool,
}

impl<'a> Row<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, color: bool) -> Self {
        Self {
            out,
            column: 0,
            color,
        }
    }

    /// A cell that begins at column `stop` or, when that is taken, one blank
    /// further on. `write` returns how many columns it filled.
    pub(super) fn cell(&mut self, stop: usize, write: impl FnOnce(&mut Vec<u8>) -> usize) {
        self.advance(stop);
        self.column += write(self.out);
    }

    pub(super) fn text(&mut self, stop: usize, text: &str) {
        self.cell(stop, |out| ascii(text, out));
    }

    /// Right-aligned: ends before column `end` where there is room.
    pub(super) fn text_end(&mut self, end: usize, text: &str) {
        self.text(end.saturating_sub(text.len()), text);
    }

    pub(super) fn number_end(&mut self, end: usize, number: u64) {
        let width = digits::width(number);
        self.cell(end.saturating_sub(width), |out| {
            digits::decimal(number, out);
            width
        });
    }

    pub(super) fn pid(&mut self, end: usize, process: Option<&Process>) {
        match process {
            Some(process) => self.number_end(end, u64::from(process.pid)),
            None => self.unknown(end.saturating_sub(1)),
        }
    }

    pub(super) fn comm(&mut self, stop: usize, process: Option<&Process>) {
        match process {
            Some(Process { comm, .. }) => {
                self.cell(stop, |out| Untrusted::comm(comm).term(out));
            }
            None => self.unknown(stop),
        }
    }

    pub(super) fn local(&mut self, stop: usize, tuple: &Tuple, family: Family) {
        self.endpoint(stop, &tuple.laddr, tuple.lport, family);
    }

    pub(super) fn remote(&mut self, stop: usize, tuple: &Tuple, family: Family) {
        self.endpoint(stop, &tuple.raddr, tuple.rport, family);
    }

    fn endpoint(&mut self, stop: usize, addr: &[u8; 16], port: u16, family: Family) {
        if !address::is_known(addr, port) {
            return self.unknown(stop);
        }
        self.cell(stop, |out| {
            let start = out.len();
            address::endpoint(addr, port, family, out);
            out.len() - start
        });
    }

    pub(super) fn states(&mut self, stop: usize, change: &Change) {
        self.advance(stop);
        self.state(change.old);
        self.column += ascii(" -> ", self.out);
        self.state(change.new);
    }

    pub(super) fn one_state(&mut self, stop: usize, state: TcpState) {
        self.advance(stop);
        self.state(state);
    }

    /// `scratch` is room for the cell, whose width must be known first.
    pub(super) fn dwell(&mut self, end: usize, dwell: Dwell, scratch: &mut Vec<u8>) {
        scratch.clear();
        let width = duration::dwell(dwell, scratch);
        let stop = end.saturating_sub(width);
        if scratch == b"-" {
            return self.unknown(stop);
        }
        self.cell(stop, |out| {
            out.extend_from_slice(scratch);
            width
        });
    }

    pub(super) fn cause(&mut self, stop: usize, change: &Change) {
        match change.cause {
            Some(cause) if alarming(cause) => self.alarm(stop, cause.name()),
            Some(cause) => self.text(stop, cause.name()),
            None => self.unknown(stop),
        }
    }

    pub(super) fn unknown(&mut self, stop: usize) {
        self.colored(stop, DIM, "-");
    }

    pub(super) fn finish(self) {
        self.out.push(b'\n');
    }

    /// `CLOSE_WAIT` is the one state that lasts only because somebody forgot.
    fn state(&mut self, state: TcpState) {
        let name = state.name();
        match state {
            TcpState::CloseWait => self.paint(YELLOW, name),
            _ => self.column += ascii(name, self.out),
        }
    }

    /// A word of our own that nobody asked for.
    pub(super) fn alarm(&mut self, stop: usize, text: &str) {
        self.colored(stop, RED, text);
    }

    fn colored(&mut self, stop: usize, color: &[u8], text: &str) {
        self.advance(stop);
        self.paint(color, text);
    }

    fn paint(&mut self, color: &[u8], text: &str) {
        if self.color {
            self.out.extend_from_slice(color);
        }
        self.column += ascii(text, self.out);
        if self.color {
            self.out.extend_from_slice(RESET);
        }
    }

    fn advance(&mut self, stop: usize) {
        let apart = usize::from(self.column > 0);
        let blanks = stop.saturating_sub(self.column).max(apart);
        self.out.resize(self.out.len() + blanks, b' ');
        self.column += blanks;
    }
}

fn ascii(text: &str, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(text.as_bytes());
    text.len()
}

/// Nobody asked for these ends.
const fn alarming(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::ResetSent
            | Cause::ResetReceived
            | Cause::Refused
            | Cause::Timeout
            | Cause::Unreachable
            | Cause::NoPort
    )
}
