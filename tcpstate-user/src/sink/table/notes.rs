//! What a report's numbers mean, and what to do, where there is something to
//! say: sentences under the last report.

use tcpstate_common::state::TcpState;

use crate::{
    dwell::{MAX_GROUPS, Report, Row, Unmeasured},
    sink::duration,
    track::Dwell,
};

/// A process that has not closed its socket for this long has forgotten it, or
/// is stuck: nothing else is waited for in `CLOSE_WAIT`.
const FORGOTTEN_NS: u64 = 60_000_000_000;

/// Linux sends a SYN again after this time: RFC 6298 section 2.1, `TCP_TIMEOUT_INIT`
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h#L145>
const SYN_AGAIN_NS: u64 = 1_000_000_000;

pub(super) fn dwell(report: &Report, out: &mut Vec<u8>) {
    let notes: Vec<String> = [
        (report.rows.is_empty()).then(|| "Nothing was seen in any of these states.".to_owned()),
        unanswered(report),
        forgotten(report),
        unmeasured(report),
        any(report, |row| row.at_least > 0).then(|| {
            "`>=` counts stays whose begin was not seen: longer than known, in no other column."
                .to_owned()
        }),
        any(report, |row| row.unknown > 0).then(|| {
            "`?` counts stays that are over and whose length nothing tells, as after a loss."
                .to_owned()
        }),
        any(report, |row| row.key.is_rest).then(|| {
            format!(
                "More than {MAX_GROUPS} groups: (rest) has all others. A filter makes them fewer."
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !notes.is_empty() {
        out.push(b'\n');
    }
    for note in notes {
        out.extend_from_slice(note.as_bytes());
        out.push(b'\n');
    }
}

fn any(report: &Report, which: impl Fn(&Row) -> bool) -> bool {
    report.rows.iter().any(which)
}

fn of(report: &Report, state: TcpState) -> impl Iterator<Item = &Row> {
    report.rows.iter().filter(move |row| row.key.state == state)
}

fn unanswered(report: &Report) -> Option<String> {
    let exact = of(report, TcpState::SynSent).filter_map(|row| row.exact);
    let longest = exact.map(|exact| exact.max_ns).max()?;
    (longest >= SYN_AGAIN_NS).then(|| {
        format!(
            "SYN_SENT took up to {}: a SYN without an answer is sent again after 1 s, 3 s, 7 s.\n\
             Look for a full accept queue, a firewall, or packets that are lost.",
            human(longest)
        )
    })
}

fn forgotten(report: &Report) -> Option<String> {
    let waiting = || of(report, TcpState::CloseWait);
    let longest = waiting().filter_map(|row| match row.oldest {
        Some(Dwell::Exact(ns) | Dwell::AtLeast(ns)) => Some(ns),
        _ => None,
    });
    let longest = longest.max().filter(|ns| *ns >= FORGOTTEN_NS)?;
    let count: u64 = waiting().map(|row| row.open).sum();
    let whose = match report.keys.process {
        true => "",
        false => "\n`--state close-wait --by process` says which.",
    };
    Some(format!(
        "CLOSE_WAIT ends only when the process closes the socket: {count} wait, one of them for {}.{whose}",
        human(longest)
    ))
}

fn unmeasured(report: &Report) -> Option<String> {
    let what: Vec<String> = report
        .unmeasured
        .iter()
        .map(|(state, what)| match what {
            Unmeasured::All => state.name().to_owned(),
            Unmeasured::AfterClose => format!("{} after close()", state.name()),
        })
        .collect();
    (!what.is_empty()).then(|| {
        format!(
            "Not measured here: {}. No hook tells when\n\
             minisockets begin and end: `tcpstate doctor` says why.",
            what.join(", ")
        )
    })
}

fn human(ns: u64) -> String {
    let mut out = Vec::new();
    duration::human(ns, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
