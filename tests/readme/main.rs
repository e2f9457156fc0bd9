//! README, checked against the program: its commands are commands, its sample
//! is what the program prints.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, helpers of tests too"
)]

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tcpstate::cli;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The contents of the fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(language) {
            let block: Vec<_> = lines
                .by_ref()
                .take_while(|line| !line.starts_with("```"))
                .collect();
            blocks.push(block.join("\n"));
        }
    }
    blocks
}

/// Every command line of README, without its comment.
fn commands() -> Vec<Vec<String>> {
    let words = |line: &str| {
        let command = line.split(" #").next().unwrap_or_default();
        command.split_whitespace().map(str::to_owned).collect()
    };
    let commands: Vec<Vec<String>> = blocks("sh")
        .iter()
        .flat_map(|block| block.lines().map(words).collect::<Vec<_>>())
        .filter(|command: &Vec<String>| !command.is_empty())
        .collect();
    assert!(commands.len() >= 10, "README lost its commands");
    commands
}

#[test]
fn every_tcpstate_command_in_readme_is_understood() {
    let mut checked = 0;
    for command in commands() {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let ["cargo", "xtask", "run", "--", args @ ..] = words.as_slice() else {
            continue;
        };
        let args = ["tcpstate"].iter().chain(args).map(OsString::from);
        if let Err(error) = cli::parse_from(args) {
            panic!("{command:?}: {error}");
        }
        checked += 1;
    }
    assert!(checked >= 6, "only {checked} commands found");
}

#[test]
fn every_xtask_command_in_readme_exists() {
    let tasks = fs::read_to_string(repository().join("xtask/src/main.rs")).unwrap();
    for command in commands() {
        if let ["cargo", "xtask", task, ..] = command
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .as_slice()
        {
            let mut variant = (*task).to_owned();
            variant[..1].make_ascii_uppercase();
            let is_variant = |line: &str| {
                let rest = line.trim().strip_prefix(variant.as_str());
                rest.is_some_and(|rest| rest.starts_with([',', '(', ' ']))
            };
            assert!(tasks.lines().any(is_variant), "xtask has no command {task}");
        }
    }
}

/// The samples are a recording of a real run, replayed.
#[test]
fn the_samples_in_readme_are_what_the_program_prints() {
    let mut shown = blocks("text");
    // Those of `leaks` and `health`, which no recording has, are checked beside
    // their sinks.
    let others = ["never_closed", "passive/s"];
    let is_other = |sample: &mut String| others.iter().any(|word| sample.contains(word));
    let elsewhere = shown.extract_if(.., is_other).count();
    assert_eq!(elsewhere, others.len());
    let samples = [
        ("trace -D 8080", "sample"),
        ("trace --connections -D 8080,8090", "connections"),
        ("dwell -D 8080", "sample"),
        ("explain 2315066e5969-fdb200", "connections"),
    ];
    for ((view, recording), shown) in samples.iter().zip(&shown) {
        let output = Command::new(env!("CARGO_BIN_EXE_tcpstate"))
            .args(view.split(' '))
            .arg("--replay")
            .arg(repository().join(format!("tests/readme/{recording}.tcpstate")))
            .env("TZ", "UTC")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            printed.trim_end(),
            shown.trim_end(),
            "README's sample of {view} is out of date"
        );
    }
    assert_eq!(shown.len(), samples.len(), "a sample that nobody checks");
}

#[test]
fn every_link_in_readme_leads_to_a_file() {
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let targets: Vec<_> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .collect();
    assert!(targets.len() >= 8, "README lost its links");
    for target in targets {
        assert!(repository().join(target).exists(), "no {target}");
    }
}
