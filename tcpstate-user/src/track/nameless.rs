//! Sockets seen by a source that tells no kernel addresses (`sock_diag`).
//!
//! It knows them by network namespace and tuple until the first event of one
//! brings its address. Listeners that share a port (`SO_REUSEPORT`) are one
//! here, and stay when one of them is taken over.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::{record::Tuple, state::TcpState};
use zerocopy::IntoBytes as _;

use super::{
    entry::{Entry, Generation},
    table::is_birth,
};
use crate::decode::{KtimeNs, Snapshot, SockAddr64, Transition};

/// What identifies a full socket without its address.
pub(super) type Key = (u32, Tuple);

/// The sockets without a name.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    pub(super) map: HashMap<Key, Entry, RandomState>,
}

impl Nameless {
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The socket that `event` is of, if a walk has seen it.
    pub(super) fn take(
        &mut self,
        at: KtimeNs,
        event: &Transition,
        generation: Generation,
    ) -> Option<Entry> {
        if self.map.is_empty() || is_birth(event) {
            return None;
        }
        let key = (event.netns, event.tuple);
        let entry = *self.map.get(&key)?;
        if entry.is_other(at, event, generation) {
            return None;
        }
        if entry.state != TcpState::Listen {
            self.map.remove(&key);
        }
        Some(entry)
    }

    /// Forgets a socket whose address has become known otherwise.
    pub(super) fn forget(&mut self, entry: &Entry) {
        if !self.map.is_empty() && entry.state != TcpState::Listen {
            self.map.remove(&(entry.netns, entry.tuple));
        }
    }

    /// The socket that `seen` is of.
    pub(super) fn get_mut(&mut self, seen: &Snapshot) -> Option<&mut Entry> {
        self.map.get_mut(&(seen.netns, seen.tuple))
    }

    pub(super) fn insert(&mut self, at: KtimeNs, seen: &Snapshot, generation: Generation) {
        let entry = Entry::seeded(at, seen, generation);
        self.map.insert((seen.netns, seen.tuple), entry);
    }

    /// Drops every socket that `gone` says is gone.
    pub(super) fn drop_where(&mut self, mut gone: impl FnMut(SockAddr64, &mut Entry) -> bool) {
        self.map.retain(|key, entry| !gone(stand_in(key), entry));
    }
}

/// What stands for the address in the identity of a connection whose socket
/// was never named: the same number in every replay (FNV-1a of the key), and no
/// kernel address, which has the highest bit set.
pub(super) fn stand_in((netns, tuple): &Key) -> SockAddr64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = netns.to_ne_bytes();
    let hash = bytes.iter().chain(tuple.as_bytes());
    SockAddr64(hash.fold(0xcbf2_9ce4_8422_2325, mix) >> 1)
}
