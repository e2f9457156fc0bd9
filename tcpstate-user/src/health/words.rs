//! The sentences of the marks.

use super::{Failure, Line, Tally};
use crate::{counters::Value, track::Process};

/// Processes that a sentence names.
const NAMED: usize = 3;

/// A page of this machine, for what the kernel counts in pages.
fn bytes(pages: u64) -> String {
    let page = rustix::param::page_size() as u64;
    let kib = pages.saturating_mul(page) >> 10;
    if kib >= 10 << 10 {
        format!("{} MiB", kib >> 10)
    } else {
        format!("{kib} KiB")
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{count} {what}")
}

/// Who did most of it: `curl[123] 38, nginx[9] 2`.
fn who(line: &Line, count: fn(&Tally) -> u64) -> String {
    let mut all: Vec<_> = line
        .processes
        .iter()
        .filter(|(_, did)| count(did) > 0)
        .collect();
    all.sort_by_key(|(_, did)| std::cmp::Reverse(count(did)));
    let named = all.iter().take(NAMED);
    let named = named.map(|(process, did)| format!("{} {}", name(process), count(did)));
    let mut named: Vec<_> = named.collect();
    let others = all.iter().skip(NAMED).map(|(_, did)| count(did));
    let others = others.sum::<u64>() + line.others.map_or(0, |share| count(&share.tally));
    if others > 0 {
        named.push(format!("others {others}"));
    }
    match named.is_empty() {
        true => String::new(),
        false => format!(": {}", named.join(", ")),
    }
}

fn name(process: &Process) -> String {
    let end = process.comm.iter().position(|byte| *byte == 0);
    let comm = &process.comm[..end.unwrap_or(process.comm.len())];
    format!("{}[{}]", String::from_utf8_lossy(comm), process.pid)
}

pub(super) fn no_port(line: &Line) -> String {
    let connects = counted(line.events.no_port, "connect", "connects");
    let who = who(line, |did| did.no_port);
    format!("{connects} found no free port (EADDRNOTAVAIL){who}")
}

pub(super) fn overflow(count: u64) -> String {
    let times = counted(count, "handshake", "handshakes");
    format!("{times} found the accept queue of a listener full: its accept loop is behind")
}

pub(super) fn dropped(others: u64, queue: Option<u64>, cookies: Option<u64>) -> String {
    let mut parts = Vec::new();
    if others > 0 {
        parts.push(format!(
            "listeners dropped {} for another reason than a full accept queue",
            counted(others, "segment", "segments")
        ));
    }
    if let Some(queue) = queue {
        parts.push(format!(
            "too many handshakes were under way for {}",
            counted(queue, "SYN", "SYNs")
        ));
    }
    if let Some(cookies) = cookies {
        parts.push(format!(
            "{} answered by a cookie",
            counted(cookies, "SYN was", "SYNs were")
        ));
    }
    parts.join(", ")
}

pub(super) fn timewait_refused(refused: u64, max: Value) -> String {
    let max = max.map_or(String::new(), |max| format!(" ({max})"));
    format!(
        "{} closed without TIME_WAIT: tcp_max_tw_buckets{max} was reached",
        counted(refused, "connection was", "connections were")
    )
}

pub(super) fn timewait_near(now: u64, max: u64) -> String {
    format!("{now} sockets are in TIME_WAIT or FIN_WAIT2, of at most {max} (tcp_max_tw_buckets)")
}

pub(super) fn memory(pages: Option<u64>, pressure: Option<u64>, times: Option<u64>) -> String {
    let now = pages.map_or("an unknown part".to_owned(), bytes);
    let from = pressure.map_or(String::new(), |pages| {
        format!(", pressure begins at {} (tcp_mem)", bytes(pages))
    });
    let times = times.map_or(String::new(), |times| {
        format!(", came under pressure {}", counted(times, "time", "times"))
    });
    format!("buffers of TCP sockets take {now} of this host{from}{times}")
}

pub(super) fn orphans_reset(count: u64) -> String {
    format!(
        "{} reset after close because there were too many orphans or too little memory",
        counted(count, "socket was", "sockets were")
    )
}

pub(super) fn orphans_near(now: u64, max: u64) -> String {
    format!("{now} orphans on this host, of at most {max} (tcp_max_orphans)")
}

pub(super) fn orphans_grow(then: u64, now: u64) -> String {
    format!(
        "orphans on this host grew from {then} to {now}: closed sockets whose peers do not answer"
    )
}

pub(super) fn retransmitted(again: u64, sent: u64, share: f64) -> String {
    format!(
        "{:.2} % of the segments were sent again ({again} of {sent}): packets are lost, or late",
        share * 100.0
    )
}

pub(super) fn bad(bad: u64, all: u64, checksum: Option<u64>) -> String {
    let checksum = checksum.map_or(String::new(), |count| {
        format!(", {count} of them with a wrong checksum")
    });
    format!("{bad} of {all} segments received were bad{checksum}: look at the network card")
}

pub(super) fn failed(failed: u64, line: &Line) -> String {
    let events = &line.events;
    let ways = [
        (Failure::Refused, "refused"),
        (Failure::TimedOut, "not answered"),
        (Failure::Unreachable, "unreachable"),
        (Failure::Killed, "killed"),
        (Failure::Handshake, "broken off on the listener's side"),
    ];
    let ways = ways
        .into_iter()
        .filter(|(failure, _)| events.failures(*failure) > 0)
        .map(|(failure, how)| format!("{} {how}", events.failures(failure)));
    let ways: Vec<_> = ways.collect();
    let ways = match ways.is_empty() {
        true => String::new(),
        false => format!(" ({})", ways.join(", ")),
    };
    let attempts = counted(failed, "attempt", "attempts");
    format!(
        "{attempts} to connect failed{ways}{}",
        who(line, Tally::failed)
    )
}

pub(super) fn reset(resets: u64, line: &Line) -> String {
    let connections = counted(resets, "connection", "connections");
    let who = who(line, |did| did.resets);
    format!("{connections} ended in a reset or were given up{who}")
}

pub(super) fn close_wait(then: u64, now: u64) -> String {
    format!("sockets that only their process can close (CLOSE_WAIT) grew from {then} to {now}")
}
