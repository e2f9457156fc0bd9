//! A `sock_diag` dump of the calling thread's network namespace.
//!
//! It knows the netlink socket; the messages are [`super::inet_diag`]'s.

use std::io;

use rustix::{
    fd::OwnedFd,
    io::retry_on_intr,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netlink, recv, send,
        socket_with,
    },
};

use super::{
    inet_diag::{AF_INET, AF_INET6, Asked, Datagram, Fault, Progress, parse, request},
    monotonic_ns,
    socket::Make,
};

/// How often a dump that the kernel calls inconsistent is taken again.
const TRIES: u32 = 4;
/// The kernel sends at most 32 KiB at a time (`max_recvmsg_len`):
/// <https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c>.
const ROOM: usize = 64 << 10;

/// Appends what `make` makes of each TCP socket of the namespace `netns` that is
/// asked for. The calling thread must be in the namespace.
///
/// A snapshot's time is the one after its datagram was received. The socket was
/// looked at between the walk's begin and then; the later bound is the one with
/// which a dwell counted from the snapshot is never too long.
///
/// # Errors
///
/// When the kernel refuses, or its answer cannot be read. Nothing is appended.
pub(super) fn dump<T>(netns: u32, asked: Asked, make: Make<T>, out: &mut Vec<T>) -> io::Result<()> {
    let begin = out.len();
    for family in [AF_INET, AF_INET6] {
        let dump = Dump {
            family,
            netns,
            asked,
            make,
        };
        if let Err(error) = dump.take(out) {
            out.truncate(begin);
            return Err(error);
        }
    }
    Ok(())
}

/// A dump of one family.
struct Dump<T> {
    family: u8,
    netns: u32,
    asked: Asked,
    make: Make<T>,
}

impl<T> Dump<T> {
    fn take(&self, out: &mut Vec<T>) -> io::Result<()> {
        let begin = out.len();
        let mut buffer = vec![0; ROOM];
        for _ in 1..TRIES {
            match self.once(&mut buffer, out) {
                Err(Failure::Answer(Fault::Interrupted)) => {}
                Err(Failure::TooLong(need)) => buffer.resize(need, 0),
                result => return result.map_err(io::Error::from),
            }
            out.truncate(begin);
        }
        self.once(&mut buffer, out).map_err(io::Error::from)
    }

    /// One dump over a socket of its own, so that nothing is left of an earlier
    /// one.
    fn once(&self, buffer: &mut [u8], out: &mut Vec<T>) -> Result<(), Failure> {
        const SEQ: u32 = 1;
        let socket = open()?;
        let request = request(self.family, SEQ, self.asked);
        retry_on_intr(|| send(&socket, &request, SendFlags::empty()))?;
        loop {
            // With TRUNC the length is the datagram's own, even where it is longer
            // than the buffer.
            let (_, len) = retry_on_intr(|| recv(&socket, &mut *buffer, RecvFlags::TRUNC))?;
            let about = Datagram {
                seq: SEQ,
                netns: self.netns,
                ktime: monotonic_ns(),
            };
            let datagram = buffer.get(..len).ok_or(Failure::TooLong(len))?;
            if datagram.is_empty() {
                return Err(Failure::Answer(Fault::Truncated { have: 0, need: 16 }));
            }
            let progress = parse(datagram, about, self.make, out).map_err(Failure::Answer)?;
            if progress == Progress::Done {
                return Ok(());
            }
        }
    }
}

/// Why one try failed.
enum Failure {
    Io(io::Error),
    Answer(Fault),
    /// A datagram of this many bytes did not fit.
    TooLong(usize),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Io(error) => error,
            Failure::Answer(fault) => Self::other(fault),
            Failure::TooLong(bytes) => Self::other(format!("a message of {bytes} bytes")),
        }
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// A netlink socket that hears the kernel only: one connected to port 0 refuses
/// the datagrams of other processes (`netlink_getsockbyportid`).
fn open() -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}
