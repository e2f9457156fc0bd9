//! The sockets of a network namespace that have a port by `bind()` and no
//! connection: listeners with their queues, and those that are only bound.

use std::{io, net::Ipv4Addr, os::fd::AsFd as _};

use rustix::{
    fd::OwnedFd,
    fs::fstat,
    net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, socket_with},
};
use tcpstate_common::state::TcpState;

use crate::{
    ports::{Bound, Known, Queue},
    seed::{
        inet_diag::{
            AF_INET, AF_INET6, Fault, Message, Progress, attribute, mapped, messages, prefix,
            request_for,
        },
        sock_diag::{Part, SEQ, ask},
    },
};

/// `INET_DIAG_SKMEMINFO`, and its place in the request.
const SKMEMINFO: u16 = 7;
const WITH_SKMEMINFO: u8 = 1 << (SKMEMINFO - 1);
/// `SK_MEMINFO_DROPS`, the ninth word:
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/sock_diag.h#L17-L29>.
const DROPS: usize = 8;
/// `TCPF_LISTEN` and `TCPF_BOUND_INACTIVE`; older kernels pass over the second.
const STATES: u32 = 1 << 10 | 1 << 13;

/// Those of the namespace in which the calling thread is, with inode numbers.
pub(super) fn bound() -> io::Result<Vec<(Bound, u64)>> {
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let begin = all.len();
        let request = request_for(family, SEQ, STATES, WITH_SKMEMINFO);
        ask(&request, &mut |part| match part {
            Part::Begin => {
                all.truncate(begin);
                Ok(Progress::More)
            }
            Part::Datagram(bytes) => messages(bytes, SEQ, &mut |message| {
                all.push(socket(message)?);
                Ok(())
            }),
        })?;
    }
    Ok(all)
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

fn socket(bytes: &[u8]) -> Result<(Bound, u64), Fault> {
    let (message, attributes): (Message, _) = prefix(bytes)?;
    let addr = match message.family {
        AF_INET => mapped(message.id.src),
        AF_INET6 => message.id.src,
        other => return Err(Fault::UnknownFamily(other)),
    };
    let listens = message.state == TcpState::Listen as u8;
    let queue = Queue {
        waiting: message.rqueue,
        limit: message.wqueue,
        drops: drops(attributes)?,
    };
    let bound = Bound {
        addr,
        port: u16::from_be_bytes(message.id.sport),
        queue: listens.then_some(queue),
        pid: None,
    };
    Ok((bound, message.inode.into()))
}

fn drops(attributes: &[u8]) -> Result<Option<u32>, Fault> {
    let Some(value) = attribute(attributes, SKMEMINFO)? else {
        return Ok(None);
    };
    let (words, _) = value.as_chunks::<4>();
    Ok(words.get(DROPS).map(|word| u32::from_ne_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::drops;

    #[test]
    fn drops_are_the_ninth_word_where_the_kernel_has_nine() {
        let mut attribute = vec![40, 0, 7, 0];
        attribute.extend([0; 32]);
        attribute.extend(5_u32.to_ne_bytes());
        assert_eq!(drops(&attribute), Ok(Some(5)));
        let short = [8, 0, 7, 0, 1, 0, 0, 0];
        assert_eq!(drops(&short), Ok(None));
        assert_eq!(drops(&[]), Ok(None));
        assert!(drops(&[40, 0, 7, 0]).is_err());
    }
}
