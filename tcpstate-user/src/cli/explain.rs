//! The arguments of `tcpstate explain`.

use clap::Args;

use super::Watch;
use crate::{explain::Which, sink::ReportFormat};

/// `tcpstate explain`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate explain 192.0.2.10:443          the next connection with this end
  tcpstate explain -p 1234 --for 1m        what becomes of a process's connections
  tcpstate record -o web.tcpstate --for 5m
  tcpstate explain 192.0.2.7:51844 --replay web.tcpstate
  tcpstate explain 12dc1a0b8f61-045c2a --replay web.tcpstate
                                           as a trace of that recording names it

Live, it waits until what matches is over, or for --for, or for Ctrl-C; what is
not over then is explained as far as it is known. Names of connections differ
from one session to the next, except in replays of the same recording.")]
pub struct Explain {
    /// The connection, or all that have this end: IPv6 in brackets
    #[arg(value_name = "CONN|ADDR:PORT", required_unless_present_any = ["pids", "comms", "lports", "rports", "lnets", "rnets"])]
    pub which: Option<Which>,
    /// Which connections, and where from.
    #[command(flatten)]
    pub watch: Watch,
    /// List at most this many where several match
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value_t = 20,
        help_heading = "Output"
    )]
    pub most: usize,
    /// How to write
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub output: ReportFormat,
}
