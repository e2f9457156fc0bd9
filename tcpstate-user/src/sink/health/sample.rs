//! README's sample: the numbers of a real run, written again.

use jiff::tz::TimeZone;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::{Scope, Told};
use crate::{
    counters::{Absent, Counter, Gauge, Reading},
    decode::{Family, KtimeNs, SockAddr64, SocketKind},
    health::{Census, Health},
    session::SessionInfo,
    sink::{ReportFormat, Reports},
    track::{Cause, Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

/// A part of the run, up to a reading.
struct Part {
    ns: u64,
    /// In the order of [`COUNTERS`].
    counted: [u64; 9],
    given_up: usize,
    sockets: &'static [(TcpState, usize)],
}

const COUNTERS: [Counter; 9] = [
    Counter::ActiveOpens,
    Counter::PassiveOpens,
    Counter::AttemptFails,
    Counter::EstabResets,
    Counter::InSegs,
    Counter::OutSegs,
    Counter::RetransSegs,
    Counter::OutRsts,
    Counter::ListenOverflows,
];

const RUN: [Part; 3] = [
    Part {
        ns: 5_003_147_574,
        counted: [666, 630, 34, 0, 6365, 6364, 1, 34, 3],
        given_up: 0,
        sockets: &[
            (TcpState::Established, 2),
            (TcpState::CloseWait, 8),
            (TcpState::FinWait2, 8),
            (TcpState::TimeWait, 807),
        ],
    },
    Part {
        ns: 4_999_948_931,
        counted: [653, 585, 65, 2, 6017, 6006, 11, 66, 14],
        given_up: 5,
        sockets: &[(TcpState::TimeWait, 1400)],
    },
    Part {
        ns: 500_144_703,
        counted: [0; 9],
        given_up: 0,
        sockets: &[(TcpState::TimeWait, 1400)],
    },
];

const CHECKOUT: Process = Process {
    pid: 11_460,
    comm: *b"checkout\0\0\0\0\0\0\0\0",
};

const SK: SockAddr64 = SockAddr64(1);

const TUPLE: Tuple = Tuple {
    laddr: [0; 16],
    raddr: [0; 16],
    lport: 1,
    rport: 2,
};

fn change(at: KtimeNs, old: TcpState, new: TcpState, cause: Option<Cause>) -> Change {
    Change {
        at,
        conn: ConnId { birth: at, sk: SK },
        netns: 1,
        family: Family::Inet,
        tuple: TUPLE,
        old,
        new,
        dwell: Dwell::Unknown,
        kind: SocketKind::Full,
        origin: Some(CHECKOUT),
        cause,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn happen(part: &Part, at: KtimeNs, health: &mut Health) {
    use TcpState::{Close, Established, SynRecv, SynSent};
    let given_up = Some(Cause::Close);
    let [active, passive, failed, resets, ..] = part.counted;
    let mut each = |count: u64, old, new, cause| {
        for _ in 0..count {
            health.change(&change(at, old, new, cause));
        }
    };
    each(active, Close, SynSent, None);
    each(part.given_up as u64, SynSent, Close, given_up);
    each(passive, SynRecv, Established, None);
    each(failed, SynSent, Close, Some(Cause::Refused));
    each(resets, Established, Close, Some(Cause::ResetReceived));
    (0..passive).for_each(|_| health.accepted(at, CHECKOUT));
}

fn census(part: &Part) -> Census {
    let mut census = Census::new(Follows {
        begins: true,
        ends: true,
        requests: true,
        looks: true,
    });
    for (state, count) in part.sockets {
        let open = Open {
            conn: ConnId {
                birth: KtimeNs(1),
                sk: SK,
            },
            netns: 1,
            family: Family::Inet,
            tuple: TUPLE,
            state: *state,
            so_far: Dwell::Unknown,
            kind: SocketKind::Full,
            origin: None,
            opened: Opened::Unknown,
            was_reset: false,
        };
        (0..*count).for_each(|_| census.add(&open));
    }
    census
}

#[test]
fn the_sample_in_readme_is_what_the_sink_writes() {
    let scope = Scope {
        netns: Some(4_026_532_246),
        is_filtered: false,
        is_replay: false,
        has_accepts: true,
    };
    let info = SessionInfo {
        // 08:40:51.5 when the kernel's clock says 1 s.
        clock_offset_ns: 1_795_336_850_500_000_000,
        ..SessionInfo::default()
    };
    let mut out = Vec::new();
    let mut sink = Reports::with_zone(ReportFormat::Table, &mut out, false, &info, TimeZone::UTC);
    let mut health = Health::default();
    let mut reading = Reading::absent(KtimeNs(1_000_000_000), Absent::NoField);
    for counter in Counter::ALL {
        reading.set_counter(counter, Ok(0));
    }
    reading.set_gauge(Gauge::Orphans, Ok(0));
    reading.set_gauge(Gauge::MemoryPages, Ok(316));
    health.begin(reading);
    sink.health_head(&scope).unwrap();
    for (number, part) in RUN.iter().enumerate() {
        reading.at.0 += part.ns;
        for (counter, more) in COUNTERS.into_iter().zip(part.counted) {
            let before = reading.counter(counter).unwrap();
            reading.set_counter(counter, Ok(before + more));
        }
        let drops = reading.counter(Counter::ListenOverflows);
        reading.set_counter(Counter::ListenDrops, drops);
        happen(part, reading.at, &mut health);
        health.read(reading);
        let is_final = number + 1 == RUN.len();
        let line = health.line((reading.at, reading.at), census(part), is_final);
        let told = Told {
            line: &line,
            scope: &scope,
            with_head: number == 0,
        };
        sink.health(&told).unwrap();
    }
    let written = String::from_utf8(out).unwrap();
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));
    assert!(readme.contains(&written), "{written}");
}
