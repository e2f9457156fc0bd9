//! The `tcpstate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tcpstate::run::main(std::env::args_os())
}
