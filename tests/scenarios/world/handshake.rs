//! The requests of the small host: handshakes that end in a child, and
//! handshakes that fail.

use tcpstate::{
    decode::{Event, How, KtimeNs, Request, RequestEvent as What, SockAddr64, Transition},
    track::Cause,
};
use tcpstate_common::{
    record::caller,
    state::TcpState::{self, *},
};

use super::{Life, Socket, Truth, World, address, listener};
use crate::remnant::Hooks;

/// A connection while it is only a request.
#[derive(Clone, Copy)]
struct Pending {
    life: Life,
    begun: KtimeNs,
}

impl Pending {
    fn event(&self, what: What, by: u8) -> Event {
        Event::Request(Request {
            req: SockAddr64(0xffff_8882_0000_0000),
            listener: SockAddr64(0xffff_8883_0000_0000),
            listener_state: Listen,
            netns: 1,
            tuple: self.life.tuple(),
            how: How(0),
            begun: self.begun,
            by,
            what,
        })
    }
}

impl World {
    /// A SYN arrives, and sooner or later what follows.
    pub(super) fn shake_hands(
        &mut self,
        index: usize,
        life: Life,
        choice: u8,
        lose: &mut impl FnMut() -> bool,
    ) {
        let begun = self.now();
        let it = Pending { life, begun };
        self.pass(1_000 + 10_000_000 * u64::from(choice % 7));
        match choice % 8 {
            0 => return self.dies(it, caller::CHECK_REQUEST, Cause::ResetReceived, lose),
            1 => return self.dies(it, caller::ABORT, Cause::Killed, lose),
            2 => {
                self.runs_out(it, lose);
                self.lives_on(it, lose);
                self.pass(2_000_000_000);
                self.runs_out(it, lose);
                return self.note_death(it, Cause::Timeout);
            }
            3 if self.hooks != Hooks::Calls => {
                self.report(it.event(What::Stopped, caller::CHECK_REQUEST), lose);
                self.lives_on(it, lose);
                self.pass(1_000);
            }
            4 => {
                self.runs_out(it, lose);
                self.lives_on(it, lose);
                self.pass(1_000);
            }
            _ => {}
        }
        self.makes_a_child(index, it, lose);
    }

    fn dies(&mut self, it: Pending, by: u8, cause: Cause, lose: &mut impl FnMut() -> bool) {
        let what = match self.hooks {
            Hooks::Calls => What::Ended,
            _ => What::Stopped,
        };
        self.report(it.event(what, by), lose);
        self.note_death(it, cause);
    }

    fn runs_out(&mut self, it: Pending, lose: &mut impl FnMut() -> bool) {
        if self.hooks != Hooks::Calls {
            self.report(it.event(What::Stopped, caller::UNKNOWN), lose);
            self.pass(1);
        }
        self.report(it.event(What::Expired, caller::UNKNOWN), lose);
    }

    fn lives_on(&mut self, it: Pending, lose: &mut impl FnMut() -> bool) {
        self.pass(1);
        self.report(it.event(What::Armed, caller::UNKNOWN), lose);
    }

    fn note_death(&mut self, it: Pending, cause: Cause) {
        let req = SockAddr64(0xffff_8882_0000_0000);
        self.happened(it, req, it.begun, (Listen, SynRecv), None);
        let now = self.now();
        self.happened(it, req, now, (SynRecv, Close), Some(cause));
    }

    fn happened(
        &mut self,
        it: Pending,
        sk: SockAddr64,
        at: KtimeNs,
        (old, new): (TcpState, TcpState),
        cause: Option<Cause>,
    ) {
        self.truths.push(Truth {
            sk,
            at,
            else_at: None,
            life: it.life,
            old,
            new: Some(new),
            since: (old == SynRecv).then_some(it.begun),
            cause,
        });
    }

    fn makes_a_child(&mut self, index: usize, it: Pending, lose: &mut impl FnMut() -> bool) {
        let child = address(index);
        let change = |tuple, old, new| {
            Event::Transition(Transition {
                sk: child,
                netns: 1,
                tuple,
                old,
                new,
                how: How(0),
                err: 0,
                task: None,
            })
        };
        let calls = self.hooks == Hooks::Calls;
        if calls {
            self.report(it.event(What::Cloned, caller::HASHDANCE), lose);
            self.pass(1);
        }
        // From Linux 6.18 it has its own tuple.
        let tuple = if calls { it.life.tuple() } else { listener() };
        self.happened(it, child, it.begun, (Listen, SynRecv), None);
        let now = self.now();
        if let Some(born) = self.truths.last_mut() {
            born.else_at = Some(now);
        }
        self.report(change(tuple, Listen, SynRecv), lose);
        self.pass(1);
        if !calls {
            self.report(it.event(What::Stopped, caller::HASHDANCE), lose);
            self.pass(1);
        }
        let now = self.now();
        self.happened(it, child, now, (SynRecv, Established), None);
        self.sockets[index] = Some(Socket {
            life: it.life,
            state: Established,
            since: now,
        });
        self.report(change(it.life.tuple(), SynRecv, Established), lose);
    }
}
