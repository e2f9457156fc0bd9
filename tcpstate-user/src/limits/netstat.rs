//! The counters of `/proc/net/netstat` and `/proc/net/sockstat`, by name: which
//! there are, and in which order, is different from kernel to kernel.

use crate::ports::{Counters, Known};

/// Of the lines `TcpExt:`, the first of which has the names.
pub(super) fn counters(text: &str) -> Known<Counters> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let missing = |what: &str| -> Box<str> { format!("/proc/net/netstat has no {what}").into() };
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(missing("TcpExt"));
    };
    let of = |wanted: &str| {
        let mut both = names.split_whitespace().zip(values.split_whitespace());
        let found = both.find(|(name, _)| *name == wanted);
        let value = found.and_then(|(_, value)| value.parse().ok());
        value.ok_or_else(|| missing(wanted))
    };
    Ok(Counters {
        listen_overflows: of("ListenOverflows")?,
        listen_drops: of("ListenDrops")?,
        time_wait_overflows: of("TCPTimeWaitOverflow")?,
    })
}

/// Of the line `TCP:`, in which values follow their names.
pub(super) fn sockstat(text: &str, wanted: &str) -> Known<u64> {
    let missing = || format!("/proc/net/sockstat has no TCP {wanted}").into();
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"));
    let mut words = line.unwrap_or_default().split_whitespace();
    let found = words.find(|word| *word == wanted).and(words.next());
    found
        .and_then(|value| value.parse().ok())
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::{counters, sockstat};

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: A ListenDrops TCPTimeWaitOverflow ListenOverflows\n\
                    TcpExt: 9 3 0 2\nIpExt: ListenDrops\nIpExt: 7\n";
        let counters = counters(text).unwrap();
        assert_eq!((counters.listen_overflows, counters.listen_drops), (2, 3));
    }

    #[test]
    fn a_counter_that_is_missing_is_named() {
        let why = counters("TcpExt: ListenOverflows\nTcpExt: 1\n").unwrap_err();
        assert_eq!(&*why, "/proc/net/netstat has no ListenDrops");
        assert!(counters("").is_err());
        assert!(counters("TcpExt: ListenOverflows ListenDrops\nTcpExt: 1\n").is_err());
    }

    #[test]
    fn values_follow_their_names_in_sockstat() {
        let text = "sockets: used 9\nTCP: inuse 1 orphan 2 tw 30 alloc 4 mem 5\n";
        assert_eq!(sockstat(text, "tw"), Ok(30));
        assert_eq!(sockstat(text, "orphan"), Ok(2));
        assert!(sockstat("TCP: tw", "tw").is_err());
    }
}
