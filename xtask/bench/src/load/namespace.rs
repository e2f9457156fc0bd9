//! A network namespace of the load's own.
//!
//! `TIME_WAIT` of one run is gone with it before the next begins, every one has
//! its minisocket, and nothing of the host is changed.

use std::fs;

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// The index of `lo`, the first interface of every namespace.
const LOOPBACK: i32 = 1;

/// Moves this process, which has one thread, to a new one with loopback up.
pub(crate) fn enter() -> Result<()> {
    // SAFETY: memory is shared as before; the flag is about sockets that are
    // made from now on.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("a network namespace")?;
    // SAFETY: it has no condition but an index, which is that of `lo`.
    unsafe { aya::sys::netlink_set_link_up(LOOPBACK) }
        .map_err(|error| anyhow!("lo up: {error:?}"))?;
    set("net/ipv4/ip_local_port_range", "1025 65535")?;
    set("net/ipv4/tcp_max_tw_buckets", "2000000")?;
    set("net/core/somaxconn", "1000000")
}

fn set(name: &str, value: &str) -> Result<()> {
    let path = format!("/proc/sys/{name}");
    fs::write(&path, value).with_context(|| format!("{path} = {value}"))
}
