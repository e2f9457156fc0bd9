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
//! | `ip` | whatever needs a network namespace | iproute2 |
//! | `ss` | `connections`, `existing`, `leaks`, `requests`, `timewait` | iproute2 |
//! | `cc`, `python3`, `go`, `nginx` | `leaks` | gcc, python3, golang-go, nginx-light |
//! | `java`, Tomcat 10 | `leaks` | default-jre-headless, tomcat10-common |
//! | `redis-server`, `redis-benchmark` | `leaks` | redis-server, redis-tools |
//! | `rustc` | `leaks` | comes with cargo |
//! | `nginx`, `curl` | `programs`, `connections` | nginx-light, curl |
//! | `haproxy` | `connections` | haproxy |
//! | `sar`, `sadf` | `health` | sysstat |
//! | `wrk` | `ports` | wrk |
//! | `cc`, `python3` | `stacks` | gcc, python3 |
//!
//! Environment: `TCPSTATE_BIN` (else the binary cargo has built),
//! `TCPSTATE_FLOOD_SECONDS` (how long overloads last, 10 unless said),
//! `TCPSTATE_WITNESS`, `TCPSTATE_ZOO` (else compiled from `tests/zoo`),
//! `TCPSTATE_IN_VM=1` (an emulated machine: deadlines are longer, floods
//! smaller), `TCPSTATE_FACTS` (a file that gets what was found out of this kernel).

#![expect(
    clippy::unwrap_used,
    reason = "everything here is a test, and a test may panic"
)]

mod capture;
mod clock;
mod expect;
mod facts;
mod families;
mod lines;
mod net;
mod ns;
mod peer;
mod process;
mod segment;
mod stage;
mod tables;
mod tool;
mod trace;
mod unseen;
mod witness;
mod zoo;

mod aborting;
mod closing;
mod connections;
mod dwell;
mod existing;
mod filters;
mod flood;
mod health;
mod hostile;
mod idle;
mod kernel;
mod leaks;
mod loss;
mod namespaces;
mod origin;
mod overload;
mod ports;
mod programs;
mod recording;
mod requests;
mod room;
mod session;
mod stacks;
mod timewait;
mod timewait_causes;
mod timewait_many;
mod timewait_minute;
mod unanswered;
mod usage;
