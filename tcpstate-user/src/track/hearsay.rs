//! What was told of sockets whose addresses are not known yet.
//!
//! A walk by `sock_diag` tells no addresses, and what happens to a socket besides
//! transitions is told by its address alone. It is kept until the socket is known
//! by it: by a transition, or by a look, which is asked for.

use std::collections::VecDeque;

use tcpstate_common::record::Task;

use super::{
    Opened, Process,
    entry::{Entry, Generation},
};
use crate::decode::SockAddr64;

/// So much is kept: more than can happen until the ring is read and the sockets
/// are looked at.
const MOST: usize = 1 << 10;

/// Something that was told of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told {
    /// A task got it from `accept`.
    Accepted(Task),
    /// A task closes it: its next transition follows.
    CloseCalled,
    /// A RST came: `-> CLOSE` follows.
    ResetReceived,
    /// A RST went out with this reason, and `-> CLOSE` follows.
    ResetSent(Option<u32>),
    /// Something that matters elsewhere, for which its name must be known.
    Seen,
}

#[derive(Clone, Copy, Debug)]
struct Word {
    sk: SockAddr64,
    told: Told,
    generation: Generation,
    /// Whether the socket is still to be looked at.
    asks: bool,
}

/// All that was told.
#[derive(Debug, Default)]
pub(super) struct Hearsay {
    words: VecDeque<Word>,
}

impl Hearsay {
    /// Keeps it; the oldest makes room.
    pub(super) fn hear(&mut self, sk: SockAddr64, told: Told, generation: Generation) {
        let known = self.words.iter().any(|word| word.sk == sk);
        if known && matches!(told, Told::Seen) {
            return;
        }
        if self.words.len() >= MOST {
            self.words.pop_front();
        }
        self.words.push_back(Word {
            sk,
            told,
            generation,
            // The transition that follows will tell its name.
            asks: matches!(told, Told::Accepted(_) | Told::Seen),
        });
    }

    /// The sockets to be looked at; each is asked for once.
    pub(super) fn wanted(&mut self, sockets: &mut Vec<SockAddr64>) {
        for word in self.words.iter_mut().filter(|word| word.asks) {
            word.asks = false;
            sockets.push(word.sk);
        }
    }

    /// Lets `entry`, which turns out to be at `sk`, know what was told of it.
    pub(super) fn tell(&mut self, sk: SockAddr64, entry: &mut Entry) {
        self.words.retain(|word| {
            let its = word.sk == sk;
            if its {
                apply(word, entry);
            }
            !its
        });
    }

    /// The socket at `sk` is gone, or another begins there.
    pub(super) fn forget(&mut self, sk: SockAddr64) {
        if !self.words.is_empty() {
            self.words.retain(|word| word.sk != sk);
        }
    }

    /// Nothing follows that could tell whose it was.
    pub(super) fn forget_all(&mut self) {
        self.words.clear();
    }
}

fn apply(word: &Word, entry: &mut Entry) {
    match word.told {
        Told::Accepted(task) => {
            entry.origin = Some(Process {
                pid: task.pid,
                comm: task.comm,
            });
            // After a loss it may have been another at this address.
            entry.origin_in_doubt = entry.is_suspect(word.generation);
            entry.opened = Opened::Accept;
        }
        Told::CloseCalled => entry.close_called = true,
        Told::ResetReceived => entry.reset_received = true,
        Told::ResetSent(reason) => entry.reset_sent = Some(reason),
        Told::Seen => {}
    }
}
