//! The signals, and the kinds of hook that can give one.
//!
//! It knows no kernel versions: whether a hook works is found out by trying it.

use super::{btf::Parameter, candidates};

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
    /// The sockets that exist.
    ExistingSockets,
    /// What one socket is now, looked up by its kernel address.
    SocketLookup,
    /// A minisocket ends.
    MinisocketEnd,
    /// A minisocket takes over from a full socket.
    MinisocketBegin,
    /// A minisocket goes from `FIN_WAIT2` to `TIME_WAIT`, or starts `TIME_WAIT` again.
    MinisocketChange,
    /// A request ends, or becomes a full socket.
    RequestEnd,
    /// The stack of a task that connects. Only where stacks are asked for, as
    /// the next three.
    ConnectStack,
    /// The stack of a task that gets a socket from `accept`.
    AcceptStack,
    /// The stack of a task that reads end-of-file.
    EndOfFileStack,
    /// What the threads of one process have on their stacks, at any time.
    ThreadStacks,
}

impl Signal {
    /// Every signal, in the order in which hooks are attached. Minisockets' ends
    /// come before their begins, so that each begin that is seen has its end.
    pub const ALL: [Self; 16] = [
        Self::StateTransition,
        Self::Accepted,
        Self::CloseCalled,
        Self::ResetSent,
        Self::ResetReceived,
        Self::SocketDestroyed,
        Self::ExistingSockets,
        Self::SocketLookup,
        Self::MinisocketEnd,
        Self::MinisocketBegin,
        Self::MinisocketChange,
        Self::RequestEnd,
        Self::ConnectStack,
        Self::AcceptStack,
        Self::EndOfFileStack,
        Self::ThreadStacks,
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
            Self::MinisocketEnd => "minisocket_end",
            Self::MinisocketBegin => "minisocket_begin",
            Self::MinisocketChange => "minisocket_change",
            Self::RequestEnd => "request_end",
            Self::ConnectStack => "connect_stack",
            Self::AcceptStack => "accept_stack",
            Self::EndOfFileStack => "end_of_file_stack",
            Self::ThreadStacks => "thread_stacks",
        }
    }

    /// Hooks that give it, best first.
    pub(super) const fn candidates(self) -> &'static [Candidate] {
        match self {
            Self::StateTransition => candidates::STATE_TRANSITION,
            Self::Accepted => candidates::ACCEPTED,
            Self::CloseCalled => candidates::CLOSE_CALLED,
            Self::ResetSent => candidates::RESET_SENT,
            Self::ResetReceived => candidates::RESET_RECEIVED,
            Self::SocketDestroyed => candidates::SOCKET_DESTROYED,
            Self::ExistingSockets => candidates::EXISTING_SOCKETS,
            Self::SocketLookup => candidates::SOCKET_LOOKUP,
            Self::MinisocketEnd => candidates::MINISOCKET_END,
            Self::MinisocketBegin => candidates::MINISOCKET_BEGIN,
            Self::MinisocketChange => candidates::MINISOCKET_CHANGE,
            Self::RequestEnd => candidates::REQUEST_END,
            Self::ConnectStack => candidates::CONNECT_STACK,
            Self::AcceptStack => candidates::ACCEPT_STACK,
            Self::EndOfFileStack => candidates::END_OF_FILE_STACK,
            Self::ThreadStacks => candidates::THREAD_STACKS,
        }
    }

    /// What is lost with it, where that is not plain from its name.
    pub const fn without(self) -> Option<&'static str> {
        match self {
            Self::CloseCalled => Some("close is recognised by the transition that it causes"),
            Self::ExistingSockets => Some("what was there before is not known"),
            Self::MinisocketEnd => Some("when and why TIME_WAIT ends is not known"),
            Self::MinisocketBegin => Some("TIME_WAIT is not followed"),
            Self::MinisocketChange => Some(
                "when the FIN_WAIT2 of a closed socket becomes TIME_WAIT is known only at its end",
            ),
            Self::RequestEnd => {
                Some("SYN_RECV is a lower bound, and a handshake that fails is not shown")
            }
            Self::ThreadStacks => {
                Some("of what a process's threads wait for, the kernel function is told only")
            }
            _ => None,
        }
    }

    /// Whether a hook of this kind could give it.
    pub(super) fn has(self, family: Family) -> bool {
        let mut candidates = self.candidates().iter();
        candidates.any(|candidate| candidate.attach.family() == Some(family))
    }

    /// Whether it is a stack, or several.
    pub(super) const fn is_stack(self) -> bool {
        matches!(
            self,
            Self::ConnectStack | Self::AcceptStack | Self::EndOfFileStack | Self::ThreadStacks
        )
    }

    /// Whether it is about minisockets.
    pub(super) const fn is_minisockets(self) -> bool {
        matches!(
            self,
            Self::MinisocketEnd | Self::MinisocketBegin | Self::MinisocketChange
        )
    }
}

