//! Sockets, step by step, each step with the interval in which it happened.

use std::{
    fs,
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, read, write},
    net::{
        AddressFamily, Shutdown, SocketAddrAny, SocketFlags, SocketType, accept_with, bind,
        connect, getpeername, getsockname, listen, shutdown, socket_with, sockopt,
    },
};

use crate::{
    clock::{Interval, patience, timed},
    process::own_files,
};

/// One end of a connection, as its lines should name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    /// Inode number of the network namespace.
    pub netns: u64,
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
}

impl Side {
    /// The other end, in the same network namespace.
    pub(crate) fn peer(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            ..self
        }
    }
}

/// Inode number of the calling thread's network namespace.
pub(crate) fn netns() -> u64 {
    fs::metadata("/proc/thread-self/ns/net").unwrap().ino()
}

/// A TCP socket that is not connected.
pub(crate) fn socket(address: SocketAddr) -> OwnedFd {
    own_files();
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let fd = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    sockopt::set_socket_reuseaddr(&fd, true).unwrap();
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, false).unwrap();
    }
    fd
}

/// A socket bound to `address`; port 0 lets the kernel choose.
pub(crate) fn bound(address: SocketAddr) -> (OwnedFd, SocketAddr) {
    let fd = socket(address);
    bind(&fd, &address).unwrap();
    let local = own_address(fd.as_fd());
    (fd, local)
}

fn own_address(fd: BorrowedFd<'_>) -> SocketAddr {
    plain(getsockname(fd).unwrap())
}

fn plain(address: SocketAddrAny) -> SocketAddr {
    SocketAddr::try_from(address).unwrap()
}

/// A listening socket.
pub(crate) struct Listener {
    fd: OwnedFd,
    /// Where; the remote end is unspecified.
    pub side: Side,
    /// When it began to listen.
    pub listened: Interval,
}

impl Listener {
    /// Listens on `address`; port 0 lets the kernel choose.
    pub(crate) fn on(address: &str) -> Self {
        let (fd, local) = bound(address.parse().unwrap());
        Self::from_bound(fd, local)
    }

