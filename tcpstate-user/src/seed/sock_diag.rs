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

use super::inet_diag::{AF_INET, AF_INET6, Datagram, Fault, Progress, parse, request};
use super::monotonic_ns;

/// How often a dump that the kernel calls inconsistent is taken again.
const TRIES: u32 = 4;
/// The kernel sends at most 32 KiB at a time (`max_recvmsg_len`):
/// <https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c>.
const ROOM: usize = 64 << 10;

/// Appends a `Snapshot` for each TCP socket of the namespace `netns`, in which
/// the calling thread must be.
///
/// A snapshot's time is the one after its datagram was received. The socket was
/// looked at between the walk's begin and then; the later bound is the one with
/// which a dwell counted from the snapshot is never too long.
///
/// # Errors
///
/// When the kernel refuses, or its answer cannot be read. Nothing is appended.
pub(super) fn dump(netns: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    for family in [AF_INET, AF_INET6] {
        if let Err(error) = dump_family(family, netns, out) {
            out.truncate(begin);
            return Err(error);
        }
    }
    Ok(())
}

fn dump_family(family: u8, netns: u32, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    ask(&request(family, SEQ), &mut |part| match part {
        Part::Begin => {
            out.truncate(begin);
            Ok(Progress::More)
        }
        Part::Datagram(bytes) => {
            let about = Datagram {
                seq: SEQ,
                netns,
                ktime: monotonic_ns(),
            };
            parse(bytes, about, out)
        }
    })
}

/// The sequence number of every request.
pub(crate) const SEQ: u32 = 1;

/// What comes of a request.
pub(crate) enum Part<'a> {
    /// It is asked, or asked again: what came before does not count.
    Begin,
    /// A part of the answer.
    Datagram(&'a [u8]),
}

/// Asks the kernel about the sockets of the network namespace in which the
/// calling thread is, and hands the answer to `take`.
///
/// # Errors
///
/// When the kernel refuses, or its answer cannot be read.
pub(crate) fn ask(
    request: &[u8],
    take: &mut dyn FnMut(Part<'_>) -> Result<Progress, Fault>,
) -> io::Result<()> {
    let mut buffer = vec![0; ROOM];
    for _ in 1..TRIES {
        match ask_once(request, &mut buffer, take) {
            Err(Failure::Answer(Fault::Interrupted)) => {}
            Err(Failure::TooLong(need)) => buffer.resize(need, 0),
            result => return result.map_err(io::Error::from),
        }
    }
    ask_once(request, &mut buffer, take).map_err(io::Error::from)
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

/// One dump over a socket of its own, so that nothing is left of an earlier one.
fn ask_once(
    request: &[u8],
    buffer: &mut [u8],
    take: &mut dyn FnMut(Part<'_>) -> Result<Progress, Fault>,
) -> Result<(), Failure> {
    take(Part::Begin).map_err(Failure::Answer)?;
    let socket = open()?;
    retry_on_intr(|| send(&socket, request, SendFlags::empty()))?;
    loop {
        // With TRUNC the length is the datagram's own, even where it is longer
        // than the buffer.
        let (_, len) = retry_on_intr(|| recv(&socket, &mut *buffer, RecvFlags::TRUNC))?;
        let datagram = buffer.get(..len).ok_or(Failure::TooLong(len))?;
        if datagram.is_empty() {
            return Err(Failure::Answer(Fault::Truncated { have: 0, need: 16 }));
        }
        if take(Part::Datagram(datagram)).map_err(Failure::Answer)? == Progress::Done {
            return Ok(());
        }
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
