//! The arguments of `tcpstate health`.

use std::time::Duration;

use clap::Args;

use super::{Watch, value};
use crate::sink::ReportFormat;

/// `tcpstate health`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate health                          a line every five seconds
  tcpstate health -i 1s --for 1m           a minute, second by second
  tcpstate health --netns web              the namespace `web` of `ip netns`
  tcpstate health --netns /proc/1234/ns/net
                                           that of the container of process 1234
  tcpstate health -o json | jq -r '.marks[]?.message'
                                           only what is out of the ordinary
  tcpstate health --replay web.tcpstate    what events tell, from a recording

Columns as in `sar -n TCP,ETCP`: active/s and passive/s are connections opened from
here and to here, iseg/s and oseg/s segments, retr/s those sent again and retr%
their share, fail/s attempts to connect that failed, estres/s established connections
that were reset or given up, rst/s RSTs sent, bad/s bad segments. Then sockets by
state now; ORPHAN: closed ones whose peers have not answered yet; MEM: their
buffers; OVFL and DROP: what listeners dropped in the interval, because an accept
queue was full, and in all. The last row has the averages over the whole session.

All of it is of one network namespace, that of this process unless --netns says
otherwise: counters of several, added up, would go back whenever a container ends.
Orphans and memory are counted by the kernel for the host only.
A filter by port, address or process applies to the sockets and to what is said
of processes; the kernel's counters know none.")]
pub struct Health {
    /// Which connections, and where from.
    #[command(flatten)]
    pub watch: Watch,
    /// A line this often; the last one, of the whole session, comes at the end
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
