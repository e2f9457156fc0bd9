//! The sockets of a network namespace that have a port by `bind()` and no
//! connection: listeners with their queues, and those that are only bound.

use std::{io, net::Ipv4Addr, os::fd::AsFd as _};

use crate::{
    ports::{Bound, Known, Queue},
    seed,
};
use rustix::{
    fd::OwnedFd,
    fs::fstat,
    net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, socket_with},
};

/// Those of the namespace in which the calling thread is, with inode numbers.
pub(super) fn bound() -> io::Result<Vec<(Bound, u64)>> {
    let all = seed::bound()?.into_iter();
    Ok(all.map(|it| (told(&it), it.inode)).collect())
}

fn told(it: &seed::Bound) -> Bound {
    let queue = Queue {
        waiting: it.queue,
        limit: it.queue_limit,
        drops: it.drops,
    };
    Bound {
        addr: it.addr,
        port: it.port,
        queue: it.listens.then_some(queue),
        pid: None,
    }
}

/// Whether this kernel tells of sockets that are only bound: found out with
/// one, on a port that the kernel chooses and that is given back at once.
pub(super) fn tells_bound() -> Known<()> {
    match bound_is_seen() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err("this kernel does not tell of sockets that are bound and not connected".into())
        }
        Err(error) => Err(super::reason("whether bound sockets are told", &error)),
    }
}

fn bound_is_seen() -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let inode = fstat(socket.as_fd())?.st_ino;
    Ok(bound()?.iter().any(|(_, other)| *other == inode))
}
