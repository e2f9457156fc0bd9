//! What the tracker makes of what the kernel reports: one text file per case,
//! and random histories against an oracle.
//!
//! A file is a list of steps, each followed by the lines (`>`) that it makes
//! the tracker write; the language is that of [`step`]. With
//! `TCPSTATE_BLESS=1` in the environment the answers are written into the
//! files instead of being compared: read the difference before you keep it.

mod answer;
mod course;
mod histories;
mod look;
mod over;
mod remnant;
mod soup;
mod step;
mod world;

use std::{fs, path::PathBuf};

use answer::Transcript;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios")
}

fn scenarios() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the folder of this file");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut texts: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "txt"))
        .collect();
    texts.sort();
    texts
}

/// `expected` and `actual` line by line, with what only one of them has marked.
fn difference(expected: &[&str], actual: &[&str]) -> String {
    match (expected, actual) {
        ([], []) => String::new(),
        ([left, rest @ ..], [right, more @ ..]) if left == right => {
            format!("  {left}\n{}", difference(rest, more))
        }
        (_, [right, more @ ..]) if right.starts_with('>') && !expected.contains(right) => {
            format!("+ {right}\n{}", difference(expected, more))
        }
        ([left, rest @ ..], _) => format!("- {left}\n{}", difference(rest, actual)),
        ([], [right, more @ ..]) => format!("+ {right}\n{}", difference(&[], more)),
    }
}

#[test]
fn every_scenario_gives_the_lines_it_expects() {
    let bless = std::env::var_os("TCPSTATE_BLESS").is_some();
    let mut failures = String::new();
    let paths = scenarios();
    assert!(paths.len() >= 30, "scenarios are missing");
    for path in paths {
        let expected = fs::read_to_string(&path).expect("a readable scenario");
        let name = path.file_stem().expect("a name").to_string_lossy();
        let actual = Transcript::of(&name, &expected);
        if bless {
            fs::write(&path, actual).expect("a writable scenario");
        } else if expected != actual {
            let expected: Vec<&str> = expected.lines().collect();
            let actual: Vec<&str> = actual.lines().collect();
            failures += &format!("\n{name}:\n{}", difference(&expected, &actual));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}
