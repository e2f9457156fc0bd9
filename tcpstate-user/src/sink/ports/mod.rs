//! A report of `ports`, for people and as JSON lines.

mod fields;
pub(super) mod json;
pub(super) mod words;

#[cfg(test)]
mod tests;

use tcpstate_common::state::TcpState;

use super::address;
use crate::{decode::Family, ports::Report};

/// What is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The numbers.
    pub report: &'a Report,
    /// It is of the running kernel; a recording has no limits in it.
    pub live: bool,
    /// Times that records were lost: what was counted may be too little.
    pub gaps: u64,
}

/// First twelve bytes of a v4-mapped address (RFC 4291 section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Tuple spaces and listeners are of addresses, not of sockets of one family.
fn family(addr: &[u8; 16]) -> Family {
    if addr.starts_with(&MAPPED) {
        Family::Inet
    } else {
        Family::Inet6
    }
}

pub(super) fn plain(addr: &[u8; 16]) -> String {
    text(|out| address::write(addr, family(addr), out))
}

pub(super) fn endpoint(addr: &[u8; 16], port: u16) -> String {
    text(|out| address::endpoint(addr, port, family(addr), out))
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) const fn of(states: &[u64; 12], state: TcpState) -> u64 {
    states[state as usize]
}
