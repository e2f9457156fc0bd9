//! Which hooks can give which signal, best first, and what became of each.
//!
//! It knows no kernel versions: whether a hook works is found out by trying it.

use std::{collections::BTreeMap, fmt};

use crate::session::NotMeasured;

/// A fact that the rest of the program needs from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// A socket changes state. Without it nothing works.
    StateTransition,
    /// A task gets a socket from `accept`.
    Accepted,
    /// A task closes the last descriptor of a socket.
    CloseCalled,
    /// A RST leaves.
    ResetSent,
    /// A RST arrives.
    ResetReceived,
    /// A full socket is gone.
    SocketDestroyed,
    /// The sockets that exist, with their kernel addresses.
    ExistingSockets,
    /// What one socket is now, looked up by its kernel address.
    SocketLookup,
    /// A minisocket takes over, changes and ends.
    Minisockets,
}

impl Signal {
    /// Every signal, in the order in which hooks are attached.
    pub const ALL: [Self; 9] = [
        Self::StateTransition,
        Self::Accepted,
        Self::CloseCalled,
        Self::ResetSent,
        Self::ResetReceived,
        Self::SocketDestroyed,
        Self::ExistingSockets,
        Self::SocketLookup,
        Self::Minisockets,
    ];

    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StateTransition => "state_transition",
            Self::Accepted => "accepted",
            Self::CloseCalled => "close_called",
            Self::ResetSent => "reset_sent",
            Self::ResetReceived => "reset_received",
            Self::SocketDestroyed => "socket_destroyed",
            Self::ExistingSockets => "existing_sockets",
            Self::SocketLookup => "socket_lookup",
            Self::Minisockets => "minisockets",
        }
    }

    /// Hooks that give it, best first.
    pub(super) const fn candidates(self) -> &'static [Candidate] {
        match self {
            Self::StateTransition => STATE_TRANSITION,
            Self::Accepted => ACCEPTED,
            Self::CloseCalled => CLOSE_CALLED,
            Self::ResetSent => RESET_SENT,
            Self::ResetReceived => RESET_RECEIVED,
            Self::SocketDestroyed => SOCKET_DESTROYED,
            Self::ExistingSockets => EXISTING_SOCKETS,
            Self::SocketLookup => SOCKET_LOOKUP,
            Self::Minisockets => &[],
        }
    }

    /// What is lost with it, where that is not plain from its name.
    pub const fn without(self) -> Option<&'static str> {
        match self {
            Self::CloseCalled => Some("close is recognised by the transition that it causes"),
            Self::ExistingSockets => Some("existing sockets are read through sock_diag"),
            Self::Minisockets => Some(
                "no hook: TIME_WAIT and FIN_WAIT2 minisockets are not followed in this version",
            ),
            _ => None,
        }
    }
}

/// One hook, and the program for it.
pub(super) struct Candidate {
    /// Its name in reports.
    pub(super) hook: &'static str,
    pub(super) attach: Attach,
}

/// How a program gets to its hook. Programs go by their names in tcpstate-ebpf.
pub(super) enum Attach {
    RawTracepoint {
        program: &'static str,
        event: &'static str,
    },
    /// Two programs at one event: the second one for what the kernel keeps
    /// from the first while that is running.
    RawTracepointTwice {
        program: &'static str,
        again: &'static str,
        event: &'static str,
    },
    /// One program at several events of one category.
    Tracepoints {
        program: &'static str,
        category: &'static str,
        events: &'static [&'static str],
    },
    Fentry {
        program: &'static str,
        function: &'static str,
    },
    /// The program by the number of the function's parameters.
    Fexit {
        programs: &'static [(usize, &'static str)],
        function: &'static str,
    },
    Kprobe {
        program: &'static str,
        function: &'static str,
    },
    Kretprobe {
        program: &'static str,
        function: &'static str,
    },
    Iterator {
        program: &'static str,
        target: &'static str,
    },
    /// Loaded, and run on demand.
    Run { program: &'static str },
}

impl Attach {
    /// Whether it costs every system call of every process, measured 10 to 15 %.
    pub(super) const fn slows_system_calls(&self) -> bool {
        match self {
            Self::Tracepoints { .. } => true,
            Self::RawTracepoint { event, .. } => matches!(event.as_bytes(), b"sys_exit"),
            _ => false,
        }
    }
}

/// Name of the program at state transitions.
pub(super) const TRANSITION: &str = "transition";
/// Name of the program behind it.
pub(super) const TRANSITION_AGAIN: &str = "transition_again";

const STATE_TRANSITION: &[Candidate] = &[Candidate {
    hook: "raw_tp inet_sock_set_state",
    attach: Attach::RawTracepointTwice {
        program: TRANSITION,
        again: TRANSITION_AGAIN,
        event: "inet_sock_set_state",
    },
}];

const ACCEPTED: &[Candidate] = &[
    Candidate {
        hook: "fexit inet_csk_accept",
        attach: Attach::Fexit {
            programs: &[(4, "accepted_fexit4"), (2, "accepted_fexit2")],
            function: "inet_csk_accept",
        },
    },
    Candidate {
        hook: "kretprobe inet_csk_accept",
        attach: Attach::Kretprobe {
            program: "accepted_kretprobe",
            function: "inet_csk_accept",
        },
    },
    Candidate {
        hook: "tracepoint syscalls:sys_exit_accept, sys_exit_accept4",
        attach: Attach::Tracepoints {
            program: "accepted_tracepoint",
            category: "syscalls",
            events: &["sys_exit_accept", "sys_exit_accept4"],
        },
    },
    Candidate {
        hook: "raw_tp sys_exit",
        attach: Attach::RawTracepoint {
            program: "accepted_sys_exit",
            event: "sys_exit",
        },
    },
];

