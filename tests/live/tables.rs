//! The kernel's own socket tables, as a second opinion.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{
    clock::{Interval, wait_for},
    net::Side,
};

/// One line of `/proc/net/tcp` or `tcp6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Name of the state; a minisocket's is its substate.
    pub state: &'static str,
    /// Whether it is a minisocket, going by its timer.
    pub minisocket: bool,
}

const STATES: [&str; 13] = [
    "?",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "SYN_RECV",
];

/// Every TCP socket of the calling thread's network namespace.
pub(crate) fn rows() -> Vec<Row> {
    ["tcp", "tcp6"]
        .iter()
        .filter_map(|name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).ok())
        .flat_map(|text| parse(&text))
        .collect()
}

/// The socket's row now, `None` when no table has it.
pub(crate) fn find(side: &Side) -> Option<Row> {
    rows()
        .into_iter()
        .find(|row| row.local == side.local && row.remote == side.remote)
}

/// The socket's state now, `None` when no table has it.
pub(crate) fn state(side: &Side) -> Option<&'static str> {
    find(side).map(|row| row.state)
}

/// Waits until the socket is in a state, and says between when.
pub(crate) fn wait_state(side: &Side, wanted: &str) -> Interval {
    wait_for(&format!("{side:?} in {wanted}"), || {
        (state(side) == Some(wanted)).then_some(())
    })
    .1
}

/// Waits until no table has the socket any more.
pub(crate) fn wait_gone(side: &Side) -> Interval {
    wait_for(&format!("{side:?} gone"), || {
        state(side).is_none().then_some(())
    })
    .1
}

fn parse(text: &str) -> Vec<Row> {
    text.lines()
        .skip(1)
        .map(|line| row(line).unwrap())
        .collect()
}

fn row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace().skip(1);
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let number = usize::from_str_radix(words.next()?, 16).ok()?;
    // Behind the queues, the kind of the timer: 3 is that of a minisocket
    // (`get_timewait4_sock`).
    let timer = words.nth(1).and_then(|timer| timer.split(':').next());
    Some(Row {
        local,
        remote,
        state: STATES.get(number)?,
        minisocket: timer == Some("03"),
    })
}

/// Addresses are printed as 32-bit words in the machine's byte order
/// (`get_tcp4_sock` and `get_tcp6_sock` in the kernel's `net/ipv4` and `net/ipv6`).
fn address(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.split_once(':')?;
    let mut bytes = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(SocketAddr::new(
        address,
        u16::from_str_radix(port, 16).ok()?,
    ))
}

#[test]
fn both_families_of_proc_net_are_read() {
    let head = "  sl  local_address rem_address   st tx_queue rx_queue\n";
    let four = parse(&format!(
        "{head}   0: 0100007F:1F90 0200007F:C350 08 00000000:00000000 00:00000000\n"
    ));
    assert_eq!(four[0].local, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(four[0].remote, "127.0.0.2:50000".parse().unwrap());
    assert_eq!((four[0].state, four[0].minisocket), ("CLOSE_WAIT", false));
    let six = parse(&format!(
        "{head}   0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000001000000:0051 05 0:0 03:00000004\n"
    ));
    assert_eq!(six[0].local, "[::ffff:127.0.0.1]:80".parse().unwrap());
    assert_eq!(six[0].remote, "[::1]:81".parse().unwrap());
    assert_eq!((six[0].state, six[0].minisocket), ("FIN_WAIT2", true));
}
