//! The limits of every network namespace, read where they are told: sysctls,
//! counters, and the queues of listeners.
//!
//! It knows no connections and judges nothing: what is missing on this kernel
//! is told with the reason. A namespace is entered in a thread of its own.

mod holding;
mod netstat;
mod queues;
mod reader;
mod sysctl;

use std::{fs, io};

use crate::{
    ports::{Known, Limits, Reading},
    seed::each_namespace,
};

use self::holding::Holding;

pub use self::reader::Reader;

/// Of the namespace in which the calling thread is. `/proc/net` and
/// `/proc/sys/net` are those of the thread that opens them.
const PROC: &str = "/proc/thread-self/net";
const SYS: &str = "/proc/sys/net/ipv4";

/// Reads the limits of one network namespace, or of all. The calling thread
/// must end afterwards.
fn read(only: Option<u32>, bound_told: &Known<()>, holding: &mut Holding) -> Reading {
    // The first of them is the thread's own.
    let max_orphans = number("tcp_max_orphans");
    let sockstat = text(&format!("{PROC}/sockstat"));
    let orphans = sockstat.and_then(|text| netstat::sockstat(&text, "orphan"));
    let mut namespaces = Vec::new();
    let (_, failed) = each_namespace(only.unwrap_or(0), &mut |netns| {
        namespaces.push(limits(netns));
        Ok(())
    });
    holding.name(&mut namespaces);
    let missing = match failed.first() {
        Some((_, why)) => format!("its network namespace could not be read: {why}"),
        None => "its network namespace was not found".to_owned(),
    };
    Reading {
        namespaces: namespaces.into_iter().map(|(limits, _)| limits).collect(),
        orphans,
        max_orphans,
        missing: missing.into(),
        bound_unknown: bound_told.as_ref().err().cloned(),
    }
}

/// Those of the namespace in which the thread is, and the sockets among
/// [`Limits::bound`] by inode number, in the same order.
fn limits(netns: u32) -> (Limits, Vec<u64>) {
    let sockets = queues::bound().map_err(|error| reason("sock_diag", &error));
    let (bound, inodes) = match sockets {
        Ok(all) => {
            let (bound, inodes) = all.into_iter().unzip();
            (Ok(bound), inodes)
        }
        Err(why) => (Err(why), Vec::new()),
    };
    let sockstat = text(&format!("{PROC}/sockstat"));
    let netstat = text(&format!("{PROC}/netstat"));
    let limits = Limits {
        netns,
        range: setting("ip_local_port_range").and_then(|text| sysctl::range(&text)),
        reserved: setting("ip_local_reserved_ports").and_then(|text| sysctl::ranges(&text)),
        tw_reuse: number("tcp_tw_reuse"),
        tw_reuse_delay_ms: number("tcp_tw_reuse_delay"),
        timestamps: number("tcp_timestamps"),
        max_tw_buckets: number("tcp_max_tw_buckets"),
        tw_buckets: sockstat.and_then(|text| netstat::sockstat(&text, "tw")),
        counters: netstat.and_then(|text| netstat::counters(&text)),
        bound,
    };
    (limits, inodes)
}

fn number<T: std::str::FromStr>(name: &str) -> Known<T> {
    setting(name).and_then(|text| sysctl::number(name, &text))
}

fn setting(name: &str) -> Known<String> {
    match fs::read_to_string(format!("{SYS}/{name}")) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no net.ipv4.{name} here").into())
        }
        Err(error) => Err(reason(&format!("net.ipv4.{name}"), &error)),
    }
}

fn text(path: &str) -> Known<String> {
    fs::read_to_string(path).map_err(|error| reason(path, &error))
}

fn reason(what: &str, error: &io::Error) -> Box<str> {
    format!("{what}: {error}").into()
}
