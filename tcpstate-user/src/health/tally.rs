//! Opens, failures and resets, counted as the kernel's own counters do.
//!
//! What the four counters of RFC 4022 that are about connections count, from
//! <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_output.c#L4049>,
//! `tcp_minisocks.c` and `tcp.c` beside it:
//!
//! - `ActiveOpens`: `tcp_connect` has sent a SYN. A `connect` that finds no port
//!   enters `SYN_SENT` too and sends none. Nor does one that is to carry data
//!   (`TCP_FASTOPEN_CONNECT`) until it is given some: closed before, it is a connect
//!   here and none for the kernel.
//! - `PassiveOpens`: `tcp_create_openreq_child` has made a socket out of a
//!   request. A handshake that fails before that is not counted, a connection
//!   that nobody accepts is.
//! - `AttemptFails`: `tcp_done` of a socket in `SYN_SENT` or `SYN_RECV`, and a
//!   request that gets a RST. Not when the application gives up: `close` and
//!   `connect(AF_UNSPEC)` do not come through `tcp_done`. Not a `connect` that
//!   finds no port either, nor a request that runs out. A request that gets a
//!   second SYN within its window is counted by the kernel and not here: events
//!   do not tell it from one that finds the accept queue full.
//! - `EstabResets`: `ESTABLISHED` or `CLOSE_WAIT` to `CLOSE`, whoever did it: a
//!   RST from the peer, but also our own for `SO_LINGER` or unread data, a
//!   timeout, `ss -K`. A RST in a state after our FIN is none.

use tcpstate_common::state::TcpState;

use crate::{
    decode::SocketKind,
    track::{Cause, Change},
};

/// Why an attempt failed that the kernel counts in `AttemptFails`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A RST answered the SYN.
    Refused,
    /// Nothing answered.
    TimedOut,
    /// ICMP said why.
    Unreachable,
    /// `ss -K`.
    Killed,
    /// On the listener's side, before the handshake was complete.
    Handshake,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Refused,
        Self::TimedOut,
        Self::Unreachable,
        Self::Killed,
        Self::Handshake,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Killed => "killed",
            Self::Handshake => "handshake",
        }
    }
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `connect` began.
    pub connects: u64,
    /// Of these, no port was free, and no SYN was sent.
    pub no_port: u64,
    /// The application closed a socket that was connecting still.
    pub given_up: u64,
    /// A listener's handshake made a socket.
    pub passive: u64,
    /// `accept` gave one to a process.
    pub accepted: u64,
    failures: [u64; Failure::ALL.len()],
    /// From `ESTABLISHED` or `CLOSE_WAIT` straight to `CLOSE`.
    pub resets: u64,
}

impl Tally {
    /// What `change` adds. `is_child`: a socket in `SYN_RECV` came from a
    /// listener, not from two connects that met.
    pub(super) fn of(change: &Change, is_child: bool) -> Self {
        let mut tally = Self::default();
        if change.cause == Some(Cause::Unseen) {
            return tally;
        }
        let is_full = change.kind == SocketKind::Full;
        match (change.old, change.new) {
            (TcpState::Close, TcpState::SynSent) => tally.connects = 1,
            (TcpState::SynSent, TcpState::Close) => tally.failed_connect(change.cause),
            (TcpState::SynRecv, new) => {
                tally.passive = u64::from(is_full && is_child);
                let request_reset = change.cause == Some(Cause::ResetReceived);
                if new == TcpState::Close && (is_full || request_reset) {
                    tally.fail(Failure::Handshake);
                }
            }
            (TcpState::Established | TcpState::CloseWait, TcpState::Close) if is_full => {
                tally.resets = 1;
            }
            _ => {}
        }
        tally
    }

    /// A process has accepted a connection.
    pub(super) fn accept() -> Self {
        Self {
            accepted: 1,
            ..Self::default()
        }
    }

    fn failed_connect(&mut self, cause: Option<Cause>) {
        match cause {
            Some(Cause::NoPort) => self.no_port = 1,
            Some(Cause::Timeout) => self.fail(Failure::TimedOut),
            Some(Cause::Unreachable) => self.fail(Failure::Unreachable),
            Some(Cause::Killed) => self.fail(Failure::Killed),
            Some(Cause::Close) | None => self.given_up = 1,
            Some(_) => self.fail(Failure::Refused),
        }
    }

    const fn fail(&mut self, failure: Failure) {
        self.failures[failure as usize] += 1;
    }

    /// How many attempts failed in one way.
    #[must_use]
    pub const fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize]
    }

    /// How many attempts failed: what `AttemptFails` counts.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// How many SYNs were sent to open a connection: what `ActiveOpens` counts.
    #[must_use]
    pub const fn active(&self) -> u64 {
        self.connects.saturating_sub(self.no_port)
    }

    /// All together: how busy a process is.
    pub(super) fn sum(&self) -> u64 {
        self.connects + self.accepted + self.failed() + self.no_port + self.resets
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.no_port += other.no_port;
        self.given_up += other.given_up;
        self.passive += other.passive;
        self.accepted += other.accepted;
        for (all, more) in self.failures.iter_mut().zip(other.failures) {
            *all += more;
        }
        self.resets += other.resets;
    }
}
