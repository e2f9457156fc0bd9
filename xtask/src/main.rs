//! Sets up, builds, runs and tests tcpstate: `cargo xtask --help`.
//!
//! One file per command. Does not depend on tcpstate itself, so that a fresh
//! machine can compile it before it has a compiler for the BPF target.

mod bench;
mod build;
mod cargo;
mod emulator;
mod exec;
mod kernels;
mod live;
mod machine;
mod matrix;
mod packages;
mod route;
mod run;
mod setup;
mod summary;
mod test;
mod vm;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about)]
enum Task {
    /// Install what building needs (Debian), or say what to install
    Setup,
    /// Build tcpstate, kernel side included, optimized
    Build,
    /// Set up, build and run tcpstate with the privilege it needs
    Run {
        /// What tcpstate is given
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Every check there is, on this kernel and in virtual machines
    Test,
    /// The live tests in virtual machines
    Vm {
        /// A kernel of the table (default: all)
        #[arg(long, value_name = "VERSION")]
        kernel: Vec<String>,
        /// What the test runner is given
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// What tcpstate and its peers cost this machine
    Bench(bench::Bench),
    /// Fetch the newest builds of the kernels that the tests run on
    Kernels,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Setup => setup::for_tests(),
        Task::Build => build::command(),
        Task::Run { arguments } => run::command(&arguments),
        Task::Test => return test::command(),
        Task::Vm { kernel, arguments } => vm::command(&kernel, &arguments),
        Task::Bench(asked) => bench::command(&asked),
        Task::Kernels => kernels::command(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            exec::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
