//! What a tool says it has delivered and lost.
//!
//! Peers say it in text only; so does our table. Where there is a structure, it
//! is that which is read.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use tcpstate::session::EndInfo;

use crate::{arm::Files, process::output};

/// Where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Our line on standard error.
    Session,
    /// Our last line of JSON.
    EndLine,
    /// A line of output for each, beginning so; losses anywhere.
    Lines(&'static str),
    /// In the statistics of perf's recording.
    Perf,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: Option<u64>,
    /// None: it says that it has lost something, and not how much.
    pub(crate) lost: Option<u64>,
}

impl Account {
    /// Reads it once the tool has ended.
    pub(crate) fn read(self, files: &Files) -> Result<Counts> {
        match self {
            Self::Session => session(&read(&files.errors)?).context("no account on standard error"),
            Self::EndLine => end_line(&files.output),
            Self::Lines(begin) => lines(begin, files),
            Self::Perf => {
                let mut stats = Command::new("perf");
                stats
                    .args(["report", "--stats", "-i"])
                    .arg(&files.recording);
                Ok(perf(&output(stats.stderr(Stdio::null()))?))
            }
        }
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `tcpstate: 20 transitions of 4 connections; 3 of 50 records lost: 3 …`
fn session(errors: &str) -> Option<Counts> {
    let line = errors
        .lines()
        .find(|line| line.contains(" transitions of "))?;
    let before = |what: &str| -> Option<u64> {
        let (before, _) = line.split_once(what)?;
        before.rsplit([' ', ';']).next()?.parse().ok()
    };
    let lost = line.split_once(" records lost").and_then(|(before, _)| {
        let mut words = before.rsplit(' ');
        words.nth(2)?.parse().ok()
    });
    Some(Counts {
        delivered: Some(before(" transitions of ")?),
        lost: Some(lost.unwrap_or(0)),
    })
}

fn end_line(path: &Path) -> Result<Counts> {
    /// Longer than an end line; lines of reports are before it.
    const TAIL: u64 = 8 << 10;
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let tail = String::from_utf8_lossy(&tail);
    let line = tail.lines().next_back().context("no end line")?;
    let end: EndInfo = serde_json::from_str(line).with_context(|| format!("no end: {line}"))?;
    Ok(Counts {
        delivered: Some(end.transitions),
        lost: end.lost.map(|lost| lost.values().sum()),
    })
}

fn lines(begin: &str, files: &Files) -> Result<Counts> {
    let (mut delivered, mut told) = (0, 0);
    for path in [&files.output, &files.errors] {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        for line in BufReader::with_capacity(1 << 18, file).split(b'\n') {
            let line = line?;
            if line.starts_with(begin.as_bytes()) {
                delivered += 1;
            } else {
                told += lost(&String::from_utf8_lossy(&line));
            }
        }
    }
    Ok(Counts {
        delivered: Some(delivered),
        lost: Some(told),
    })
}

/// `lost 5 events on CPU #0!`, `Lost 5 events`, `Possibly lost 5 samples`
fn lost(line: &str) -> u64 {
    let mut words = line.split_whitespace();
    let found = words.find(|word| word.eq_ignore_ascii_case("lost"));
    let number = found.and_then(|_| words.next()?.parse().ok());
    number.unwrap_or(0)
}

/// `          SAMPLE events:         20  (76.9%)`
fn perf(stats: &str) -> Counts {
    let of = |kind: &str| -> Option<u64> {
        let line = stats.lines().find_map(|line| {
            let (name, rest) = line.trim().split_once(" events:")?;
            (name == kind).then_some(rest)
        });
        line?.split_whitespace().next()?.parse().ok()
    };
    // Each of these says how many were lost; the statistics have only how often.
    let losses = of("LOST").unwrap_or(0) + of("LOST_SAMPLES").unwrap_or(0);
    Counts {
        delivered: Some(of("SAMPLE").unwrap_or(0)),
        lost: (losses == 0).then_some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_line_says_what_came_and_what_was_lost() {
        let counts = |delivered, lost| Counts {
            delivered: Some(delivered),
            lost: Some(lost),
        };
        assert_eq!(
            session("tcpstate: 20 transitions of 4 connections, nothing lost\n"),
            Some(counts(20, 0))
        );
        assert_eq!(
            session("x\ntcpstate: 20 transitions of 4 connections; 12 of 50 records lost: 12 y\n"),
            Some(counts(20, 12))
        );
        assert_eq!(session("tcpstate: no privilege\n"), None);
    }

    #[test]
    fn every_peer_says_in_its_own_words_what_it_has_lost() {
        assert_eq!(lost("lost 5 events on CPU #0!"), 5);
        assert_eq!(lost("Lost 17 events"), 17);
        assert_eq!(lost("Possibly lost 3 samples"), 3);
        assert_eq!(lost("ffff 1 lost CLOSE"), 0);
        let stats = "  TOTAL events:  26\n  SAMPLE events:   20  (76.9%)\n";
        let of = |stats| {
            let counts = perf(stats);
            (counts.delivered, counts.lost)
        };
        assert_eq!(of(stats), (Some(20), Some(0)));
        assert_eq!(
            of(&format!("{stats} LOST events: 2 ( 1%)")),
            (Some(20), None)
        );
    }

    #[test]
    fn the_end_line_is_read_as_what_it_was_written_from() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output");
        let end = r#"{"type":"end","seen":9,"delivered":7,"lost":{"ring_full":2},"undecodable":0,"transitions":6,"connections":1,"complete":true}"#;
        std::fs::write(&path, format!("{{}}\n{end}\n")).unwrap();
        let counts = end_line(&path).unwrap();
        assert_eq!((counts.delivered, counts.lost), (Some(6), Some(2)));
    }
}
