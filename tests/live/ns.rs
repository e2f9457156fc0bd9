//! Network namespaces, and a pair of them joined by a cable.

use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{output, own_files};

fn ip(arguments: &str) {
    let words: Vec<&str> = arguments.split(' ').collect();
    output("ip", "iproute2", &words);
}

/// A network namespace with loopback up, removed with the value.
pub(crate) struct Netns {
    name: String,
    file: File,
    /// Inode number, as the tool prints it.
    pub inode: u64,
}

impl Netns {
    /// Makes one.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        own_files();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tcpstate-{}-{count}", std::process::id());
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        let file = File::open(format!("/run/netns/{name}")).unwrap();
        let inode = file.metadata().unwrap().ino();
        Self { name, file, inode }
    }

    /// Runs `work` on the calling thread inside; sockets made there stay there.
    pub(crate) fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let outside = File::open("/proc/thread-self/ns/net").unwrap();
        let switch = |file: &File| {
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), network).unwrap();
        };
        switch(&self.file);
        let value = work();
        switch(&outside);
        value
    }

    /// Sets `net.ipv4.NAME` inside.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/ipv4/{name}");
        self.enter(|| {
            std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        });
    }

    /// Runs an `ip` command inside.
    pub(crate) fn ip(&self, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
    }
}

/// Two network namespaces, 10.99.0.1 and 10.99.0.2, joined by a veth pair.
pub(crate) struct Cable {
    /// Has 10.99.0.1/24.
    pub left: Netns,
    /// Has 10.99.0.2/24.
    pub right: Netns,
}

impl Cable {
    /// Lays it.
    pub(crate) fn new() -> Self {
        let (left, right) = (Netns::new(), Netns::new());
        left.ip(&format!(
            "link add cable type veth peer name cable netns {}",
            right.name
        ));
        for (end, address) in [(&left, "10.99.0.1/24"), (&right, "10.99.0.2/24")] {
            end.ip(&format!("addr add {address} dev cable"));
            end.ip("link set cable up");
        }
        Self { left, right }
    }

    /// What either end sends is lost from now on, as it is far away: it leaves,
    /// and nobody takes it.
    pub(crate) fn cut(&self) {
        for (end, other) in [(&self.left, "10.99.0.2"), (&self.right, "10.99.0.1")] {
            end.ip(&format!(
                "neigh replace {other} lladdr 02:00:00:00:00:01 dev cable nud permanent"
            ));
        }
    }

    /// Pulls the plug of the right end: the left has no carrier, and what it sends
    /// does not even leave.
    ///
    /// Each end keeps believing in the other's address; else it would give up for
    /// want of a neighbour, and not because nobody answers.
    pub(crate) fn unplug(&self) {
        self.cut();
        self.right.ip("link set cable down");
    }
}
