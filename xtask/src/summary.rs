//! What became of each check, told once all have had their turn.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::exec::say;

/// What a check that came to its end says.
pub(crate) enum Outcome {
    Passed,
    /// This machine cannot run it, for this reason.
    NotRun(String),
}

#[derive(Default)]
pub(crate) struct Summary {
    lines: Vec<Line>,
    not_run: Vec<(String, String)>,
}

struct Line {
    name: String,
    took: Duration,
    failure: Option<String>,
}

impl Summary {
    /// Runs one check; a failure is kept, not passed on.
    pub(crate) fn check(&mut self, name: &str, run: impl FnOnce() -> Result<Outcome>) {
        say(format_args!("\n== {name}"));
        let begin = Instant::now();
        let failure = match run() {
            Ok(Outcome::Passed) => None,
            Ok(Outcome::NotRun(reason)) => {
                say(format_args!("not run here: {reason}"));
                return self.not_run.push((name.to_owned(), reason));
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(reason) = &failure {
            say(format_args!("FAILED: {reason}"));
        }
        self.lines.push(Line {
            name: name.to_owned(),
            took: begin.elapsed(),
            failure,
        });
    }

    pub(crate) fn failed(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| line.failure.is_some())
            .count()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            let word = match line.failure {
                None => "passed",
                Some(_) => "FAILED",
            };
            writeln!(f, "{word} {:7.1} s  {}", line.took.as_secs_f64(), line.name)?;
            if let Some(reason) = &line.failure {
                writeln!(
                    f,
                    "                  {}",
                    reason.replace('\n', "\n                  ")
                )?;
            }
        }
        if !self.not_run.is_empty() {
            writeln!(f, "not run here:")?;
        }
        for (name, reason) in &self.not_run {
            writeln!(f, "  {name}: {reason}")?;
        }
        let failed = self.failed();
        write!(f, "{} passed, {failed} failed", self.lines.len() - failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_what_was_not_run_is_named_above_it() {
        let mut summary = Summary::default();
        summary.check("one", || Ok(Outcome::Passed));
        summary.check("two", || anyhow::bail!("broken"));
        summary.check("three", || Ok(Outcome::NotRun("no machine".to_owned())));
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"));
        assert!(
            text.contains("not run here:\n  three: no machine\n"),
            "{text}"
        );
        assert!(text.contains("broken"), "{text}");
    }
}
