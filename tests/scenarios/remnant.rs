//! The minisockets of the small host, and what each kind of hook reports of them.

use tcpstate::{
    decode::{Event, How, KtimeNs, Minisocket, MinisocketEvent as What, ResetSent, SockAddr64},
    track::{Cause, Follows},
};
use tcpstate_common::{
    record::caller,
    state::TcpState::{self, *},
};

use crate::world::{Life, Truth, World};

/// What reports of minisockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hooks {
    /// Nothing.
    #[default]
    None,
    /// Calls of the kernel's functions.
    Calls,
    /// Timers and freed segments.
    Timers,
}

/// What a walk tells besides tuples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Walks {
    /// Addresses, as the kernel's iterators do.
    #[default]
    Addresses,
    /// Cookies, and sockets can be looked at.
    Cookies,
    /// Cookies, and nobody can look at a socket.
    CookiesOnly,
}

impl Hooks {
    pub(crate) fn follows(self, walks: Walks) -> Follows {
        let all = self != Self::None;
        Follows {
            looks: walks == Walks::Cookies,
            begins: all,
            ends: all,
            requests: all,
        }
    }
}

/// How many minisockets the host has room for, where they are followed.
const BUCKETS: u64 = 5;
/// Time that an orphan stays in `FIN_WAIT2`, ms.
const FIN_TIMEOUT_MS: u64 = 20_000;

/// What is left of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remnant {
    pub(crate) tw: SockAddr64,
    pub(crate) life: Life,
    pub(crate) state: TcpState,
    since: KtimeNs,
    armed: KtimeNs,
}

impl Remnant {
    fn runs_out(&self) -> KtimeNs {
        let ms = match self.state {
            TimeWait => 60_000,
            _ => FIN_TIMEOUT_MS,
        };
        KtimeNs(self.armed.0 + ms * 1_000_000)
    }

    pub(crate) fn left_ms(&self, now: KtimeNs) -> u32 {
        let ms = self.runs_out().since(now) / 1_000_000;
        u32::try_from(ms).expect("a minute at most")
    }

    fn event(&self, now: KtimeNs, what: What) -> Event {
        Event::Minisocket(Minisocket {
            tw: self.tw,
            sk: None,
            netns: 1,
            tuple: self.life.tuple(),
            how: How(0),
            substate: self.state,
            pid: 0,
            left_ms: self.left_ms(now),
            what,
        })
    }
}

impl World {
    /// A minisocket takes over from the socket at `sk`, which has been in its
    /// state since `since`. `false` when there is no room.
    pub(crate) fn hand_over(
        &mut self,
        sk: SockAddr64,
        life: Life,
        state: TcpState,
        since: KtimeNs,
        lose: &mut impl FnMut() -> bool,
    ) -> bool {
        let followed = self.hooks != Hooks::None;
        let taken = |tw: &SockAddr64| self.minisockets.iter().any(|it| it.tw == *tw);
        let places = 0..if followed { BUCKETS } else { u64::MAX };
        let mut free = places.map(|place| SockAddr64(0xffff_8881_0000_0000 + 0x100 * place));
        let Some(tw) = free.find(|tw| !taken(tw)) else {
            return false;
        };
        let now = self.now();
        let minisocket = Remnant {
            tw,
            life,
            state,
            since: if state == TimeWait { now } else { since },
            armed: now,
        };
        self.minisockets.push(minisocket);
        self.freed.retain(|freed| freed.tw != tw);
        if followed {
            let mut begun = minisocket.event(now, What::Begun);
            if let Event::Minisocket(event) = &mut begun
                && self.hooks == Hooks::Calls
            {
                event.sk = Some(sk);
            }
            self.report(begun, lose);
        }
        true
    }

    /// Bits of `which` say what the first walk passes over.
    pub(crate) fn overlook(&mut self, which: u8) {
        let here = self.minisockets.iter().enumerate();
        let chosen = here.filter(|(index, _)| which >> (index % 8) & 1 == 1);
        self.overlooked = chosen.map(|(_, it)| it.life.number).collect();
    }

    /// Whether nobody need know what `truth` says: it is of a minisocket that the
    /// first walk has passed over, and is not an end that says so itself.
    pub(crate) fn is_overlooked(&self, truth: &Truth) -> bool {
        let vague = match truth.cause {
            Some(Cause::PeerFin) => true,
            Some(Cause::ResetReceived) => self.hooks != Hooks::Calls,
            _ => false,
        };
        vague && self.overlooked.contains(&truth.life.number)
    }

