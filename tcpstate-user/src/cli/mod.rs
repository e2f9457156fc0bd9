//! What was asked: arguments become a [`Command`], or one line that says what
//! is wrong with them.
//!
//! Parsing reads nothing but the arguments. What must be looked up on this host
//! (a process, a network namespace) is looked up by [`Filter::resolve`].

mod dwell;
mod explain;
mod filter;
mod health;
mod leaks;
mod ports;
mod resolve;
mod value;
mod watch;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, io::IsTerminal, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};

pub use dwell::Dwell;
pub use explain::Explain;
pub(crate) use filter::bits_of;
pub use filter::{Comm, Connections, Filter, FilterSpec, Lines, Netns};
pub use health::Health;
pub use leaks::{Leaking, Leaks};
pub use ports::Ports;
pub use resolve::ResolveError;
pub use watch::Watch;

use crate::{
    attach::Family,
    connection::Told,
    sink::{Format, ReportFormat},
};

#[derive(Debug, Parser)]
#[command(
    name = "tcpstate",
    bin_name = "tcpstate",
    version,
    about = "How long TCP sockets really stay in each state, and who closed them",
    after_help = "Needs root (or CAP_BPF and CAP_PERFMON). `tcpstate doctor` says what this kernel allows.",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// One run of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Every transition, as it happens
    Trace(Trace),
    /// Sockets that nobody closes, by who opened them and where
    Leaks(Leaks),
    /// How long sockets stay in each state
    Dwell(Dwell),
    /// The story of one connection, and a verdict
    Explain(Box<Explain>),
    /// Whether TCP is well: opens, failures, resets, retransmissions, per interval
    Health(Health),
    /// Who uses up the ports, how many are left, and when they run out
    Ports(Ports),
    /// The raw session to a file, for `--replay`
    Record(Record),
    /// What this kernel allows, and what to do about the rest
    Doctor(Doctor),
}

/// `tcpstate trace`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate trace -L 80,443                 connections to this web server
  tcpstate trace -p 1234 --state close-wait
                                           what process 1234 has not closed
  tcpstate trace --min-dwell 1s --for 5m   slow states, for five minutes
  tcpstate trace -o json | jq .cause       one JSON object per line
  tcpstate trace --connections -D 5432     whole connections to a database
  tcpstate trace --replay web.tcpstate     from a recording")]
pub struct Trace {
    /// Which connections, and where from.
    #[command(flatten)]
    pub watch: Watch,
    /// Which of their lines.
    #[command(flatten)]
    pub lines: Lines,
    /// One line for each connection that is over, not one for each transition
    ///
    /// It says how the connection ended, who ended it and why. `closed` waits
    /// until both sides are done, `gone` until its `TIME_WAIT` is over, too.
    #[arg(
        long,
        value_enum,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "closed",
        value_name = "WHEN",
        help_heading = "Lines"
    )]
    pub connections: Option<Told>,
    /// How to write
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub output: Format,
}

/// `tcpstate record`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tcpstate record -o web.tcpstate -L 80,443 --for 1m
  tcpstate trace --replay web.tcpstate -o wide

A recording keeps everything that the filter lets through; process, state and
time are filtered when it is replayed.")]
pub struct Record {
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Which connections.
    #[command(flatten)]
    pub filter: Connections,
    /// How to trace.
    #[command(flatten)]
    pub live: Live,
}

/// `tcpstate doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// How to write
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub output: ReportFormat,
}

/// How to trace a live kernel.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tracing")]
pub struct Live {
    /// Stop after this long (500ms, 30s, 5m); else at Ctrl-C
    #[arg(long = "for", id = "for", value_name = "DURATION", value_parser = value::lifetime)]
    pub duration: Option<Duration>,
    /// Size of the ring buffer in bytes (64K, 16M): a power of two
    ///
    /// The default depends on CPUs and memory; `tcpstate doctor` says it.
    #[arg(long, value_name = "BYTES", value_parser = value::ring_size)]
    pub ring_size: Option<u32>,
    /// Sockets remembered at the same time (5000, 20K, 1M)
    ///
    /// Beyond it new ones are left out and counted. The default depends on the
    /// memory; `tcpstate doctor` says it.
    #[arg(long, value_name = "NUMBER", value_parser = value::sockets)]
    pub max_sockets: Option<usize>,
    /// Rather leave accepting processes unknown than hook their system calls
    ///
    /// The accept system-call tracepoints slow down every system call of the
    /// host a little; they are used only where nothing better exists.
    #[arg(long)]
    pub no_accept_syscalls: bool,
    /// Only this kind of hook, for each signal that has it
    ///
    /// For tests, and to find out whether an odd result comes from a hook. The
    /// best hook that works is chosen without it; `tcpstate doctor` says which.
    #[arg(long, value_enum, value_name = "KIND")]
    pub hooks: Option<Family>,
    /// Show the kernel side's own diagnostics on standard error
    #[arg(short, long)]
    pub verbose: bool,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always, `NO_COLOR` or not.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour what goes to `out`.
    #[must_use]
    pub fn for_output(self, out: &impl IsTerminal) -> bool {
        self.decide(out.is_terminal(), std::env::var_os("NO_COLOR").as_deref())
    }

    /// <https://no-color.org>: set and not empty means no colour, unless the
    /// command line asks for it.
    fn decide(self, terminal: bool, no_color: Option<&std::ffi::OsStr>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => terminal && no_color.is_none_or(std::ffi::OsStr::is_empty),
        }
    }
}

/// Parses arguments, the program's name first.
///
/// # Errors
///
/// What is wrong with them, or the help or version text that was asked for; its
/// `exit_code` is 2 or 0. [`complaint`] says what to print.
pub fn parse_from<I, T>(args: I) -> Result<Command, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let command = Cli::try_parse_from(args)?.command;
    let possible = match &command {
        Command::Trace(trace) => trace.watch.filter.check(),
        Command::Dwell(dwell) => dwell.watch.filter.check(),
        Command::Explain(explain) => explain.check(),
        Command::Health(health) => health.watch.filter.check(),
        Command::Leaks(leaks) => leaks.filter.check(),
        Command::Ports(ports) => ports.check(),
        Command::Record(record) => record.filter.check(),
        Command::Doctor(_) => Ok(()),
    };
    match possible {
        Ok(()) => Ok(command),
        Err(why) => Err(Cli::command().error(ErrorKind::ArgumentConflict, why)),
    }
}

/// A usage error as one line without a line break: what is wrong, what is
/// allowed, what was probably meant. `None` when the error is a help or version
/// text, which `clap::Error::print` shows as it is.
#[must_use]
pub fn complaint(error: &clap::Error) -> Option<String> {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return None;
    }
    let text = error.render().to_string();
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    Some(lines.join(" ").replace(" tip: ", "; tip: "))
}
