//! The table as text: kernels side by side, and below it what does not fit a cell.

use std::fmt;

use super::{
    column::{Column, End},
    row::{Row, WIDTH, rows},
};

/// Of a row's name.
const NAME: usize = 32;
/// Of a line of text.
const LINE: usize = 110;

/// Every column there is, in the order in which they were run.
#[derive(Default)]
pub(crate) struct Matrix {
    columns: Vec<Column>,
}

impl Matrix {
    pub(crate) fn push(&mut self, column: Column) {
        self.columns.push(column);
    }

    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What a run of all tests should have told, and has not.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for row in rows(&self.columns) {
            let is_missing = |column: &&Column| row.is_missing(column);
            for column in self.columns.iter().filter(is_missing) {
                missing.push(format!("kernel {}: {} {}", column.name, row.topic, row.key));
            }
        }
        missing
    }

    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        cell: impl Fn(&Column) -> String,
    ) -> fmt::Result {
        let mut line = format!("{name:NAME$}");
        for column in &self.columns {
            line += &format!("{:WIDTH$}", cell(column));
        }
        writeln!(f, "{}", line.trim_end())
    }

    fn ends(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "live tests")?;
        self.line(f, "  passed", |column| match column.tests {
            Some(tests) => format!("{}/{}", tests.passed, tests.passed + tests.failed),
            None => match column.end {
                End::NotRun(_) => "not run".to_owned(),
                _ => "NO END".to_owned(),
            },
        })?;
        if self
            .columns
            .iter()
            .any(|column| column.tests.is_some_and(|tests| tests.left_out > 0))
        {
            self.line(f, "  left out", |column| {
                column
                    .tests
                    .map_or_else(String::new, |tests| tests.left_out.to_string())
            })?;
        }
        self.line(f, "  seconds", |column| {
            format!("{:.0}", column.took.as_secs_f64())
        })?;
        self.line(f, "  verdict", |column| {
            let word = match column.end {
                End::Passed => "passed",
                End::Failed(_) => "FAILED",
                End::NotRun(_) => "not run",
            };
            word.to_owned()
        })?;
        for column in &self.columns {
            if let End::Failed(reason) | End::NotRun(reason) = &column.end {
                paragraph(f, &format!("  {}: {reason}", column.name))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line(f, "kernel", |column| column.name.clone())?;
        let rows = rows(&self.columns);
        let mut heading = String::new();
        for row in rows.iter().filter(|row| row.has_cells) {
            if row.heading() != heading {
                heading = row.heading();
                writeln!(f, "{heading}")?;
            }
            self.line(f, &format!("  {}", row.name()), |column| row.cell(column))?;
        }
        self.ends(f)?;
        let notes = rows.iter().flat_map(|row| notes(row, &self.columns));
        for (number, note) in notes.enumerate() {
            if number == 0 {
                writeln!(f, "\nwhat the cells leave out")?;
            }
            paragraph(f, &format!("  {note}"))?;
        }
        Ok(())
    }
}

/// What the cells of a row have left out: each text once, with its kernels.
fn notes(row: &Row, columns: &[Column]) -> Vec<String> {
    let mut texts = Vec::<(&str, Vec<&str>)>::new();
    for column in columns {
        let Some(value) = row.note(column) else {
            continue;
        };
        match texts.iter_mut().find(|(text, _)| *text == value) {
            Some((_, kernels)) => kernels.push(&column.name),
            None => texts.push((value, vec![&column.name])),
        }
    }
    let everywhere = columns
        .iter()
        .filter(|column| column.value(&row.topic, &row.key).is_some());
    let everywhere = everywhere.count();
    let note = |(text, kernels): (&str, Vec<&str>)| match kernels.len() == everywhere {
        true => format!("{} {}: {text}", row.topic, row.key),
        false => format!(
            "{} {} on {}: {text}",
            row.topic,
            row.key,
            kernels.join(", ")
        ),
    };
    texts.into_iter().map(note).collect()
}

/// Broken at spaces, the following lines indented.
fn paragraph(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut line = String::new();
    for (number, word) in text.split(' ').enumerate() {
        if number > 0 && line.len() + 1 + word.len() > LINE {
            writeln!(f, "{line}")?;
            line = format!("      {word}");
        } else if number > 0 {
            line = format!("{line} {word}");
        } else {
            line = word.to_owned();
        }
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::column::Fact;

    fn column(name: &str, facts: &[&str], result: &str) -> Column {
        Column::run(name, |column| {
            column
                .facts
                .extend(facts.iter().filter_map(|fact| Fact::parse(fact)));
            column.read(result);
            Ok(())
        })
    }

    const OK: &str = "test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";

    fn matrix() -> Matrix {
        let mut matrix = Matrix::default();
        matrix.push(column(
            "5.10",
            &[
                "hook\tminisocket_begin\tfentry inet_twsk_hashdance",
                "cause\texpired/fentry\tok",
                "cause\tkilled/fentry\tabsent: the kernel refuses it",
                "insns\twalk\tnot told",
                "memory\ttracker\t312 bytes for each connection",
            ],
            OK,
        ));
        matrix.push(column(
            "7.3",
            &[
                "hook\tminisocket_begin\tfentry inet_twsk_hashdance_schedule",
                "cause\texpired/fentry\tok",
                "insns\twalk\t1234",
                "burst\tends/fentry\t77",
                "insns\ttw_begun4\t77",
            ],
            OK,
        ));
        matrix
    }

    #[test]
    fn a_cell_is_one_word_and_what_it_leaves_out_is_said_below() {
        let text = matrix().to_string();
        for line in [
            "kernel                          5.10        7.3",
            "hook of each signal",
            "  minisocket_begin              fentry      fentry",
            "  hook minisocket_begin on 5.10: fentry inet_twsk_hashdance",
            "  expired                       ok          ok",
            "  killed                        absent      MISSING",
            "  cause killed/fentry: absent: the kernel refuses it",
            "  passed                        8/8         8/8",
            "  memory tracker: 312 bytes for each connection",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    }

    #[test]
    fn what_one_kernel_has_told_and_another_has_not_is_missing_unless_it_may_be() {
        assert_eq!(matrix().missing(), ["kernel 7.3: cause killed/fentry"]);
    }

    #[test]
    fn where_a_kind_of_hook_is_refused_nothing_is_missing_that_it_would_tell() {
        let mut matrix = matrix();
        let refused = [
            "hook\tminisocket_begin\traw_tp timer_start",
            "hook-fentry\tminisocket_end\trefused: not permitted",
        ];
        matrix.push(column("here", &refused, OK));
        let missing = matrix.missing();
        assert!(
            missing.iter().all(|what| !what.starts_with("kernel here")),
            "{missing:?}"
        );
        assert!(matrix.to_string().contains("no hook"));
    }

    #[test]
    fn a_run_of_some_of_the_tests_misses_nothing() {
        let mut matrix = matrix();
        let filtered = OK.replace("0 filtered", "3 filtered");
        matrix.push(column("6.1", &[], &filtered));
        assert_eq!(matrix.missing().len(), 1);
        assert!(matrix.to_string().contains("  left out"));
    }

    #[test]
    fn a_failed_run_says_why_under_its_verdict() {
        let mut failed = column("6.1", &[], "no result");
        failed.end = End::Failed("the kernel panicked".to_owned());
        let mut matrix = matrix();
        matrix.push(failed);
        let text = matrix.to_string();
        assert!(text.contains("NO END"), "{text}");
        assert!(text.contains("  6.1: the kernel panicked\n"), "{text}");
    }
}
