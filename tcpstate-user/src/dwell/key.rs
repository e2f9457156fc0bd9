//! What groups differ by.

use std::hash::{Hash, Hasher};

use tcpstate_common::{record::Tuple, state::TcpState};

use crate::{
    decode::Family,
    track::{Change, Open, Process},
};

/// Something that groups can differ by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// The state, which they always do
    State,
    /// Local port
    Lport,
    /// Remote port
    Rport,
    /// Who connected, accepted or listened; nobody before that
    Process,
    /// Remote address
    Peer,
    /// Network namespace
    Netns,
}

/// A set of [`By`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// [`By::Process`]
    pub process: bool,
    /// [`By::Lport`]
    pub lport: bool,
    /// [`By::Peer`]
    pub peer: bool,
    /// [`By::Rport`]
    pub rport: bool,
    /// [`By::Netns`]
    pub netns: bool,
}

/// What the stays of a group have in common. `None` is what is not asked for
/// as well as what is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Always.
    pub state: TcpState,
    /// Origin.
    pub process: Option<Process>,
    /// Local port.
    pub lport: Option<u16>,
    /// Remote address.
    pub peer: Option<Peer>,
    /// Remote port.
    pub rport: Option<u16>,
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Nothing but the state: there was no room for the group.
    pub is_rest: bool,
}

/// A remote address, as its socket spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As in [`Tuple`].
    pub addr: [u8; 16],
    /// Of the socket.
    pub family: Family,
}

impl Keys {
    pub(super) fn new(by: &[By]) -> Self {
        let has = |key| by.contains(&key);
        Self {
            process: has(By::Process),
            lport: has(By::Lport),
            peer: has(By::Peer),
            rport: has(By::Rport),
            netns: has(By::Netns),
        }
    }

    pub(super) fn of_change(self, change: &Change) -> Key {
        let Change { origin, netns, .. } = *change;
        self.of(change.old, origin, change.family, netns, &change.tuple)
    }

    pub(super) fn of_open(self, open: &Open) -> Key {
        let Open { origin, netns, .. } = *open;
        self.of(open.state, origin, open.family, netns, &open.tuple)
    }

    fn of(
        self,
        state: TcpState,
        origin: Option<Process>,
        family: Family,
        netns: u32,
        tuple: &Tuple,
    ) -> Key {
        let port = |asked: bool, port| (asked && port != 0).then_some(port);
        let peer = Peer {
            addr: tuple.raddr,
            family,
        };
        Key {
            state,
            process: origin.filter(|_| self.process),
            lport: port(self.lport, tuple.lport),
            // Nothing has a remote address and no remote port.
            peer: (self.peer && tuple.rport != 0).then_some(peer),
            rport: port(self.rport, tuple.rport),
            netns: (self.netns && netns != 0).then_some(netns),
            is_rest: false,
        }
    }
}

/// Field by field takes twice as long, and a report of a million sockets is
/// mostly this. Names and families are left to the comparison: they hardly ever
/// tell groups apart that nothing else does.
impl Hash for Key {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let pid = self.process.map_or(0, |process| process.pid);
        let port = |port: Option<u16>| u64::from(port.unwrap_or(0));
        let ports = port(self.lport) << 16 | port(self.rport);
        let netns = u64::from(self.netns.unwrap_or(0));
        hasher.write_u64(u64::from(pid) << 32 | ports);
        hasher.write_u64(netns << 8 | u64::from(self.state as u8));
        if let Some(peer) = &self.peer {
            hasher.write_u128(u128::from_be_bytes(peer.addr));
        }
    }
}

impl Key {
    /// That of the group for what there was no room for.
    pub(super) fn rest(state: TcpState) -> Self {
        Self {
            state,
            process: None,
            lport: None,
            peer: None,
            rport: None,
            netns: None,
            is_rest: true,
        }
    }

    /// An order that is the same in every run.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let process = self.process.map(|it| (it.pid, it.comm));
        let peer = self.peer.map(|it| (it.addr, it.family == Family::Inet6));
        let numbers = (process, self.lport, peer, self.rport, self.netns);
        (self.is_rest, numbers)
    }
}
