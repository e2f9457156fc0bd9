//! Connections that are opened, fail and are reset in every way that takes no
//! minute, each with what has to be counted of it.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use rustix::{
    io::Errno,
    net::{connect_unspec, listen, sockopt::socket_error},
};

use crate::{
    net::{Conn, Listener, begin_connect, bound, connect_error, socket, wait_readable},
    ns::Netns,
    peer::{HOST, Peer, RST},
    process::output,
    tables::wait_gone,
};

/// What a test did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) active: u64,
    pub(super) passive: u64,
    pub(super) failed: u64,
    pub(super) resets: u64,
    pub(super) no_port: u64,
    pub(super) given_up: u64,
    pub(super) accepted: u64,
    /// Of the failed ones, what only the end of a request tells.
    pub(super) requests: u64,
}

impl Done {
    /// Connections that were opened and accepted, and `resets` ends of them reset.
    const fn pairs(count: u64, resets: u64) -> Self {
        Self {
            active: count,
            passive: count,
            accepted: count,
            resets,
            failed: 0,
            no_port: 0,
            given_up: 0,
            requests: 0,
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            active: self.active + other.active,
            passive: self.passive + other.passive,
            failed: self.failed + other.failed,
            resets: self.resets + other.resets,
            no_port: self.no_port + other.no_port,
            given_up: self.given_up + other.given_up,
            accepted: self.accepted + other.accepted,
            requests: self.requests + other.requests,
        }
    }
}

pub(super) fn orderly(listener: &Listener) -> Done {
    for _ in 0..7 {
        let (client, server) = listener.pair();
        client.close();
        server.end_of_file();
        server.close();
    }
    Done::pairs(7, 0)
}

pub(super) fn refused() -> Done {
    let (_held, nobody) = bound("127.0.0.1:0".parse().unwrap());
    for _ in 0..5 {
        let (errno, _) = connect_error(&socket(nobody), nobody);
        assert_eq!(errno, Errno::CONNREFUSED);
    }
    Done {
        active: 5,
        failed: 5,
        ..Done::default()
    }
}

/// Both ends of a connection that is aborted are reset, whoever did it; an end
/// that has sent its FIN is not, and one that has got a FIN is.
pub(super) fn reset(listener: &Listener) -> Done {
    let (client, server) = listener.pair();
    client.abort();
    server.reset();
    let (client, server) = listener.pair();
    client.send(b"unread");
    server.wait_readable();
    server.close();
    client.reset();
    let (client, server) = listener.pair();
    client.shutdown();
    server.end_of_file();
    server.abort();
    wait_gone(&client.side);
    let (client, server) = listener.pair();
    connect_unspec(&client).unwrap();
    server.reset();
    Done::pairs(4, 2 + 2 + 1 + 2)
}

/// The process that reads `CLOSE` from a connection that `ss -K` ended.
pub(super) fn killed(listener: &Listener) -> Done {
    let (client, server) = listener.pair();
    let port = format!(":{}", client.side.local.port());
    output("ss", "iproute2", &["-K", "-tn4", "sport", "=", &port]);
    wait_gone(&client.side);
    server.reset();
    Done::pairs(1, 2)
}

/// A listener that is closed resets whom it has not accepted.
pub(super) fn never_accepted() -> Done {
    let listener = Listener::on("127.0.0.1:0");
    let client = Conn::to(listener.side.local);
    wait_readable(listener.as_fd());
    listener.close();
    client.reset();
    Done {
        accepted: 0,
        ..Done::pairs(1, 2)
    }
}

/// A connect that meets itself is not passive.
pub(super) fn with_itself() -> Done {
    let (fd, own) = bound("127.0.0.1:0".parse().unwrap());
    let alone = Conn::with(fd, own);
    alone.close();
    Done {
        active: 1,
        ..Done::default()
    }
}

/// A listener with room for one connection, which is taken.
pub(super) fn full() -> (OwnedFd, SocketAddr, Conn) {
    let (fd, local) = bound("127.0.0.1:0".parse().unwrap());
    listen(&fd, 0).unwrap();
    let client = Conn::to(local);
    wait_readable(fd.as_fd());
    (fd, local, client)
}

/// Who is not answered and closes has given up, who waits for too long has failed.
pub(super) fn not_answered() -> Done {
    let (listener, local, first) = full();
    for _ in 0..3 {
        drop(begin_connect(local));
    }
    let (undone, _) = begin_connect(local);
    connect_unspec(&undone).unwrap();
    let fd = socket(local);
    rustix::io::ioctl_fionbio(&fd, true).unwrap();
    let (errno, _) = connect_error(&fd, local);
    assert_eq!(errno, Errno::INPROGRESS);
    wait_readable(fd.as_fd());
    assert_eq!(socket_error(&fd).unwrap(), Err(Errno::TIMEDOUT));
    drop(fd);
    first.close();
    drop(listener);
    Done {
        active: 1 + 3 + 1 + 1,
        passive: 1,
        given_up: 3 + 1,
        failed: 1,
        // In the queue, in CLOSE_WAIT; its client has sent a FIN.
        resets: 1,
        ..Done::default()
    }
}

/// No port is free, so that no SYN leaves.
pub(super) fn without_a_port(inside: &Netns, listener: &Listener) -> Done {
    inside.set("ip_local_port_range", "40000 40001");
    let pairs = [listener.pair(), listener.pair()];
    for _ in 0..2 {
        let remote = listener.side.local;
        let (errno, _) = connect_error(&socket(remote), remote);
        assert_eq!(errno, Errno::ADDRNOTAVAIL);
    }
    for (client, server) in pairs {
        client.close();
        server.end_of_file();
        server.close();
    }
    Done {
        no_port: 2,
        ..Done::pairs(2, 0)
    }
}

/// A request that gets a RST has failed, one that runs out has not.
pub(super) fn requests(inside: &Netns, peer: &Peer) -> Done {
    let listener = inside.enter(|| Listener::on(&format!("{HOST}:0")));
    let sides = [2_001, 2_002].map(|port| {
        let attempt = peer.syn(port, listener.side.local);
        if port == 2_001 {
            attempt.send(RST);
        }
        crate::net::Side {
            remote: attempt.remote,
            ..listener.side
        }
    });
    inside.enter(|| {
        for side in &sides {
            wait_gone(side);
        }
    });
    Done {
        failed: 1,
        requests: 1,
        ..Done::default()
    }
}

/// `TCP_FASTOPEN_CONNECT`
pub(super) fn connect_with_data(fd: &OwnedFd) {
    let on: libc::c_int = 1;
    // SAFETY: the value lives for the call and the length is its own.
    let done = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_FASTOPEN_CONNECT,
            (&raw const on).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap(),
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