/// A kind of hook. Several can give the same signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Family {
    /// Entry and exit of kernel functions, by BPF trampolines
    Fentry,
    /// Entry and return of kernel functions, by kprobes
    Kprobe,
    /// Tracepoints only
    Tracepoint,
}

/// One hook, and the program for it.
pub(super) struct Candidate {
    /// Its name in reports.
    pub(super) hook: &'static str,
    pub(super) attach: Attach,
}

/// How a program gets to its hook. Programs go by their names in tcpstate-ebpf;
/// what a program takes from its hook has to be what BTF says the hook gives.
pub(super) enum Attach {
    RawTracepoint {
        program: &'static str,
        event: &'static str,
        takes: &'static [Parameter],
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
        takes: &'static [Parameter],
    },
    /// The program by the number of the function's parameters.
    Fexit {
        programs: &'static [(usize, &'static str)],
        function: &'static str,
    },
    Kprobe {
        program: &'static str,
        function: &'static str,
        takes: &'static [Parameter],
    },
    Kretprobe {
        program: &'static str,
        function: &'static str,
    },
    Iterator {
        program: &'static str,
        target: &'static str,
    },
    /// No program: the kernel is asked over a netlink socket.
    SockDiag,
    /// Loaded, and run on demand.
    Run { program: &'static str },
    /// All of these, or none.
    Together(&'static [Self]),
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

    /// Whether its programs tell the timers of minisockets, or of requests, from
    /// all others, for which they must know the address of the timers' function.
    pub(super) fn needs_timer_handler(&self) -> bool {
        match self {
            Self::RawTracepoint { event, .. } => event.starts_with("timer_"),
            Self::Together(all) => all.iter().any(Self::needs_timer_handler),
            _ => false,
        }
    }

    /// The function or event, of those that have one.
    pub(super) const fn target(&self) -> Option<&'static str> {
        match *self {
            Self::RawTracepoint { event, .. } => Some(event),
            Self::Fentry { function, .. }
            | Self::Fexit { function, .. }
            | Self::Kprobe { function, .. }
            | Self::Kretprobe { function, .. } => Some(function),
            Self::Iterator { target, .. } => Some(target),
            Self::Tracepoints { .. } | Self::SockDiag | Self::Run { .. } | Self::Together(_) => {
                None
            }
        }
    }

    /// `None` for what is no alternative to anything.
    pub(super) fn family(&self) -> Option<Family> {
        match self {
            Self::RawTracepoint { .. } | Self::Tracepoints { .. } => Some(Family::Tracepoint),
            Self::Fentry { .. } | Self::Fexit { .. } => Some(Family::Fentry),
            Self::Kprobe { .. } | Self::Kretprobe { .. } => Some(Family::Kprobe),
            Self::Iterator { .. } | Self::SockDiag | Self::Run { .. } => None,
            Self::Together(all) => all.first().and_then(Self::family),
        }
    }
}

pub(super) const fn fexit(
    programs: &'static [(usize, &'static str)],
    function: &'static str,
) -> Attach {
    Attach::Fexit { programs, function }
}

pub(super) const fn fentry(
    program: &'static str,
    function: &'static str,
    takes: &'static [Parameter],
) -> Attach {
    Attach::Fentry {
        program,
        function,
        takes,
    }
}

pub(super) const fn kprobe(
    program: &'static str,
    function: &'static str,
    takes: &'static [Parameter],
) -> Attach {
    Attach::Kprobe {
        program,
        function,
        takes,
    }
}

pub(super) const fn raw_tracepoint(
    program: &'static str,
    event: &'static str,
    takes: &'static [Parameter],
) -> Attach {
    Attach::RawTracepoint {
        program,
        event,
        takes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                "raw_tp sys_exit",
                "tracepoint syscalls:sys_exit_accept, sys_exit_accept4",
                "raw_tp sys_exit"
            ]
        );
    }
}
