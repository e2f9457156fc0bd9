//! The live tests on this machine's own kernel.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    cargo,
    exec::lines,
    machine::{self, workspace},
    matrix::{Column, Fact},
};

/// The column of this machine.
pub(crate) fn here() -> Column {
    Column::run("here", run)
}

/// The target `live` is not part of `cargo test`: it wants root.
fn run(column: &mut Column) -> Result<()> {
    let directory = workspace().join("target/vm");
    fs::create_dir_all(&directory)?;
    let facts = directory.join("here.facts");
    begin_facts(&facts)?;
    let threads = format!("--test-threads={THREADS}");
    // Each of these for itself: every other test's instance would see it too.
    let skipped = ALONE.iter().flat_map(|name| ["--skip", *name]);
    let most: Vec<_> = [threads.as_str()].into_iter().chain(skipped).collect();
    let mut verdict = pass(column, &facts, &most);
    for name in ALONE {
        verdict = verdict.and(pass(column, &facts, &[name]));
    }
    let told = fs::read_to_string(&facts).with_context(|| facts.display().to_string())?;
    column.facts.extend(told.lines().filter_map(Fact::parse));
    verdict
}

/// Tests that make so many connections that nothing can be measured beside them.
const ALONE: [&str; 3] = ["timewait_many", "leaks::cost", "overload"];

/// How the verdict on a test begins that is wrong (`tests/vm/init` says the same).
pub(crate) const EACH_TIME: &str = "failed each time";

/// Runs the tests that `arguments` choose. What failed is run once more, alone,
/// and told either way, as in the emulated machine (`tests/vm/init`): a CPU that
/// its host takes away for tens of milliseconds is beyond every bound that a test
/// measures, and a test that is wrong fails each time.
fn pass(column: &mut Column, facts: &Path, arguments: &[&str]) -> Result<()> {
    let mut failed = Vec::new();
    let first = run_tests(facts, arguments, |line| {
        column.read(line);
        failed.extend(failed_test(line).map(str::to_owned));
    });
    let Err(first) = first else { return Ok(()) };
    let mut each_time = Vec::new();
    for name in &failed {
        let mut said = Said::default();
        let second = run_tests(facts, &["--exact", name], |line| said.read(line));
        let verdict = match second {
            Ok(()) => "failed, passed alone".to_owned(),
            Err(_) => format!("{EACH_TIME}: {}", said.message),
        };
        column.facts.push(Fact {
            topic: "again".to_owned(),
            key: name.clone(),
            value: verdict,
        });
        each_time.extend(second.is_err().then_some(name.as_str()));
    }
    match (failed.is_empty(), each_time.is_empty()) {
        // It did not even get to its end.
        (true, _) => Err(first),
        (false, true) => Ok(()),
        (false, false) => Err(first.context(format!("{EACH_TIME}: {}", each_time.join(", ")))),
    }
}

/// The name in `test leaks::name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// The first line of what a failed test says of itself: the one that follows
/// `thread 'name' panicked at file:line:`.
#[derive(Default)]
struct Said {
    follows: bool,
    message: String,
}

impl Said {
    fn read(&mut self, line: &str) {
        if self.follows && self.message.is_empty() {
            self.message = line.chars().take(LONGEST).collect();
        }
        self.follows = line.contains(" panicked at ");
    }
}

/// Characters of a message: some print all they have seen.
const LONGEST: usize = 300;

fn run_tests(facts: &Path, arguments: &[&str], read: impl FnMut(&str)) -> Result<()> {
    let mut test = cargo::command("test");
    if !machine::is_root() {
        // Fails early and by name if there is no sudo.
        machine::privileged("true")?;
        test.args(["--config", "target.'cfg(unix)'.runner = 'sudo -E'"]);
    }
    test.args(["--locked", "--package=tcpstate-user", "--test=live", "--"])
        .args(arguments)
        .env("TCPSTATE_FACTS", facts);
    lines(&mut test, read)
}

/// Tests at once. Most of the time goes by waiting; libtest would run as many as
/// there are CPUs, and one minute of `TIME_WAIT` after the other.
const THREADS: u32 = 8;

/// Tests, by parts of their names, that wait for the kernel's timers: in an
/// emulated machine, which has no CPU to spare, they run beside the others
/// (`tests/vm/init`).
pub(crate) const WAITING: &[&str] = &["timewait"];

fn begin_facts(file: &Path) -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let fact = format!("kernel\trelease\t{}\n", release.trim());
    fs::write(file, fact).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_says_is_the_line_after_its_place() {
        let mut said = Said::default();
        said.read("running 1 test");
        said.read("thread 'a' (7) panicked at tests/live/a.rs:3:5:");
        said.read("waited in vain: its end");
        said.read("thread 'a' (7) panicked at tests/live/b.rs:3:5:");
        said.read("the second");
        assert_eq!(said.message, "waited in vain: its end");
    }

    #[test]
    fn what_failed_is_known_by_its_line() {
        let line = "test hostile::a_quoted_field_is_one_field ... FAILED";
        assert_eq!(
            failed_test(line),
            Some("hostile::a_quoted_field_is_one_field")
        );
        assert_eq!(failed_test("test hostile::a ... ok"), None);
        assert_eq!(
            failed_test("test result: FAILED. 130 passed; 1 failed"),
            None
        );
    }
}