    /// Listens with a socket that has its port already.
    pub(crate) fn from_bound(fd: OwnedFd, local: SocketAddr) -> Self {
        let ((), listened) = timed(|| listen(&fd, 4096).unwrap());
        let unspecified = match local {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let side = Side {
            netns: netns(),
            local,
            remote: unspecified.parse().unwrap(),
        };
        Self { fd, side, listened }
    }

    /// Takes the next connection; `opened` reaches from the client's connect
    /// to the return of accept.
    pub(crate) fn accept(&self, client: &Conn) -> Conn {
        wait_readable(self.fd.as_fd());
        let (fd, accepted) = timed(|| accept_with(&self.fd, SocketFlags::CLOEXEC).unwrap());
        Conn::new(fd, self.side.netns, client.opened.until(accepted))
    }

    /// Takes the next connection, of whomever.
    pub(crate) fn take(&self) -> OwnedFd {
        wait_readable(self.fd.as_fd());
        accept_with(&self.fd, SocketFlags::CLOEXEC).unwrap()
    }

    /// A client and the server's end of it.
    pub(crate) fn pair(&self) -> (Conn, Conn) {
        let client = Conn::to(self.side.local);
        let server = self.accept(&client);
        (client, server)
    }

    /// Closes it.
    pub(crate) fn close(self) -> Interval {
        timed(|| drop(self.fd)).1
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A connected socket.
pub(crate) struct Conn {
    fd: OwnedFd,
    /// Its addresses.
    pub side: Side,
    /// When it was opened.
    pub opened: Interval,
}

impl Conn {
    /// Connects from an address that the kernel chooses.
    pub(crate) fn to(remote: SocketAddr) -> Self {
        Self::with(socket(remote), remote)
    }

    /// Connects with a socket that exists already.
    pub(crate) fn with(fd: OwnedFd, remote: SocketAddr) -> Self {
        Self::attempt(fd, remote).unwrap_or_else(|error| panic!("connect to {remote}: {error}"))
    }

    /// As [`Self::with`], where it may fail.
    pub(crate) fn attempt(fd: OwnedFd, remote: SocketAddr) -> Result<Self, Errno> {
        let (done, opened) = timed(|| connect(&fd, &remote));
        done.map(|()| Self::new(fd, netns(), opened))
    }

    fn new(fd: OwnedFd, netns: u64, opened: Interval) -> Self {
        let side = Side {
            netns,
            local: own_address(fd.as_fd()),
            remote: plain(getpeername(&fd).unwrap().unwrap()),
        };
        Self { fd, side, opened }
    }

    /// Sends FIN and keeps the descriptor.
    pub(crate) fn shutdown(&self) -> Interval {
        timed(|| shutdown(&self.fd, Shutdown::Write).unwrap()).1
    }

    /// Closes the only descriptor.
    pub(crate) fn close(self) -> Interval {
        timed(|| drop(self.fd)).1
    }

    /// Closes with a RST instead of a FIN.
    pub(crate) fn abort(self) -> Interval {
        sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO)).unwrap();
        self.close()
    }

    /// Closes without a word to the peer (`TCP_REPAIR`, tcp(7)).
    pub(crate) fn vanish(self) -> Interval {
        self.set_tcp(libc::TCP_REPAIR, 1);
        self.close()
    }

    /// Sets an option of TCP whose value is an int.
    pub(crate) fn set_tcp(&self, option: i32, value: i32) {
        // SAFETY: the value lives for the call, and its length is that of an int.
        let done = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::IPPROTO_TCP,
                option,
                std::ptr::from_ref(&value).cast(),
                u32::try_from(size_of::<i32>()).unwrap(),
            )
        };
        assert_eq!(done, 0, "{option}: {}", std::io::Error::last_os_error());
    }

    /// Sends bytes.
    pub(crate) fn send(&self, bytes: &[u8]) -> Interval {
        let (sent, when) = timed(|| write(&self.fd, bytes).unwrap());
        assert_eq!(sent, bytes.len());
        when
    }

    /// Reads `count` bytes, which must come.
    pub(crate) fn receive(&self, count: usize) -> Interval {
        let mut bytes = vec![0; count];
        let mut have = 0;
        timed(|| {
            while have < count {
                wait_readable(self.fd.as_fd());
                let got = read(&self.fd, &mut bytes[have..]).unwrap();
                assert_ne!(got, 0, "end of file after {have} of {count} bytes");
                have += got;
            }
        })
        .1
    }

    /// Reads until what came ends like this.
    pub(crate) fn wait_answer(&self, end: &[u8]) -> Interval {
        let mut answer = Vec::new();
        timed(|| {
            while !answer.ends_with(end) {
                let mut buffer = [0; 1024];
                wait_readable(self.fd.as_fd());
                let got = read(&self.fd, &mut buffer).unwrap();
                assert_ne!(got, 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&buffer[..got]);
            }
        })
        .1
    }

    /// Reads end-of-file: the peer's FIN has been processed.
    pub(crate) fn end_of_file(&self) -> Interval {
        let (got, when) = self.read_once();
        assert_eq!(got, Ok(0));
        when
    }

    /// Reads ECONNRESET: the peer's RST has been processed.
    pub(crate) fn reset(&self) -> Interval {
        let (got, when) = self.read_once();
        assert_eq!(got, Err(Errno::CONNRESET));
        when
    }

    fn read_once(&self) -> (Result<usize, Errno>, Interval) {
        timed(|| {
            wait_readable(self.fd.as_fd());
            read(&self.fd, &mut [0_u8; 1][..])
        })
    }

    /// Waits until there is something to read, and reads nothing.
    pub(crate) fn wait_readable(&self) {
        wait_readable(self.fd.as_fd());
    }
}

impl AsFd for Conn {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Connects to where it must fail, and says how and when.
pub(crate) fn connect_error(fd: &OwnedFd, remote: SocketAddr) -> (Errno, Interval) {
    let (done, when) = timed(|| connect(fd, &remote));
    (done.expect_err("connect succeeded"), when)
}

/// Begins to connect, without waiting for an answer.
pub(crate) fn begin_connect(remote: SocketAddr) -> (OwnedFd, Interval) {
    let fd = socket(remote);
    rustix::io::ioctl_fionbio(&fd, true).unwrap();
    let (errno, when) = connect_error(&fd, remote);
    assert_eq!(errno, Errno::INPROGRESS);
    (fd, when)
}

/// Waits for something to read, an end, or an error.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>) -> Interval {
    let limit = Timespec {
        tv_sec: patience().as_secs().try_into().unwrap(),
        tv_nsec: 0,
    };
    let mut wanted = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let (ready, when) = timed(|| poll(&mut wanted, Some(&limit)).unwrap());
    assert_eq!(ready, 1, "waited in vain for something to read");
    when
}
