//! A full socket right before it goes into `CLOSE`, where somebody asks for that.

use tcpstate_common::{
    record::{
        LastLook, Task, kind,
        last_look::{flag, known},
    },
    settings::ABSENT,
};

use crate::{
    emit::{emit, now},
    maps::{OFFSETS, OPTIONS, setting},
    sock::{Sock, read},
    task, timewait,
};

/// Bits of `sk_flags`, the same on Linux 5.10 to 7.3: `enum sock_flags` in
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h#L938-L943>.
const SOCK_KEEPOPEN: u64 = 1 << 3;
const SOCK_LINGER: u64 = 1 << 4;

/// In place of a thread of the kernel.
const NOBODY: Task = Task {
    pid: 0,
    tid: 0,
    comm: [0; 16],
};

/// Whether this session asks for last looks.
#[inline(always)]
pub(crate) fn asked() -> bool {
    setting(&OPTIONS.last_looks) != 0
}

/// Sends what the socket is now. Not inlined: its record is larger than that of
/// the transition, and both would lie on one stack.
#[inline(never)]
pub(crate) fn look(sk: Sock) {
    let who = task::Flags::of_current();
    emit(kind::LAST_LOOK, 0, |header| LastLook {
        header,
        ktime: now(),
        sk: sk.0,
        bytes_received: field(sk, &OFFSETS.tcp_sock_bytes_received),
        bytes_sent: field(sk, &OFFSETS.tcp_sock_bytes_sent),
        bytes_retrans: field(sk, &OFFSETS.tcp_sock_bytes_retrans),
        task: if who.is_kernels() {
            NOBODY
        } else {
            task::current()
        },
        total_retrans: field(sk, &OFFSETS.tcp_sock_total_retrans),
        unread: sk.unread(),
        user_timeout_ms: field(sk, &OFFSETS.inet_connection_sock_icsk_user_timeout),
        sent_ms: timewait::ms_since(field(sk, &OFFSETS.tcp_sock_lsndtime)),
        received_ms: timewait::ms_since(field(sk, &OFFSETS.inet_connection_sock_icsk_ack_lrcvtime)),
        probes_out: field(sk, &OFFSETS.inet_connection_sock_icsk_probes_out),
        flags: flags(sk, who),
        known: what_is_known(),
        reserved: 0,
    });
}

/// A field of the socket; zero where the kernel has none.
#[inline(always)]
fn field<T: zerocopy::FromBytes>(sk: Sock, offset: &'static u32) -> T {
    match setting(offset) {
        ABSENT => T::new_zeroed(),
        offset => read(sk.0, offset),
    }
}

#[inline(always)]
fn flags(sk: Sock, who: task::Flags) -> u8 {
    let bits: u64 = read(sk.0, setting(&OFFSETS.sock_common_skc_flags));
    let mut flags = 0;
    if bits & SOCK_KEEPOPEN != 0 {
        flags |= flag::KEEPALIVE;
    }
    if bits & SOCK_LINGER != 0 {
        flags |= flag::LINGER;
    }
    if field::<u64>(sk, &OFFSETS.sock_sk_lingertime) == 0 {
        flags |= flag::NO_LINGER_TIME;
    }
    if field::<i32>(sk, &OFFSETS.tcp_sock_linger2) < 0 {
        flags |= flag::NO_FIN_WAIT2;
    }
    if who.exits() {
        flags |= flag::EXITING;
    }
    flags
}

#[inline(always)]
fn what_is_known() -> u8 {
    let has = |offset: &'static u32, bit: u8| if setting(offset) == ABSENT { 0 } else { bit };
    has(&OFFSETS.tcp_sock_bytes_received, known::BYTES_RECEIVED)
        | (has(&OFFSETS.tcp_sock_bytes_sent, known::BYTES_SENT)
            & has(&OFFSETS.tcp_sock_bytes_retrans, known::BYTES_SENT))
        | has(&OFFSETS.tcp_sock_total_retrans, known::TOTAL_RETRANS)
        | has(
            &OFFSETS.inet_connection_sock_icsk_user_timeout,
            known::USER_TIMEOUT,
        )
        | has(&OFFSETS.inet_connection_sock_icsk_probes_out, known::PROBES)
        | has(&OFFSETS.sock_sk_lingertime, known::LINGER_TIME)
        | (has(&OFFSETS.tcp_sock_lsndtime, known::DATA_TIMES)
            & has(
                &OFFSETS.inet_connection_sock_icsk_ack_lrcvtime,
                known::DATA_TIMES,
            ))
}
