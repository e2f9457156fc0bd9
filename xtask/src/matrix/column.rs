//! What one run of the live tests has told: facts, and how the tests ended.
//!
//! It reads lines, and does not know where they come from.

use std::time::{Duration, Instant};

use anyhow::Result;

/// What a test has established (`tests/live/facts.rs`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) value: String,
}

impl Fact {
    /// Topic, key and value with tabs between.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, '\t').map(str::to_owned);
        Some(Self {
            topic: parts.next()?,
            key: parts.next()?,
            value: parts.next()?,
        })
    }
}

/// What became of the tests, by the line that libtest ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tests {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    /// By the arguments that the test runner was given.
    pub(crate) left_out: u32,
}

impl Tests {
    /// Both: what one run has left out, another has made up for.
    fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            left_out: self.left_out.saturating_sub(other.passed + other.failed),
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 2 filtered
    /// out; finished in 1.00s`
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("test result: ")?;
        let number = |word: &str| {
            let part = line
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse().ok()
        };
        Some(Self {
            passed: number("passed")?,
            failed: number("failed")?,
            left_out: number("filtered out")? + number("ignored")?,
        })
    }
}

/// How a run ended, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    Failed(String),
    /// And why not.
    NotRun(String),
}

/// A run on one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The kernel, as the table of kernels calls it.
    pub(crate) name: String,
    pub(crate) facts: Vec<Fact>,
    /// `None` when the tests did not come to their end.
    pub(crate) tests: Option<Tests>,
    pub(crate) took: Duration,
    pub(crate) end: End,
}

impl Column {
    /// Filled by a run, and by how it ends.
    pub(crate) fn run(name: &str, run: impl FnOnce(&mut Self) -> Result<()>) -> Self {
        let mut column = Self::not_run(name, "not begun");
        let begin = Instant::now();
        column.end = match run(&mut column) {
            Ok(()) => End::Passed,
            Err(error) => End::Failed(format!("{error:#}")),
        };
        column.took = begin.elapsed();
        column
    }

    pub(crate) fn not_run(name: &str, reason: &str) -> Self {
        Self {
            name: name.to_owned(),
            facts: Vec::new(),
            tests: None,
            took: Duration::ZERO,
            end: End::NotRun(reason.to_owned()),
        }
    }

    /// A line of the test runner.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(tests) = Tests::parse(line) {
            self.tests = Some(self.tests.map_or(tests, |before| before.and(tests)));
        }
    }

    /// The last word on something.
    pub(crate) fn value(&self, topic: &str, key: &str) -> Option<&str> {
        let mut facts = self.facts.iter().rev();
        let fact = facts.find(|fact| fact.topic == topic && fact.key == key)?;
        Some(&fact.value)
    }

    /// Whether all tests there are have been run to their end.
    pub(crate) fn is_whole(&self) -> bool {
        self.tests.is_some_and(|tests| tests.left_out == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_has_three_parts_and_the_last_may_hold_anything() {
        let fact = Fact::parse("cause\texpired/fentry\tlimit: a\tb").unwrap();
        assert_eq!(
            (fact.topic.as_str(), fact.value.as_str()),
            ("cause", "limit: a\tb")
        );
        assert_eq!(Fact::parse("cause\texpired"), None);
    }

    #[test]
    fn the_numbers_of_the_test_runner_are_read_and_nothing_else() {
        let mut column = Column::not_run("6.1", "");
        column.read("test a::b ... ok");
        assert_eq!(column.tests, None);
        column.read(
            "test result: FAILED. 61 passed; 15 failed; 1 ignored; 0 measured; 2 filtered out; \
             finished in 182.27s",
        );
        let tests = Tests {
            passed: 61,
            failed: 15,
            left_out: 3,
        };
        assert_eq!(column.tests, Some(tests));
        assert!(!column.is_whole());
        column.read(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 77 filtered out; \
             finished in 60.00s",
        );
        assert_eq!(column.tests.map(|tests| tests.passed), Some(64));
        assert!(column.is_whole(), "two runs, all tests");
    }
}
