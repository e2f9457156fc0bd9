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

impl Explain {
    /// Says of what can never be found what to change.
    pub(super) fn check(&self) -> Result<(), String> {
        let named = matches!(self.which, Some(Which::Conn { .. }));
        if named && self.watch.replay.is_none() {
            return Err(
                "a connection has another name in each session: add --replay FILE, or give an \
                 address and port"
                    .into(),
            );
        }
        self.watch.filter.check()
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Command, complaint, parse_from};

    fn parsed(words: &str) -> Result<Command, String> {
        let words = ["tcpstate", "explain"].into_iter().chain(words.split(' '));
        parse_from(words.filter(|word| !word.is_empty()))
            .map_err(|error| complaint(&error).unwrap_or_default())
    }

    #[test]
    fn an_end_a_filter_or_a_name_out_of_a_recording_says_which() {
        for words in [
            "192.0.2.1:443",
            "[2001:db8::1]:443",
            "-p 1",
            "-L 443 --for 1m",
            "12dc1a0b8f61-045c2a --replay file",
            "192.0.2.1:443 -n 3 --replay file",
        ] {
            assert!(parsed(words).is_ok(), "{words}: {:?}", parsed(words));
        }
    }

    #[test]
    fn what_says_nothing_or_can_never_be_found_is_refused() {
        for (words, why) in [
            ("", "required"),
            ("-4", "required"),
            ("443", "address and port such as"),
            ("192.0.2.1", "address and port such as"),
            ("12dc1a0b8f61-045c2a", "--replay"),
        ] {
            let refused = parsed(words).unwrap_err();
            assert!(refused.contains(why), "{words}: {refused}");
        }
    }
}
