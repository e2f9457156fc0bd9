//! The last look at a socket, in the language of the scenarios.

use tcpstate::decode::{LastLook, SockAddr64};

use crate::step::{number, task, value};

/// What is not said of it is as nothing has set it.
pub(crate) fn look(sk: SockAddr64, words: &[&str]) -> LastLook {
    let has = |word| words.contains(&word);
    LastLook {
        sk,
        bytes_received: value(words, "in=").map(number),
        bytes_sent: value(words, "out=").map(number),
        retransmits: value(words, "again=").map(number),
        unread: value(words, "unread=").map_or(0, number),
        user_timeout_ms: Some(value(words, "timeout=").map_or(0, number)),
        probes: None,
        idle_ms: value(words, "idle=").map(number),
        keepalive: has("keepalive"),
        linger_zero: Some(has("linger0")),
        no_fin_wait2: has("linger2"),
        task: task(value(words, "by=").unwrap_or("1/swapper")),
        exiting: has("exiting"),
    }
}
