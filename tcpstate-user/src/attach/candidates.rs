//! Which hooks can give which signal, best first.
//!
//! It knows no kernel versions: whether a hook works is found out by trying it.

use super::{
    btf::Parameter::{self, Any, Number, Struct},
    hooks::{Attach, Candidate, fentry, fexit, kprobe, raw_tracepoint},
};

/// How the name of a program ends that is another's copy, for what the kernel
/// keeps from that while it is running.
pub(super) const COPY: &str = "_copy";

/// Name of the program at state transitions.
pub(super) const TRANSITION: &str = "transition";
/// Name of the program behind it, for what the kernel keeps from the first one
/// while that is running. They run in the order in which they are attached.
pub(super) const TRANSITION_AGAIN: &str = "transition_again";

pub(super) const STATE_TRANSITION: &[Candidate] = &[Candidate {
    hook: "raw_tp inet_sock_set_state",
    attach: Attach::Together(&[
        Attach::RawTracepoint {
            program: TRANSITION,
            event: "inet_sock_set_state",
            takes: &[Struct("sock"), Number, Number],
        },
        Attach::RawTracepoint {
            program: TRANSITION_AGAIN,
            event: "inet_sock_set_state",
            takes: &[Struct("sock"), Number, Number],
        },
    ]),
}];

pub(super) const ACCEPTED: &[Candidate] = &[
    Candidate {
        hook: "fexit inet_csk_accept",
        attach: Attach::Together(&[
            fexit(
                &[(4, "accepted_fexit4"), (2, "accepted_fexit2")],
                "inet_csk_accept",
            ),
            fexit(
                &[(4, "accepted_fexit4_copy"), (2, "accepted_fexit2_copy")],
                "inet_csk_accept",
            ),
        ]),
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
            takes: &[Struct("pt_regs"), Number],
        },
    },
];

pub(super) const CLOSE_CALLED: &[Candidate] = &[
    Candidate {
        hook: "fentry __tcp_close",
        attach: Attach::Together(&[
            fentry("close_fentry", "__tcp_close", &[Struct("sock")]),
            fentry("close_fentry_copy", "__tcp_close", &[Struct("sock")]),
        ]),
    },
    Candidate {
        hook: "kprobe __tcp_close",
        attach: Attach::Kprobe {
            program: "close_kprobe",
            function: "__tcp_close",
            takes: &[Struct("sock")],
        },
    },
];

pub(super) const RESET_SENT: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_send_reset",
    attach: Attach::Together(&[
        raw_tracepoint("reset_sent", "tcp_send_reset", RESET),
        raw_tracepoint("reset_sent_copy", "tcp_send_reset", RESET),
    ]),
}];

/// What the tracepoint of a RST that leaves gives on every kernel.
const RESET: &[Parameter] = &[Struct("sock"), Struct("sk_buff")];

pub(super) const RESET_RECEIVED: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_receive_reset",
    attach: Attach::RawTracepoint {
        program: "reset_received",
        event: "tcp_receive_reset",
        takes: &[Struct("sock")],
    },
}];

pub(super) const SOCKET_DESTROYED: &[Candidate] = &[Candidate {
    hook: "raw_tp tcp_destroy_sock",
    attach: Attach::Together(&[
        raw_tracepoint("destroyed", "tcp_destroy_sock", &[Struct("sock")]),
        raw_tracepoint("destroyed_copy", "tcp_destroy_sock", &[Struct("sock")]),
    ]),
}];

/// Not `iter/tcp`, though that tells kernel addresses: where it takes sockets in
/// batches (Linux 5.15 and later) it takes a reference even to a request that
/// another CPU is just putting into its table and that has none yet
/// (`bpf_iter_tcp_established_batch`, CVE-2026-74714, mended in 6.1.183, 6.6.152,
/// 6.12.104, 6.18.45 and 7.1.9), and the request is used after it is freed. No type
/// tells a mended kernel from the others. `sock_diag` passes over what has no
/// reference (`refcount_inc_not_zero` in `inet_diag_dump_icsk`, in every version
/// that we run on):
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_diag.c>,
/// <https://github.com/torvalds/linux/blob/v5.10/net/ipv4/inet_diag.c>.
pub(super) const EXISTING_SOCKETS: &[Candidate] = &[Candidate {
    hook: "sock_diag",
    attach: Attach::SockDiag,
}];

/// Name of the program that looks at one socket.
pub(super) const PEEK: &str = "peek";

/// Name of the program that looks at one socket as a report wants it.
pub(super) const INSPECT: &str = "inspect";

