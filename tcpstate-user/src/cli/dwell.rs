//! The arguments of `tcpstate dwell`.

use std::time::Duration;

use clap::Args;
use tcpstate_common::state::TcpState;

use super::{Watch, value};
use crate::{dwell::By, sink::ReportFormat};

/// `tcpstate dwell`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate dwell --for 5m                  five minutes of this host
  tcpstate dwell -L 443 -i 1s              a web server, anew every second
  tcpstate dwell --by process --state close-wait
                                           who lets connections wait for a close
  tcpstate dwell -o json --for 1m | jq 'select(.final)'
                                           the last report only
  tcpstate dwell --replay web.tcpstate     from a recording

COUNT, SUM, MIN and MAX are exact. P50, P90 and P99 are of the exact times, and
at most 0.1 % above the true ones, never below. Times of which only a lower
bound is known are counted under >=, sockets still in the state under OPEN; both
are in none of the other numbers. There is no --min-dwell: what it left out
would falsify them.")]
pub struct Dwell {
    /// Which connections, and where from.
    #[command(flatten)]
    pub watch: Watch,
    /// Only these states (`close-wait`, `TIME_WAIT`)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = value::lasting_state, help_heading = "Report")]
    pub states: Vec<TcpState>,
    /// Group by more than the state; several are possible
    #[arg(
        long,
        value_enum,
        value_name = "KEY",
        value_delimiter = ',',
        help_heading = "Report"
    )]
    pub by: Vec<By>,
    /// Report anew this often; the last report comes at the end
    #[arg(short, long, value_name = "DURATION", default_value = "5s", value_parser = value::interval, conflicts_with = "replay", help_heading = "Report")]
    pub interval: Duration,
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
