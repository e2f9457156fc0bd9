//! The arguments of `tcpstate leaks`.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use tcpstate_common::state::TcpState;

use super::{Color, Filter, Live, value};
use crate::sink::ReportFormat;

/// `tcpstate leaks`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate leaks --for 60s                 a minute of this host
  tcpstate leaks -p 1234 --min-age 1m      what process 1234 does not close
  tcpstate leaks -o json --for 30s | jq 'select(.final) | .message'
  tcpstate leaks --for 5m --flamegraph leaks.svg
                                           where leaked sockets were opened

A suspect is a socket that the peer has closed or reset and the application has
not, or one that waits for the peer without a timeout, for --min-age or longer.
Where in the code it was opened is known of sockets opened while this runs.")]
pub struct Leaks {
    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How to trace.
    #[command(flatten)]
    pub live: Live,
    /// Younger is too early to say
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = value::duration, help_heading = "Report")]
    pub min_age: Duration,
    /// Only suspects in these states (`close-wait`, `fin-wait2`, `close`); else all
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = value::leaking_state, help_heading = "Report")]
    pub states: Vec<Leaking>,
    /// Report anew this often; the last report comes at the end
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = value::interval, help_heading = "Report")]
    pub interval: Duration,
    /// How much of a thread's stack to copy (16K; node and servlet containers
    /// need up to 28K)
    #[arg(long, value_name = "BYTES", default_value = "16K", value_parser = value::stack_bytes, help_heading = "Report")]
    pub stack_bytes: u32,
    /// Write folded stacks, weighted by sockets, at the end
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub folded: Option<PathBuf>,
    /// Draw a flame graph of the same at the end
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub flamegraph: Option<PathBuf>,
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
    /// Colour: auto is off in a pipe and when `NO_COLOR` is set
    #[arg(
        long,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        help_heading = "Output"
    )]
    pub color: Color,
}

/// What `--state` takes: a state in which a socket can leak, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaking {
    /// Every one.
    All,
    /// This one.
    In(TcpState),
}

impl Leaks {
    /// The states asked for; none is all.
    #[must_use]
    pub fn only(&self) -> Vec<TcpState> {
        let mut states = Vec::new();
        for state in &self.states {
            match state {
                Leaking::All => return Vec::new(),
                Leaking::In(state) => states.push(*state),
            }
        }
        states
    }
}
