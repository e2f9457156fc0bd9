//! `sar -n TCP,ETCP` beside `health` on the same seconds.
//!
//! The traffic lies within the time of both, so that both must have counted all
//! of it and nothing else: `sadf -r` has the counters that `sar` read, whose
//! differences are compared to the unit. The rates that `sar` prints over its whole
//! time must be those of `health` over its own, within what two decimals and two
//! clocks that begin at different moments can make.

use std::{collections::BTreeMap, path::Path, process::Command, thread, time::Duration};

use serde_json::Value;

use super::{health, number, settled, stop};
use crate::{
    clock::{Interval, Noise, now, timed, wait_for},
    facts,
    net::{Listener, bound, connect_error, socket},
    ns::Netns,
    process::output,
    tool::Tool,
};

/// Seconds that `sar` watches.
const SECONDS: u64 = 6;

/// What `sar` calls it, and what `health` does.
const RATES: [(&str, &str, &str); 9] = [
    ("active/s", "active_opens", "active_per_s"),
    ("passive/s", "passive_opens", "passive_per_s"),
    ("iseg/s", "in_segs", "in_segs_per_s"),
    ("oseg/s", "out_segs", "out_segs_per_s"),
    ("atmptf/s", "attempt_fails", "attempt_fails_per_s"),
    ("estres/s", "estab_resets", "estab_resets_per_s"),
    ("retrans/s", "retrans_segs", "retrans_per_s"),
    ("isegerr/s", "in_errs", "in_errs_per_s"),
    ("orsts/s", "out_rsts", "out_rsts_per_s"),
];

/// Connections of every kind, some hundred in a second.
fn traffic(listener: &Listener) {
    let (_held, nobody) = bound("127.0.0.1:0".parse().unwrap());
    let began = now();
    for count in 0.. {
        let (client, server) = listener.pair();
        match count % 5 {
            0 => {
                client.abort();
            }
            1 => {
                connect_error(&socket(nobody), nobody);
            }
            _ => {
                client.send(b"hello");
                server.receive(5);
            }
        }
        thread::sleep(Duration::from_millis(2));
        if now() - began > 2_000_000_000 {
            break;
        }
    }
}

/// The counters that `sar` saw last, less those that it saw first.
fn differences(raw: &str) -> BTreeMap<String, u64> {
    let mut seen: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for line in raw.lines() {
        let words: Vec<_> = line.split(';').map(str::trim).collect();
        for part in words[1..].chunks_exact(3) {
            let [first, last] = [part[1], part[2]].map(|word| word.parse().unwrap());
            seen.entry(part[0].to_owned())
                .and_modify(|both| both.1 = last)
                .or_insert((first, last));
        }
    }
    let difference = |(name, (first, last)): (String, (u64, u64))| (name, last - first);
    seen.into_iter().map(difference).collect()
}

/// The averages that `sar` prints at its end.
fn averages(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| line.starts_with("Average:"));
    let lines: Vec<Vec<_>> = lines
        .map(|line| line.split_whitespace().collect())
        .collect();
    let mut averages = BTreeMap::new();
    for pair in lines.chunks_exact(2) {
        for (name, number) in pair[0].iter().zip(&pair[1]).skip(1) {
            averages.insert((*name).to_owned(), number.parse().unwrap());
        }
    }
    averages
}

/// Starts `sar` in the namespace, and waits until it has read for the first time.
fn watch(inside: &Netns, file: &Path) -> Tool {
    let mut command = Command::new("sar");
    command
        .args(["-n", "TCP,ETCP", "-o"])
        .arg(file)
        .args(["1", &SECONDS.to_string()])
        .env("LC_ALL", "C")
        .env("S_TIME_FORMAT", "ISO");
    let sar = inside.enter(|| Tool::start(&mut command));
    // It prints its banner, and a first line a second after the first reading.
    wait_for("sar's first second", || {
        sar.stdout.text().contains("active/s").then_some(())
    });
    sar
}

/// Whether the averages of `sar` and the rates of `health` are each the same count
/// by its own time. `late`: by how much the scheduler was, at worst.
fn assert_rates(line: &Value, averages: &BTreeMap<String, f64>, watched: Interval, late: u64) {
    // Its clock ticks in hundredths of a second; it may read late for the first or
    // the last time, and it began after it was started and ended before it had ended.
    let second = |ns: u64| f64::from(u32::try_from(ns / 1000).unwrap()) / 1e6;
    let seconds = f64::from(u32::try_from(SECONDS).unwrap());
    let (shortest, longest) = (
        seconds - 0.02 - 2.0 * second(late),
        second(watched.to - watched.from),
    );
    assert!(shortest > 0.0 && longest >= shortest);
    for (theirs, total, rate) in RATES {
        let ours = number(line, &format!("/totals/{total}"));
        let count = f64::from(u32::try_from(ours).unwrap());
        let of_sar = averages[theirs];
        let (slow, fast) = (count / longest - 0.005, count / shortest + 0.005);
        assert!(
            (slow..=fast).contains(&of_sar),
            "{theirs}: {of_sar}, {count}"
        );
        let per_second = line[rate].as_f64().unwrap();
        let whole = f64::from(u32::try_from(number(line, "/interval_ns") / 1_000_000).unwrap());
        let again = per_second * whole / 1000.0;
        assert!(
            (again - count).abs() <= count / 1000.0,
            "{rate}: {again}, {count}"
        );
    }
}

#[test]
fn sar_beside_it_counts_the_same_and_prints_the_same_rates() {
    if facts::lacks("sar") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sar");
    let inside = Netns::new();
    let tool = health(&["--netns", &inside.inode.to_string(), "-i", "1s"]);
    let noise = Noise::start();
    let (sar, watched) = timed(|| {
        let sar = watch(&inside, &file);
        let listener = inside.enter(|| Listener::on("127.0.0.1:0"));
        inside.enter(|| traffic(&listener));
        settled(&inside);
        sar.done()
    });
    let late = noise.stop();
    assert_eq!(sar.code, Some(0), "{sar:?}");
    let lines = stop(tool);
    let line = lines.last().unwrap();

    let name = file.to_str().unwrap();
    let raw = output("sadf", "sysstat", &["-r", name, "--", "-n", "TCP,ETCP"]);
    let counted = differences(&raw);
    let printed = averages(&sar.stdout);
    for (theirs, total, _) in RATES {
        let ours = number(line, &format!("/totals/{total}"));
        assert_eq!(counted[theirs], ours, "{theirs}: {raw}");
    }
    assert_rates(line, &printed, watched, late);
    let must = ["active/s", "passive/s", "atmptf/s", "estres/s", "orsts/s"];
    assert!(must.iter().all(|name| counted[*name] >= 50), "{counted:?}");
    // The line of some second is above the average.
    let fastest = |rates: Vec<f64>| rates.into_iter().fold(0.0, f64::max);
    let ours = lines.iter().filter(|line| line["final"] == false);
    let ours = fastest(
        ours.map(|line| line["active_per_s"].as_f64().unwrap())
            .collect(),
    );
    assert!(ours >= printed["active/s"], "{ours}");
}