    /// Lets a minisocket do one thing that the kernel allows.
    pub(crate) fn act_on_minisocket(
        &mut self,
        index: usize,
        choice: u8,
        lose: &mut impl FnMut() -> bool,
    ) {
        if self.hooks == Hooks::None || self.minisockets.is_empty() {
            return;
        }
        let index = index % self.minisockets.len();
        match choice % 5 {
            0 | 1 => self.segment(index, choice, lose),
            2 => self.run_out(index, choice, lose),
            3 => self.reset(index, lose),
            _ => self.refuse(index, lose),
        }
    }

    /// A segment that starts the timer: in `FIN_WAIT2` the peer's FIN.
    fn segment(&mut self, index: usize, choice: u8, lose: &mut impl FnMut() -> bool) {
        let now = self.now();
        let before = self.minisockets[index];
        let after = &mut self.minisockets[index];
        after.state = TimeWait;
        after.armed = now;
        if before.state != TimeWait {
            after.since = now;
            self.note(&before, TimeWait, Some(Cause::PeerFin));
        }
        let after = self.minisockets[index];
        if self.hooks == Hooks::Calls {
            return self.report(after.event(now, What::Armed), lose);
        }
        // Or the timer stays in its slot of the wheel.
        if choice.is_multiple_of(2) {
            let caller = caller::STATE_PROCESS;
            self.report(after.event(now, What::Stopped { caller }), lose);
            self.report(after.event(now, What::Begun), lose);
        }
        self.report(after.event(now, What::Handled { flags: 17 }), lose);
    }

    fn run_out(&mut self, index: usize, choice: u8, lose: &mut impl FnMut() -> bool) {
        let overshoot = self.minisockets[index].runs_out().since(self.now());
        self.pass(overshoot);
        let gone = self.minisockets.remove(index);
        let cause = match gone.state {
            TimeWait => Cause::Expired,
            _ => Cause::FinWait2Timeout,
        };
        self.note(&gone, Close, Some(cause));
        let now = self.now();
        if self.hooks != Hooks::Calls {
            // Whomever the timer interrupted.
            let caller = caller::HASH_CONNECT;
            self.report(gone.event(now, What::Stopped { caller }), lose);
        }
        let lost = self.lost;
        self.report(gone.event(now, What::Expired), lose);
        if self.hooks == Hooks::Calls && choice.is_multiple_of(3) && self.lost == lost {
            // A segment had found it before, on another CPU.
            self.pass(1);
            let now = self.now();
            let caller = caller::RECEIVE;
            self.report(gone.event(now, What::Ended { caller }), lose);
        }
        self.free(&gone, lose);
    }

    fn reset(&mut self, index: usize, lose: &mut impl FnMut() -> bool) {
        let gone = self.minisockets.remove(index);
        self.note(&gone, Close, Some(Cause::ResetReceived));
        let now = self.now();
        let caller = caller::STATE_PROCESS;
        if self.hooks == Hooks::Calls {
            self.report(gone.event(now, What::Ended { caller }), lose);
        } else {
            self.report(gone.event(now, What::Stopped { caller }), lose);
            self.report(gone.event(now, What::Handled { flags: 4 }), lose);
        }
        self.free(&gone, lose);
    }

    /// Data in `FIN_WAIT2`, which we answer with a reset; in `TIME_WAIT` the
    /// administrator.
    fn refuse(&mut self, index: usize, lose: &mut impl FnMut() -> bool) {
        let gone = self.minisockets.remove(index);
        let (cause, caller) = match gone.state {
            TimeWait => (Cause::Killed, caller::ABORT),
            _ => (Cause::ResetSent, caller::RECEIVE),
        };
        self.note(&gone, Close, Some(cause));
        let now = self.now();
        if caller == caller::RECEIVE {
            let reset = ResetSent {
                sk: Some(gone.tw),
                reason: Some(9),
                active: false,
            };
            self.report(Event::ResetSent(reset), lose);
        }
        let what = match self.hooks {
            Hooks::Calls => What::Ended { caller },
            _ => What::Stopped { caller },
        };
        self.report(gone.event(now, what), lose);
        self.free(&gone, lose);
    }

    fn free(&mut self, gone: &Remnant, lose: &mut impl FnMut() -> bool) {
        self.freed.push(*gone);
        if self.hooks == Hooks::Calls {
            let now = self.now();
            let caller = caller::UNKNOWN;
            self.report(gone.event(now, What::Destroyed { caller }), lose);
        }
    }

    fn note(&mut self, it: &Remnant, new: TcpState, cause: Option<Cause>) {
        self.truths.push(Truth {
            sk: it.tw,
            at: self.now(),
            else_at: None,
            life: it.life,
            old: it.state,
            new: Some(new),
            since: Some(it.since),
            cause,
        });
    }
}
