//! The `tcpstate` command.
fn main() {}
