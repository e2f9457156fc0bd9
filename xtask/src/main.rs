//! Sets up, builds, runs and tests tcpstate.
fn main() {}
