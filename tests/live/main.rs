//! Real sockets on this kernel, and what the real `tcpstate` says about them.
//!
//! Every test starts the binary, does something with sockets, and takes the
//! times between which it did so; the lines must tell the same story, and each
//! dwell must lie between the bounds that the test itself measured. Whatever
//! the scheduler does is inside these bounds, so they need no guessed slack.
//!
//! Needs root. What else it needs, and a test without it fails and says so:
//!
//! | needed | by | Debian package |
//! |---|---|---|
//! | `TCPSTATE_WITNESS` (object of the second program) | `flood` | built with the kernel side |
//! | `ip` | `namespaces`, `existing`, `filters`, `flood` | iproute2 |
//! | `ss` | `existing` | iproute2 |
//! | `cc` | `leaks` | gcc |
//! | `nginx`, `curl` | `programs` | nginx-light, curl |
//! | `cc`, `python3` | `stacks` | gcc, python3 |
//!
//! Environment: `TCPSTATE_BIN` (else the binary cargo has built),
//! `TCPSTATE_ZOO` (else compiled from `tests/zoo`), `TCPSTATE_WITNESS`, `TCPSTATE_IN_VM=1` (an emulated machine: deadlines are
//! ten times as long, the flood a tenth).

#![expect(
    clippy::unwrap_used,
    reason = "everything here is a test, and a test may panic"
)]

mod clock;
mod expect;
mod lines;
mod net;
mod ns;
mod process;
mod tables;
mod tool;
mod trace;
mod witness;
mod zoo;

mod aborting;
mod closing;
mod dwell;
mod existing;
mod filters;
mod flood;
mod hostile;
mod leaks;
mod loss;
mod namespaces;
mod origin;
mod programs;
mod recording;
mod session;
mod stacks;
mod timewait;
mod unanswered;
mod usage;
