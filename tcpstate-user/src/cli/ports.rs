//! The arguments of `tcpstate ports`.

use std::time::Duration;

use clap::Args;

use super::{Watch, value};
use crate::sink::ReportFormat;

/// `tcpstate ports`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate ports                           this host, anew every five seconds
  tcpstate ports --raddr 10.0.0.9 -D 5432  towards one database
  tcpstate ports -p 1234 --for 1m          what process 1234 uses up, and when it
                                           runs out
  tcpstate ports -o json --for 1m | jq 'select(.final and .what==\"space\")'
                                           the last report only

A client's port is used once for each local address, remote address and remote
port, from connect() until TIME_WAIT is over. There is no -L: what it left out
would be missing among the ports in use. With -p and --comm all sockets count,
and those rows are shown in which such a process has some. A recording tells
what is used, not of how much: the limits are not in it.")]
pub struct Ports {
    /// Which connections, and where from.
    #[command(flatten)]
    pub watch: Watch,
    /// So many rows of each kind; the others are summed up
    #[arg(long, value_name = "N", default_value = "10", value_parser = value::rows, help_heading = "Report")]
    pub top: usize,
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

impl Ports {
    pub(super) fn check(&self) -> Result<(), String> {
        self.watch.filter.check()?;
        if self.watch.filter.connections.lports.is_empty() {
            return Ok(());
        }
        Err(
            "ports counts the local ports that are in use, and -L would leave some out: \
             use -D, --raddr or --laddr"
                .to_owned(),
        )
    }
}
