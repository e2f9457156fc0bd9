//! Records of sockets that were never there, as many as wanted: what comes next
//! happens to one that is chosen at random, the worst locality there can be.
//!
//! A socket is born of a listener, established, closed by its peer and then by
//! its process, destroyed, and born again at the same address.

use tcpstate_common::record::{
    Header, OnSocket, Task, Transition, TransitionInTask, Tuple, how, kind, words_of,
};
use zerocopy::IntoBytes as _;

// Numbers of the kernel's states, fixed by
// https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;

/// Records of a whole life.
const LIFE: u8 = 6;
/// Of a life, those until it is established.
const BIRTH: u8 = 2;
/// Between two records, in nanoseconds: a million in a second.
const TICK: u64 = 1_000;

/// Sockets, and how far each is in its life.
pub struct Population {
    steps: Vec<u8>,
    clock: u64,
    random: u64,
}

impl Population {
    /// None of them has been born.
    pub fn new(sockets: usize) -> Self {
        Self {
            steps: vec![0; sockets],
            clock: 1_000_000_000,
            random: 1,
        }
    }

    /// All of them are born and established; gives the number of records.
    pub fn be_born(&mut self, mut put: impl FnMut(&[u8])) -> u64 {
        for socket in 0..self.steps.len() {
            for _ in 0..BIRTH {
                self.step(socket, &mut put);
            }
        }
        self.steps.len() as u64 * u64::from(BIRTH)
    }

    /// So many more records.
    pub fn live(&mut self, records: u64, mut put: impl FnMut(&[u8])) {
        for _ in 0..records {
            let socket = self.random() % self.steps.len() as u64;
            let socket = usize::try_from(socket).unwrap_or(0);
            self.step(socket, &mut put);
        }
    }

    fn step(&mut self, socket: usize, put: &mut impl FnMut(&[u8])) {
        let step = self.steps[socket];
        self.steps[socket] = (step + 1) % LIFE;
        self.clock += TICK;
        let at = Place {
            ktime: self.clock,
            socket: socket as u64,
        };
        match step {
            0 => put(at.transition(LISTEN, SYN_RECV, 0).as_bytes()),
            1 => put(at.transition(SYN_RECV, ESTABLISHED, 0).as_bytes()),
            2 => put(at
                .transition(ESTABLISHED, CLOSE_WAIT, how::FIN_RECEIVED)
                .as_bytes()),
            3 => put(at.closed_by_its_process().as_bytes()),
            4 => put(at
                .transition(LAST_ACK, CLOSE, how::FILE_RELEASED)
                .as_bytes()),
            _ => put(at.destroyed().as_bytes()),
        }
    }

    /// xorshift64: the same numbers in every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// A socket and an instant.
#[derive(Clone, Copy)]
struct Place {
    ktime: u64,
    socket: u64,
}

impl Place {
    /// A slab of the kernel's `TCP` cache is 2,432 bytes on Linux 6.18.
    fn sk(self) -> u64 {
        0xffff_8880_0000_0000 + self.socket * 2_432
    }

    fn transition(self, old: u8, new: u8, how: u8) -> Transition {
        let [.., a, b, c] = self.socket.to_be_bytes();
        let mut laddr = [0; 16];
        laddr[10..].copy_from_slice(&[0xff, 0xff, 127, a, b, c]);
        Transition {
            header: header(kind::TRANSITION, words_of::<Transition>()),
            ktime: self.ktime,
            sk: self.sk(),
            tuple: Tuple {
                laddr,
                raddr: laddr,
                lport: 80,
                rport: 40_000,
            },
            old,
            new,
            how,
            err: 0,
        }
    }

    fn closed_by_its_process(self) -> TransitionInTask {
        let how = how::FILE_RELEASED | how::SEND_SHUTDOWN | how::RCV_SHUTDOWN;
        let mut transition = self.transition(CLOSE_WAIT, LAST_ACK, how);
        transition.header = header(kind::TRANSITION_IN_TASK, words_of::<TransitionInTask>());
        TransitionInTask {
            transition,
            task: Task {
                pid: 4_711,
                tid: 4_712,
                comm: *b"server\0\0\0\0\0\0\0\0\0\0",
            },
        }
    }

    fn destroyed(self) -> OnSocket {
        OnSocket {
            header: header(kind::DESTROYED, words_of::<OnSocket>()),
            ktime: self.ktime,
            sk: self.sk(),
        }
    }
}

fn header(kind: u8, words: u8) -> Header {
    Header {
        kind,
        words,
        lost: 0,
        netns: 4_026_531_840,
    }
}