pub(super) const SOCKET_LOOKUP: &[Candidate] = &[Candidate {
    hook: "raw_tp test run",
    attach: Attach::Together(&[
        Attach::Run { program: PEEK },
        Attach::Run { program: INSPECT },
    ]),
}];

/// What a timer's tracepoint gives.
const TIMER: &[Parameter] = &[Struct("timer_list")];
/// A minisocket.
const TIMEWAIT: &[Parameter] = &[Struct("inet_timewait_sock")];
/// `inet_twsk_hashdance`
const HASHDANCE: &[Parameter] = &[Struct("inet_timewait_sock"), Struct("sock")];
/// `inet_twsk_hashdance_schedule`
const HASHDANCE_SCHEDULE: &[Parameter] =
    &[Struct("inet_timewait_sock"), Struct("sock"), Any, Number];
/// `__inet_twsk_schedule`
const SCHEDULE: &[Parameter] = &[Struct("inet_timewait_sock"), Number, Number];

pub(super) const MINISOCKET_END: &[Candidate] = &[
    Candidate {
        hook: "fentry tw_timer_handler, inet_twsk_deschedule_put, tcp_twsk_destructor",
        attach: Attach::Together(&[
            fentry("tw_expired_fentry", "tw_timer_handler", TIMER),
            fentry("tw_ended_fentry", "inet_twsk_deschedule_put", TIMEWAIT),
            fentry(
                "tw_destroyed_fentry",
                "tcp_twsk_destructor",
                &[Struct("sock")],
            ),
        ]),
    },
    Candidate {
        hook: "kprobe tw_timer_handler, inet_twsk_deschedule_put, tcp_twsk_destructor",
        attach: Attach::Together(&[
            kprobe("tw_expired_kprobe", "tw_timer_handler", TIMER),
            kprobe("tw_ended_kprobe", "inet_twsk_deschedule_put", TIMEWAIT),
            kprobe(
                "tw_destroyed_kprobe",
                "tcp_twsk_destructor",
                &[Struct("sock")],
            ),
        ]),
    },
    Candidate {
        hook: "raw_tp timer_expire_entry, timer_cancel",
        attach: Attach::Together(&[
            raw_tracepoint("tw_timer_expired", "timer_expire_entry", TIMER),
            raw_tracepoint("tw_timer_stopped", "timer_cancel", TIMER),
        ]),
    },
];

pub(super) const MINISOCKET_BEGIN: &[Candidate] = &[
    Candidate {
        hook: "fentry inet_twsk_hashdance_schedule",
        attach: fentry(
            "tw_begun4_fentry",
            "inet_twsk_hashdance_schedule",
            HASHDANCE_SCHEDULE,
        ),
    },
    Candidate {
        hook: "fentry inet_twsk_hashdance",
        attach: fentry("tw_begun3_fentry", "inet_twsk_hashdance", HASHDANCE),
    },
    Candidate {
        hook: "kprobe inet_twsk_hashdance_schedule",
        attach: kprobe(
            "tw_begun4_kprobe",
            "inet_twsk_hashdance_schedule",
            HASHDANCE_SCHEDULE,
        ),
    },
    Candidate {
        hook: "kprobe inet_twsk_hashdance",
        attach: kprobe("tw_begun3_kprobe", "inet_twsk_hashdance", HASHDANCE),
    },
    Candidate {
        hook: "raw_tp timer_start",
        attach: raw_tracepoint("tw_timer_started", "timer_start", TIMER),
    },
];

/// By tracepoint, a change is seen through the segment that makes it: a timer
/// that is started again within its slot of the wheel has no event.
pub(super) const MINISOCKET_CHANGE: &[Candidate] = &[
    Candidate {
        hook: "fentry __inet_twsk_schedule",
        attach: fentry("tw_armed_fentry", "__inet_twsk_schedule", SCHEDULE),
    },
    Candidate {
        hook: "kprobe __inet_twsk_schedule",
        attach: kprobe("tw_armed_kprobe", "__inet_twsk_schedule", SCHEDULE),
    },
    Candidate {
        hook: "raw_tp kfree_skb",
        attach: raw_tracepoint(
            "tw_handled",
            "kfree_skb",
            &[Struct("sk_buff"), Any, Any, Struct("sock")],
        ),
    },
];

