//! Readings and changes that a test makes up.

mod agree;
mod marked;
mod spans;

use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Census, Health, Line, Name};
use crate::{
    counters::{Absent, Counter, Reading},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    track::{Cause, Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

const SECOND: u64 = 1_000_000_000;

const NOWHERE: Tuple = Tuple {
    laddr: [0; 16],
    raddr: [0; 16],
    lport: 0,
    rport: 0,
};

fn at(seconds: u64) -> KtimeNs {
    KtimeNs(seconds * SECOND)
}

fn process(pid: u32) -> Process {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    Process { pid, comm }
}

/// Of a full socket of `curl[1]`.
fn change(seconds: u64, old: TcpState, new: TcpState, cause: Option<Cause>) -> Change {
    Change {
        at: at(seconds),
        conn: ConnId {
            birth: KtimeNs(1),
            sk: SockAddr64(1),
        },
        netns: 1,
        family: Family::Inet,
        tuple: NOWHERE,
        old,
        new,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: Some(process(1)),
        cause,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn in_state(state: TcpState) -> Open {
    Open {
        conn: ConnId {
            birth: KtimeNs(1),
            sk: SockAddr64(1),
        },
        netns: 1,
        family: Family::Inet,
        tuple: NOWHERE,
        state,
        so_far: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: None,
        opened: Opened::Unknown,
        was_reset: false,
    }
}

/// Every counter at 0 but these, no gauge.
fn reading(seconds: u64, counters: &[(Counter, u64)]) -> Reading {
    let mut reading = Reading::absent(at(seconds), Absent::NoField);
    for counter in Counter::ALL {
        reading.set_counter(counter, Ok(0));
    }
    for (counter, value) in counters {
        reading.set_counter(*counter, Ok(*value));
    }
    reading
}

fn nobody() -> Census {
    Census::new(Follows::default())
}

/// A session that begins at second 10.
fn begun() -> Health {
    let mut health = Health::default();
    health.begin(reading(10, &[]));
    health
}

fn line(health: &mut Health, reading: Reading, is_final: bool) -> Line {
    health.read(reading);
    health.line((at(10), reading.at), nobody(), is_final)
}

fn names(line: &Line) -> Vec<Name> {
    line.marks.iter().map(|mark| mark.name).collect()
}
