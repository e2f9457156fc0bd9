//! What is done to a batch of connections, by a thread that is both peers.
//!
//! On loopback a handshake is complete when `connect` returns, and a segment has
//! been dealt with when the call that sent it returns: nobody has to wait.

use std::net::{Ipv4Addr, SocketAddrV4};

use clap::ValueEnum;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, accept_with, bind, connect, connect_unspec,
        getsockname, listen, socket_with, sockopt,
    },
};
use serde::{Deserialize, Serialize};

/// How connections come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The side that connected closes first.
    ClientFin,
    /// The side that accepted closes first.
    ServerFin,
    /// The side that connected aborts (linger 0).
    ClientReset,
    /// The side that accepted aborts.
    ServerReset,
    /// Nobody listens.
    Refused,
    /// No connection: a socket listens and is disconnected. The cheapest way to
    /// two transitions.
    Listen,
}

impl Mode {
    /// Transitions of `sock:inet_sock_set_state` for each connection. `TIME_WAIT`
    /// is not among them: a full socket goes from `FIN_WAIT2` to `CLOSE`.
    pub(crate) const fn transitions(self) -> u64 {
        match self {
            Self::ClientFin | Self::ServerFin => 10,
            Self::ClientReset | Self::ServerReset => 6,
            Self::Refused | Self::Listen => 2,
        }
    }

    const fn aborts(self) -> bool {
        matches!(self, Self::ClientReset | Self::ServerReset)
    }
}

/// One thread's sockets.
pub(crate) struct Peers {
    mode: Mode,
    /// Listens; of [`Mode::Refused`] it holds a port and does not listen; of
    /// [`Mode::Listen`] it is what comes and goes.
    socket: OwnedFd,
    port: u16,
    /// Destinations so far lie behind this address.
    first: Ipv4Addr,
    made: u64,
    clients: Vec<OwnedFd>,
    servers: Vec<OwnedFd>,
}

/// A destination has 64,511 ports (`namespace`); the fuller it is the longer the
/// kernel looks for one that is free.
const PER_ADDRESS: u64 = 2_000;
/// Destinations before they are used again. A thread has a /12 of 127.0.0.0/8.
const ADDRESSES: u64 = 1 << 19;

impl Peers {
    /// Those of a thread; up to eight have addresses of their own.
    pub(crate) fn new(mode: Mode, thread: u8) -> Result<Self, Errno> {
        let socket = tcp()?;
        let first = Ipv4Addr::new(127, 16 * (thread % 8), 1, 1);
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        if !matches!(mode, Mode::Refused | Mode::Listen) {
            listen(&socket, 1 << 12)?;
        }
        let own =
            SocketAddrV4::try_from(getsockname(&socket)?).map_err(|_other| Errno::AFNOSUPPORT)?;
        Ok(Self {
            mode,
            socket,
            port: own.port(),
            first,
            made: 0,
            clients: Vec::new(),
            servers: Vec::new(),
        })
    }

    /// Opens and ends this many connections.
    pub(crate) fn batch(&mut self, count: u32) -> Result<(), Errno> {
        match self.mode {
            Mode::Refused => self.refused(count),
            Mode::Listen => self.listened(count),
            _ => {
                self.open(count)?;
                self.end()
            }
        }
    }

    fn open(&mut self, count: u32) -> Result<(), Errno> {
        for _ in 0..count {
            let client = tcp()?;
            connect(&client, &self.destination())?;
            self.clients.push(client);
        }
        for _ in 0..count {
            let server = accept_with(&self.socket, SocketFlags::CLOEXEC)?;
            self.servers.push(server);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Errno> {
        let first_client = matches!(self.mode, Mode::ClientFin | Mode::ClientReset);
        let (first, second) = if first_client {
            (&mut self.clients, &mut self.servers)
        } else {
            (&mut self.servers, &mut self.clients)
        };
        if self.mode.aborts() {
            for socket in &*first {
                let at_once = Some(std::time::Duration::ZERO);
                sockopt::set_socket_linger(socket, at_once)?;
            }
        }
        first.clear();
        second.clear();
        Ok(())
    }

    fn refused(&mut self, count: u32) -> Result<(), Errno> {
        for _ in 0..count {
            let client = tcp()?;
            match connect(&client, &self.destination()) {
                Err(Errno::CONNREFUSED) => {}
                Err(other) => return Err(other),
                Ok(()) => return Err(Errno::ISCONN),
            }
        }
        Ok(())
    }

    fn listened(&mut self, count: u32) -> Result<(), Errno> {
        for _ in 0..count {
            listen(&self.socket, 1)?;
            connect_unspec(&self.socket)?;
        }
        Ok(())
    }

    /// Opens one more that stays: the far side waits to be accepted, so that two
    /// sockets cost one descriptor.
    pub(crate) fn keep(&mut self) -> Result<OwnedFd, Errno> {
        let client = tcp()?;
        connect(&client, &self.destination())?;
        Ok(client)
    }

    /// Lets so many wait to be accepted.
    pub(crate) fn widen(&self, backlog: i32) -> Result<(), Errno> {
        listen(&self.socket, backlog)
    }

    fn destination(&mut self) -> SocketAddrV4 {
        let next = (self.made / PER_ADDRESS) % ADDRESSES;
        self.made += 1;
        let address = u32::from(self.first) + u32::try_from(next).unwrap_or(0);
        SocketAddrV4::new(address.into(), self.port)
    }
}

fn tcp() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_does_what_it_says_and_leaves_no_descriptor() {
        for mode in Mode::value_variants() {
            let mut peers = Peers::new(*mode, 7).unwrap();
            peers.batch(3).unwrap();
            peers.batch(1).unwrap();
            assert!(peers.clients.is_empty() && peers.servers.is_empty());
        }
    }

    #[test]
    fn destinations_change_before_an_address_is_full_and_stay_in_the_threads_own() {
        let mut peers = Peers::new(Mode::Refused, 1).unwrap();
        assert_eq!(*peers.destination().ip(), Ipv4Addr::new(127, 16, 1, 1));
        peers.made = PER_ADDRESS;
        assert_eq!(*peers.destination().ip(), Ipv4Addr::new(127, 16, 1, 2));
        peers.made = PER_ADDRESS * ADDRESSES - 1;
        assert_eq!(peers.destination().ip().octets()[..2], [127, 24]);
        assert_eq!(*peers.destination().ip(), Ipv4Addr::new(127, 16, 1, 1));
    }
}
