//! What every view is asked: which connections, from where, in colour or not.

use std::path::PathBuf;

use clap::Args;

use super::{Color, Filter, Live};

/// What every view of the sockets takes.
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Which connections.
    #[command(flatten)]
    pub filter: Filter,
    /// How to trace.
    #[command(flatten)]
    pub live: Live,
    /// Read a recording instead of the kernel
    #[arg(long, value_name = "FILE", conflicts_with_all = ["for", "ring_size", "no_accept_syscalls", "hooks"], help_heading = "Tracing")]
    pub replay: Option<PathBuf>,
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
