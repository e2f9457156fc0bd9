//! Single values of the command line, from text.
//!
//! Every refusal says what a right value looks like.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use jiff::SignedDuration;
use tcpstate_common::{settings::MAX_SLICE, state::TcpState};

use super::{Leaking, Netns};

/// Largest size a ring buffer can have: the kernel keeps it in 32 bits and
/// wants a power of two.
const RING_MAX: u64 = 1 << 31;

/// As long as a report of a million sockets takes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Not negative.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("a duration needs a unit, such as {text}s"));
    }
    let wrong = "expected a duration such as 500ms, 30s, 5m or 1h30m";
    let parsed: SignedDuration = text.parse().map_err(|_why| wrong)?;
    Duration::try_from(parsed).map_err(|_negative| wrong.to_owned())
}

/// A duration longer than nothing.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a duration longer than zero".to_owned()),
        long => Ok(long),
    }
}

/// A time between two reports: not so short that nothing else gets done.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < SHORTEST_INTERVAL => Err("expected an interval of at least 100ms".into()),
        interval => Ok(interval),
    }
}

/// How many rows to show.
pub(super) fn rows(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number of rows, from 1".to_owned()),
        Ok(rows) => Ok(rows),
    }
}

/// 1 to 65535.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a port number from 1 to 65535".to_owned()),
        Ok(port) => Ok(port),
    }
}

/// 1 and up.
pub(super) fn pid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a process id, a number from 1".to_owned()),
        Ok(pid) => Ok(pid),
    }
}

/// A thread name as the kernel keeps it: 15 bytes at most.
pub(super) fn comm(text: &str) -> Result<Vec<u8>, String> {
    match text.as_bytes() {
        [] => Err("expected the name of a process".to_owned()),
        name => Ok(name[..name.len().min(15)].to_vec()),
    }
}

/// A network in CIDR notation, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let host = text.parse::<IpAddr>().map(IpNet::from);
    host.or_else(|_not_an_address| text.parse::<IpNet>())
        .map(|net| net.trunc())
        .map_err(|_why| "expected an address or a network such as 10.0.0.0/8 or fd00::/8".into())
}

/// A state as the kernel, `ss` or bcc's tcpstates spells it.
pub(super) fn state(text: &str) -> Result<TcpState, String> {
    let word: String = text
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let word = word.strip_prefix("tcp").unwrap_or(&word);
    Ok(match word {
        "established" | "estab" => TcpState::Established,
        "synsent" => TcpState::SynSent,
        "synrecv" | "synreceived" => TcpState::SynRecv,
        "finwait1" => TcpState::FinWait1,
        "finwait2" => TcpState::FinWait2,
        "timewait" => TcpState::TimeWait,
        "close" | "closed" | "unconn" | "unconnected" => TcpState::Close,
        "closewait" => TcpState::CloseWait,
        "lastack" => TcpState::LastAck,
        "listen" | "listening" => TcpState::Listen,
        "closing" => TcpState::Closing,
        _ => return Err(format!("expected one of {}", state_names())),
    })
}

/// A state that a connection or a listener stays in.
pub(super) fn lasting_state(text: &str) -> Result<TcpState, String> {
    match state(text)? {
        TcpState::Close => Err("nothing stays in CLOSE: it is where a connection ends".into()),
        state => Ok(state),
    }
}

/// A state in which a socket can leak, or `all`.
pub(super) fn leaking_state(text: &str) -> Result<Leaking, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(Leaking::All);
    }
    match state(text)? {
        state @ (TcpState::CloseWait | TcpState::FinWait2 | TcpState::Close) => {
            Ok(Leaking::In(state))
        }
        state => Err(format!(
            "a socket does not leak in {}: expected CLOSE_WAIT, FIN_WAIT2, CLOSE or all",
            state.name()
        )),
    }
}

/// How much of a stack to copy: up to what the kernel side has room for.
pub(super) fn stack_bytes(text: &str) -> Result<u32, String> {
    let wrong = || "expected a size from 1K to 28K".to_owned();
    let bytes = size(text).ok_or_else(wrong)?;
    if !(1 << 10..=MAX_SLICE).contains(&bytes) {
        return Err(wrong());
    }
    u32::try_from(bytes).map_err(|_too_big| wrong())
}

fn state_names() -> String {
    TcpState::ALL.map(TcpState::name).join(", ")
}

/// A network namespace; whether it exists is another question.
pub(super) fn netns(text: &str) -> Result<Netns, String> {
    // What readlink(2) says of /proc/PID/ns/net.
    let number = text
        .strip_prefix("net:[")
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    match text {
        "self" => Ok(Netns::Own),
        "" | "." | ".." => Err("expected an inode number, a name, a path or self".to_owned()),
        _ if number.bytes().all(|byte| byte.is_ascii_digit()) => match number.parse() {
            Ok(0) | Err(_) => Err(format!("{number} is no inode number of a namespace")),
            Ok(inode) => Ok(Netns::Inode(inode)),
        },
        path if path.contains('/') => Ok(Netns::Path(path.into())),
        name => Ok(Netns::Name(name.to_owned())),
    }
}

/// Bytes, a power of two of at least one page, as `BPF_MAP_TYPE_RINGBUF` wants:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/ringbuf.c#L198-L205>
pub(super) fn ring_size(text: &str) -> Result<u32, String> {
    let page = rustix::param::page_size() as u64;
    let wrong = || format!("expected a power of two from {page} to 2G, such as 64K or 16M");
    let bytes = size(text).ok_or_else(wrong)?;
    if !bytes.is_power_of_two() || !(page..=RING_MAX).contains(&bytes) {
        return Err(wrong());
    }
    u32::try_from(bytes).map_err(|_too_big| wrong())
}

/// 1 and up, in thousands and millions too.
pub(super) fn sockets(text: &str) -> Result<usize, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "m" | "M" => Some(1_000_000),
        _ => None,
    };
    let number = number.parse::<usize>().ok();
    let product = number
        .zip(unit)
        .and_then(|(number, unit)| number.checked_mul(unit));
    match product {
        Some(count @ 1..) => Ok(count),
        _ => Err("expected a number of sockets from 1, such as 5000, 20K or 1M".to_owned()),
    }
}

/// `65536`, `64K`, `64KiB`.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}