/// A request.
const REQUEST: &[Parameter] = &[Struct("sock"), Struct("request_sock")];
/// A re-arm that is seen takes back an expiry that is seen, so it comes first.
const REQUEST_ARMED: Attach = fexit(&[(1, "req_armed_fexit1")], "reqsk_timer_handler");
const REQUEST_EXPIRED: Attach = fentry("req_expired_fentry", "reqsk_timer_handler", TIMER);
const REQUEST_CLONED: Attach = fentry("req_cloned_fentry", "inet_csk_clone_lock", REQUEST);
const REQUEST_ENDED: Attach = fentry("req_ended_fentry", "inet_csk_reqsk_queue_drop", REQUEST);

pub(super) const REQUEST_END: &[Candidate] = &[
    Candidate {
        hook: "fentry inet_csk_clone_lock, inet_csk_reqsk_queue_drop, reqsk_timer_handler, \
               fexit reuseport_migrate_sock, reqsk_timer_handler",
        attach: Attach::Together(&[
            REQUEST_CLONED,
            REQUEST_ENDED,
            fexit(&[(3, "req_migrated_fexit3")], "reuseport_migrate_sock"),
            REQUEST_ARMED,
            REQUEST_EXPIRED,
        ]),
    },
    // Where no request can go from one listener to another.
    Candidate {
        hook: "fentry inet_csk_clone_lock, inet_csk_reqsk_queue_drop, reqsk_timer_handler, \
               fexit reqsk_timer_handler",
        attach: Attach::Together(&[
            REQUEST_CLONED,
            REQUEST_ENDED,
            REQUEST_ARMED,
            REQUEST_EXPIRED,
        ]),
    },
    Candidate {
        hook: "raw_tp timer_start, timer_cancel, timer_expire_entry",
        attach: Attach::Together(&[
            raw_tracepoint("req_timer_started", "timer_start", TIMER),
            raw_tracepoint("req_timer_stopped", "timer_cancel", TIMER),
            raw_tracepoint("req_timer_expired", "timer_expire_entry", TIMER),
        ]),
    },
];

/// The transition's own hook: the socket of a task that connects.
pub(super) const CONNECT_STACK: &[Candidate] = &[Candidate {
    hook: "raw_tp inet_sock_set_state",
    attach: raw_tracepoint(
        "connect_stack",
        "inet_sock_set_state",
        &[Struct("sock"), Number, Number],
    ),
}];

/// As [`ACCEPTED`].
pub(super) const ACCEPT_STACK: &[Candidate] = &[
    Candidate {
        hook: "fexit inet_csk_accept",
        attach: Attach::Fexit {
            programs: &[(4, "accept_stack_fexit4"), (2, "accept_stack_fexit2")],
            function: "inet_csk_accept",
        },
    },
    Candidate {
        hook: "kretprobe inet_csk_accept",
        attach: Attach::Kretprobe {
            program: "accept_stack_kretprobe",
            function: "inet_csk_accept",
        },
    },
    Candidate {
        hook: "tracepoint syscalls:sys_exit_accept, sys_exit_accept4",
        attach: Attach::Tracepoints {
            program: "accept_stack_tracepoint",
            category: "syscalls",
            events: &["sys_exit_accept", "sys_exit_accept4"],
        },
    },
    Candidate {
        hook: "raw_tp sys_exit",
        attach: Attach::RawTracepoint {
            program: "accept_stack_sys_exit",
            event: "sys_exit",
            takes: &[Struct("pt_regs"), Number],
        },
    },
];

/// The tracepoint fires once for a read and for nothing else that `recvmsg`
/// does, but knows no `splice`.
pub(super) const END_OF_FILE_STACK: &[Candidate] = &[
    Candidate {
        hook: "fexit tcp_recvmsg, tcp_splice_read",
        attach: Attach::Together(&[
            Attach::Fexit {
                programs: &[
                    (6, "eof_stack_fexit6"),
                    (5, "eof_stack_fexit5"),
                    (4, "eof_stack_fexit4"),
                ],
                function: "tcp_recvmsg",
            },
            Attach::Fexit {
                programs: &[(5, "splice_eof_stack_fexit")],
                function: "tcp_splice_read",
            },
        ]),
    },
    Candidate {
        hook: "raw_tp sock_recv_length",
        attach: raw_tracepoint(
            "eof_stack_recv_length",
            "sock_recv_length",
            &[Struct("sock"), Number, Number],
        ),
    },
];

/// Name of the program that walks over the threads of a process.
pub(super) const THREADS: &str = "threads";

/// A walk over the threads of one process, for a report.
pub(super) const THREAD_STACKS: &[Candidate] = &[Candidate {
    hook: "iter.s/task",
    attach: Attach::Iterator {
        program: THREADS,
        target: "task",
    },
}];
