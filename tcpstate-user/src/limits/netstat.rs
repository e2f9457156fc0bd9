//! The counters of `/proc/net/netstat` and `/proc/net/sockstat` that belong to the
//! limits.

use crate::{
    counters::{Value, named, paired},
    ports::{Counters, Known},
};

/// Of the group `TcpExt`.
pub(super) fn counters(text: &str) -> Known<Counters> {
    let of = |name: &str| known(paired(text, "TcpExt", name), name);
    Ok(Counters {
        listen_overflows: of("ListenOverflows")?,
        listen_drops: of("ListenDrops")?,
        time_wait_overflows: of("TCPTimeWaitOverflow")?,
    })
}

/// Of the group `TCP`.
pub(super) fn sockstat(text: &str, wanted: &str) -> Known<u64> {
    known(named(text, "TCP", wanted), wanted)
}

fn known(value: Value, name: &str) -> Known<u64> {
    value.map_err(|absent| format!("{name}: {absent}").into())
}

#[cfg(test)]
mod tests {
    use super::{counters, sockstat};

    #[test]
    fn a_counter_that_is_missing_is_named() {
        let whole = "TcpExt: A ListenDrops TCPTimeWaitOverflow ListenOverflows\nTcpExt: 9 3 0 2\n";
        let found = counters(whole).unwrap();
        assert_eq!((found.listen_overflows, found.listen_drops), (2, 3));
        let why = counters("TcpExt: ListenOverflows\nTcpExt: 1\n").unwrap_err();
        assert!(why.starts_with("ListenDrops: "), "{why}");
        let why = sockstat("TCP: inuse 1\n", "tw").unwrap_err();
        assert!(why.starts_with("tw: "), "{why}");
    }
}
