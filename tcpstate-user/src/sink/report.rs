//! What is said once: the report of `tcpstate doctor`, and how a session ended.

use serde::Serialize;

use super::{Untrusted, json};
use crate::{
    doctor::{Btf, DoctorReport, SignalRow},
    session::EndInfo,
};

/// Width of the names on the left: that of the longest signal.
const NAME: usize = 22;

/// The report for people.
#[must_use]
pub fn table(report: &DoctorReport) -> Vec<u8> {
    let mut out = Vec::new();
    facts(report, &mut out);
    out.extend_from_slice(b"\n");
    line("SIGNAL", &[("HOOK", "")], &mut out);
    for row in &report.signals {
        signal(row, &mut out);
    }
    let missing = report.signals.iter().filter(|row| row.chosen.is_none());
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        out.extend_from_slice(b"\nCannot be measured here:\n");
    }
    for row in missing {
        line(&row.signal, &[("", &row.without)], &mut out);
    }
    if !report.advice.is_empty() {
        out.extend_from_slice(b"\nWhat to do:\n");
    }
    for advice in &report.advice {
        out.extend_from_slice(b"- ");
        Untrusted::new(advice.as_bytes()).term(&mut out);
        out.push(b'\n');
    }
    out
}

/// The report as one JSON object on one line.
#[must_use]
pub fn json(report: &DoctorReport) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        report: &'a DoctorReport,
    }
    let mut out = Vec::new();
    let r#type = "doctor";
    json::object(&Line { r#type, report }, &mut out);
    out
}

/// How a session ended, in one line for standard error: what was seen and, in
/// numbers, what was lost.
#[must_use]
pub fn end(info: &EndInfo) -> String {
    let EndInfo {
        seen,
        transitions,
        connections,
        undecodable,
        lost,
        no_room,
        ..
    } = info;
    let mut line = format!("{transitions} transitions of {connections} connections");
    let (Some(seen), Some(lost)) = (seen, lost) else {
        return line + "; what followed, and whether anything was lost, is not known";
    };
    let total: u64 = lost.values().sum();
    if total == 0 {
        line += ", nothing lost";
    } else {
        let share = |(reason, count): (&String, &u64)| format!("{count} {}", shown(reason));
        let reasons: Vec<_> = lost
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(share)
            .collect();
        line += &format!("; {total} of {seen} records lost: {}", reasons.join(", "));
    }
    if *undecodable > 0 {
        line += &format!("; {undecodable} records could not be decoded");
    }
    if *no_room > 0 {
        line += &format!("; no room for {no_room} events of sockets (--max-sockets)");
    }
    line
}

fn facts(report: &DoctorReport, out: &mut Vec<u8>) {
    line("kernel", &[("", &report.kernel)], out);
    match &report.btf {
        Btf::Found(place) => line("BTF", &[("", place)], out),
        Btf::Missing(why) => line("BTF", &[("missing: ", why)], out),
    }
    for (title, held) in [("capabilities", true), ("not held", false)] {
        let group = report.capabilities.iter().filter(|cap| cap.held == held);
        let names: Vec<_> = group.map(|cap| cap.name.as_str()).collect();
        if !names.is_empty() {
            line(title, &[("", &names.join(" "))], out);
        }
    }
    let lockdown = report.lockdown.as_deref().unwrap_or("not told");
    line("lockdown", &[("", lockdown)], out);
    limits(report, out);
}

/// The defaults, and what they were made of.
fn limits(report: &DoctorReport, out: &mut Vec<u8>) {
    let cpus = match report.cpus {
        1 => "1 CPU".to_owned(),
        cpus => format!("{cpus} CPUs"),
    };
    let ring = format!("{} for {cpus} (--ring-size)", size(report.ring_bytes));
    line("ring buffer", &[("", &ring)], out);
    let memory = report.memory_bytes >> 20;
    let sockets = report.max_sockets;
    let sockets = format!("{sockets} at most for {memory} MiB of memory (--max-sockets)");
    line("sockets", &[("", &sockets)], out);
}

fn signal(row: &SignalRow, out: &mut Vec<u8>) {
    line(
        &row.signal,
        &[("", row.chosen.as_deref().unwrap_or("-"))],
        out,
    );
    for refusal in &row.refused {
        line("", &[("not ", &refusal.hook), (": ", &refusal.reason)], out);
    }
}

/// A name on the left, and on the right texts of others after words of ours.
fn line(name: &str, parts: &[(&str, &str)], out: &mut Vec<u8>) {
    let width = Untrusted::new(name.as_bytes()).term(out);
    out.resize(out.len() + NAME.saturating_sub(width).max(1), b' ');
    for (ours, theirs) in parts {
        out.extend_from_slice(ours.as_bytes());
        Untrusted::new(theirs.as_bytes()).term(out);
    }
    out.push(b'\n');
}

/// In the largest unit that divides it.
fn size(bytes: u64) -> String {
    match bytes {
        0 => "none".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

fn shown(text: &str) -> String {
    let mut out = Vec::new();
    Untrusted::new(text.as_bytes()).term(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::{
        doctor::{Btf, Capability, DoctorReport, Refusal, SignalRow},
        session::EndInfo,
    };

    fn report() -> DoctorReport {
        let capability = |name: &str, held| Capability {
            name: name.to_owned(),
            held,
        };
        let row = |signal: &str, chosen: Option<&str>, without: &str| SignalRow {
            signal: signal.to_owned(),
            chosen: chosen.map(str::to_owned),
            refused: vec![Refusal {
                hook: "fexit inet_csk_accept".to_owned(),
                reason: "no \x1b[31mtrampoline".to_owned(),
            }],
            without: without.to_owned(),
        };
        DoctorReport {
            kernel: "6.1.0-1-amd64".to_owned(),
            btf: Btf::Found("/sys/kernel/btf/vmlinux".to_owned()),
            capabilities: vec![
                capability("CAP_BPF", true),
                capability("CAP_PERFMON", false),
            ],
            lockdown: None,
            signals: vec![
                row(
                    "transition",
                    Some("raw_tp inet_sock_set_state"),
                    "nothing works",
                ),
                row("accepted", None, "the accepting process"),
            ],
            ring_bytes: 16 << 20,
            max_sockets: 229_376,
            cpus: 2,
            memory_bytes: 2 << 30,
            advice: vec!["Run as root.".to_owned()],
        }
    }

    #[test]
    fn the_report_reads_from_facts_to_advice() {
        let expected = "\
kernel                6.1.0-1-amd64
BTF                   /sys/kernel/btf/vmlinux
capabilities          CAP_BPF
not held              CAP_PERFMON
lockdown              not told
ring buffer           16 MiB for 2 CPUs (--ring-size)
sockets               229376 at most for 2048 MiB of memory (--max-sockets)

SIGNAL                HOOK
transition            raw_tp inet_sock_set_state
                      not fexit inet_csk_accept: no \\u{1b}[31mtrampoline
accepted              -
                      not fexit inet_csk_accept: no \\u{1b}[31mtrampoline

Cannot be measured here:
accepted              the accepting process

What to do:
- Run as root.
";
        assert_eq!(
            String::from_utf8(super::table(&report())).unwrap(),
            expected
        );
    }

    #[test]
    fn the_report_comes_back_from_json() {
        let line = super::json(&report());
        assert!(line.iter().all(|&byte| byte == b'\n' || byte >= b' '));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["type"], "doctor");
        assert_eq!(
            serde_json::from_value::<DoctorReport>(value).unwrap(),
            report()
        );
    }

    #[test]
    fn the_end_says_what_was_lost_and_why() {
        let mut info = EndInfo {
            seen: Some(10),
            delivered: Some(7),
            lost: Some(BTreeMap::new()),
            transitions: 6,
            connections: 2,
            ..EndInfo::default()
        };
        let fine = "6 transitions of 2 connections, nothing lost";
        assert_eq!(super::end(&info), fine);
        info.lost = Some(BTreeMap::from([
            ("ring_full".to_owned(), 3),
            ("stopped".to_owned(), 0),
        ]));
        info.undecodable = 1;
        let lossy = "6 transitions of 2 connections; 3 of 10 records lost: 3 ring_full; 1 records could not be decoded";
        assert_eq!(super::end(&info), lossy);
        info.no_room = 5;
        let full = lossy.to_owned() + "; no room for 5 events of sockets (--max-sockets)";
        assert_eq!(super::end(&info), full);
    }
}
