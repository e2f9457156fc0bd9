//! tcpstate: which process leaks sockets, how long sockets really stay in each
//! TCP state, and who closed them.
//!
//! The modules, in the order in which one event passes through them. A stage
//! knows the type it receives and the type it returns, not its neighbours;
//! [`run`] is the one file that names them all.
//!
//! | module | what it does | takes | gives |
//! |---|---|---|---|
//! | [`cli`] | what was asked | arguments | [`cli::Command`] |
//! | [`attach`] | hooks tried, chosen, refused; offsets; counters | settings | [`attach::Session`] |
//! | [`source`] | bytes arrive: live ring or recording | kernel, file | record bytes |
//! | [`seed`] | what existed before, and again after a loss | socket tables | record bytes |
//! | [`decode`] | bytes become a record, or a counted error | bytes | [`decode::Record`] |
//! | [`track`] | connections, dwell, causes | [`decode::Record`] | [`track::Change`] |
//! | [`unwind`] | places in the code out of registers and a slice of stack | [`decode::StackEvent`] | [`unwind::Place`] |
//! | [`stack`] | the same stack under the same number | [`decode::StackEvent`] | [`stack::StackId`] |
//! | [`symbolize`] | places in the code get names, or a reason why not | [`stack::CallStack`] | [`symbolize::Frame`] |
//! | [`view`] | what of it was asked for | [`track::Change`] | [`track::Change`] |
//! | [`connection`] | whole connections, how each ended and who ended it | [`track::Change`] | [`connection::Connection`] |
//! | [`dwell`] | how long sockets stay in each state | [`track::Change`] | [`dwell::Report`] |
//! | [`explain`] | the story of one connection, and a verdict | [`track::Change`] | [`explain::Explanation`] |
//! | [`counters`] | what the kernel counts itself | `/proc/net` | [`counters::Reading`] |
//! | [`health`] | whether TCP is well, per interval | [`track::Change`], [`counters::Reading`] | [`health::Line`] |
//! | [`ports`] | who uses up which tuple space | [`track::Change`] | [`ports::Report`] |
//! | [`limits`] | how much there is of it: sysctls, queues, counters | `/proc`, `sock_diag` | [`ports::Reading`] |
//! | [`holders`] | who has a socket now | `/proc` | [`holders::Holders`] |
//! | [`leak`] | which open sockets are suspects, and of which kind | [`leak::Socket`] | [`leak::Report`] |
//! | [`survey`] | what a report on leaks needs, gathered beside the ring | [`survey::Question`] | [`survey::Answer`] |
//! | [`sink`] | how it is written | [`track::Change`] | text |
//! | [`capacity`] | how much of the machine this may take | [`capacity::Machine`] | [`capacity::Limits`] |
//! | [`doctor`] | what this kernel allows | [`attach`]'s trials | a report |
//! | [`run`] | the one file that names every stage | | |

pub mod attach;
pub mod capacity;
pub mod cli;
pub mod connection;
pub mod counters;
pub mod decode;
pub mod doctor;
pub mod dwell;
pub mod explain;
pub mod health;
pub mod holders;
pub mod leak;
pub mod limits;
pub mod ports;
pub mod run;
pub mod seed;
pub mod session;
pub mod sink;
pub mod source;
pub mod stack;
pub mod survey;
pub mod symbolize;
pub mod track;
pub mod unwind;
pub mod view;
