//! The table of kernels: which hook gives each signal on which kernel, which
//! causes are told apart there, and how the tests ended.
//!
//! It knows neither machines nor tests: only the lines that a run has told.

mod column;
mod row;
mod table;

use std::fs;

use anyhow::{Context as _, Result, bail};

pub(crate) use self::{
    column::{Column, End, Fact},
    table::Matrix,
};
use crate::machine::workspace;

/// Prints the table, keeps it as `target/vm/matrix.txt`, and fails if a run
/// failed or has not told what it should.
pub(crate) fn publish(matrix: &Matrix) -> Result<()> {
    print(matrix)?;
    let failed = matrix
        .columns()
        .iter()
        .filter_map(|column| match &column.end {
            End::Failed(reason) => Some(format!("kernel {}: {reason}", column.name)),
            End::Passed | End::NotRun(_) => None,
        });
    let wrong: Vec<_> = failed.chain(missing(matrix)).collect();
    if !wrong.is_empty() {
        bail!(wrong.join("\n"));
    }
    Ok(())
}

/// Prints the table and keeps it.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn print(matrix: &Matrix) -> Result<()> {
    println!("\n{matrix}");
    let file = workspace().join("target/vm/matrix.txt");
    fs::write(&file, matrix.to_string()).with_context(|| file.display().to_string())
}

/// What runs of all tests have not told, though others have.
pub(crate) fn missing(matrix: &Matrix) -> Vec<String> {
    let missing = matrix.missing().into_iter();
    missing
        .map(|what| format!("nothing told of {what}"))
        .collect()
}
