//! What tcpstate and its peers cost a host: `cargo xtask bench`.
//!
//! No part of the program. It starts tools and a load as processes, takes
//! samples in rounds, and makes a table of them; `run` reads in that order.

mod account;
mod arm;
mod kernel;
mod load;
mod machine;
mod measure;
mod parts;
#[path = "../../../tests/population.rs"]
#[expect(unreachable_pub, reason = "shared with the benchmark of the stages")]
mod population;
mod process;
mod recording;
mod row;
mod run;
mod sample;
mod spread;
mod table;

use std::process::ExitCode;

use clap::Parser;

#[derive(Debug, Parser)]
#[command(about)]
enum Task {
    /// The whole benchmark
    Run(run::Run),
    /// The load: orders come on standard input
    Load(load::Load),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Run(run) => run::command(&run),
        Task::Load(load) => load::command(&load),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            parts::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