const CLOSE_CALLED: &[Candidate] = &[
    Candidate {
        hook: "fentry __tcp_close",
        attach: Attach::Fentry {
            program: "close_fentry",
            function: "__tcp_close",
        },
    },
    Candidate {
        hook: "kprobe __tcp_close",
        attach: Attach::Kprobe {
            program: "close_kprobe",
            function: "__tcp_close",
        },
    },
];

const RESET_SENT: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_send_reset",
    attach: Attach::RawTracepoint {
        program: "reset_sent",
        event: "tcp_send_reset",
    },
}];

const RESET_RECEIVED: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_receive_reset",
    attach: Attach::RawTracepoint {
        program: "reset_received",
        event: "tcp_receive_reset",
    },
}];

const SOCKET_DESTROYED: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_destroy_sock",
    attach: Attach::RawTracepoint {
        program: "destroyed",
        event: "tcp_destroy_sock",
    },
}];

/// Name of the `iter/tcp` program.
pub(super) const WALK: &str = "walk";

const EXISTING_SOCKETS: &[Candidate] = &[Candidate {
    hook: "iter/tcp",
    attach: Attach::Iterator {
        program: WALK,
        target: "tcp",
    },
}];

/// Name of the program that looks at one socket.
pub(super) const PEEK: &str = "peek";

const SOCKET_LOOKUP: &[Candidate] = &[Candidate {
    hook: "raw_tp test run",
    attach: Attach::Run { program: PEEK },
}];

/// What became of one signal's candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignalReport {
    /// Which signal.
    pub signal: Signal,
    /// The hook that gives it.
    pub chosen: Option<&'static str>,
    /// Better hooks than the chosen one, or all, and why each was refused.
    pub refused: Vec<Refusal>,
}

/// A hook that does not work here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub hook: &'static str,
    /// Why, in words for a person.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.hook, self.reason)
    }
}

/// What became of every signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookReport {
    /// One for each of [`Signal::ALL`], in that order.
    pub signals: Vec<SignalReport>,
}

impl HookReport {
    /// The hook that gives `signal`.
    #[must_use]
    pub fn chosen(&self, signal: Signal) -> Option<&'static str> {
        let report = self.signals.iter().find(|report| report.signal == signal);
        report?.chosen
    }

    /// Signal to hook, as [`crate::session::SessionInfo`] has it.
    #[must_use]
    pub fn hooks(&self) -> BTreeMap<String, Option<String>> {
        let entry = |report: &SignalReport| {
            let hook = report.chosen.map(str::to_owned);
            (report.signal.name().to_owned(), hook)
        };
        self.signals.iter().map(entry).collect()
    }

    /// Signals without a hook and why, as [`crate::session::SessionInfo`] has it.
    #[must_use]
    pub fn not_measured(&self) -> Vec<NotMeasured> {
        let without = self.signals.iter().filter(|report| report.chosen.is_none());
        without
            .map(|report| NotMeasured {
                signal: report.signal.name().to_owned(),
                reason: report.reason(),
            })
            .collect()
    }
}

impl SignalReport {
    /// Why there is no hook.
    pub(super) fn reason(&self) -> String {
        let refusals = self.refused.iter().map(ToString::to_string);
        let consequence = self.signal.without().map(str::to_owned);
        refusals.chain(consequence).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(signal: Signal, chosen: Option<&'static str>, refused: &[&str]) -> SignalReport {
        let refusal = |reason: &&str| Refusal {
            hook: "fentry f",
            reason: (*reason).to_owned(),
        };
        SignalReport {
            signal,
            chosen,
            refused: refused.iter().map(refusal).collect(),
        }
    }

    #[test]
    fn a_signal_without_a_hook_says_which_were_tried_and_what_follows() {
        let report = HookReport {
            signals: vec![
                report(Signal::StateTransition, Some("raw_tp x"), &[]),
                report(Signal::CloseCalled, None, &["not permitted"]),
                report(Signal::Minisockets, None, &[]),
            ],
        };
        assert_eq!(
            report.hooks()["state_transition"],
            Some("raw_tp x".to_owned())
        );
        assert_eq!(report.hooks()["close_called"], None);
        let reasons: Vec<_> = report
            .not_measured()
            .into_iter()
            .map(|signal| signal.reason)
            .collect();
        assert_eq!(
            reasons,
            [
                "fentry f: not permitted; close is recognised by the transition that it causes",
                "no hook: TIME_WAIT and FIN_WAIT2 minisockets are not followed in this version",
            ]
        );
    }

    #[test]
    fn only_hooks_on_system_calls_slow_them() {
        let slow = Signal::ALL
            .iter()
            .flat_map(|signal| signal.candidates())
            .filter(|candidate| candidate.attach.slows_system_calls())
            .map(|candidate| candidate.hook);
        assert_eq!(
            slow.collect::<Vec<_>>(),
            [
                "tracepoint syscalls:sys_exit_accept, sys_exit_accept4",
                "raw_tp sys_exit"
            ]
        );
    }
}
