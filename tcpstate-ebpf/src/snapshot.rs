//! What a socket is now, without any event: in a walk over the socket tables,
//! or by a look at one address.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::seq_file, helpers::generated::bpf_seq_write, macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use tcpstate_common::{
    record::{Header, Inspection, Snapshot, kind, socket_kind, words_of},
    state::TcpState,
};

use crate::{
    emit::{emit, header, now},
    filter,
    sock::{Sock, TCP_NEW_SYN_RECV, TCP_TIME_WAIT},
    timewait,
};

/// `struct bpf_iter__tcp` without its last field.
#[repr(C)]
pub(crate) struct WalkContext {
    meta: *const WalkMeta,
    /// NULL when the walk has reached its end.
    sk: *const c_void,
}

/// `struct bpf_iter_meta`, the beginning.
#[repr(C)]
pub(crate) struct WalkMeta {
    pub(crate) seq: *mut seq_file,
}

/// Runs for every TCP socket of one network namespace, listeners, minisockets
/// and requests included, and writes one [`Snapshot`] into the file that user
/// space reads.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub(crate) fn walk(ctx: *const WalkContext) -> i32 {
    // SAFETY: the kernel calls an `iter/tcp` program with this context.
    let WalkContext { meta, sk } = unsafe { ctx.read() };
    if sk.is_null() {
        return 0;
    }
    let sk = Sock(sk as u64);
    if !filter::shows(sk) {
        return 0;
    }
    let header = header::<Snapshot>(kind::SNAPSHOT, sk.netns());
    let snapshot = snapshot(header, sk, sk.state());
    // SAFETY: `meta` and `seq` are valid as long as the program runs, and the
    // helper copies from a record that is wholly initialised. When it does not
    // fit any more, the kernel discards it and comes back to this socket.
    unsafe {
        bpf_seq_write(
            (*meta).seq,
            (&raw const snapshot).cast(),
            u32::from(words_of::<Snapshot>()) * 8,
        );
    }
    0
}

/// Never attached: user space runs it with the address of a socket of which it
/// must know more than an event told, and finds the answer in the ring. The
/// address may have become anything since; user space checks what comes back.
#[raw_tracepoint]
pub(crate) fn peek(ctx: RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    let state = sk.state();
    if is_socket(state) {
        emit(kind::SNAPSHOT, sk.netns(), |header| {
            snapshot(header, sk, state)
        });
    }
}

/// As [`peek`], for all that a report needs to know of a full socket. Of another
/// kind at this address nothing is told.
#[raw_tracepoint]
pub(crate) fn inspect(ctx: RawTracePointContext) {
    let sk = Sock(ctx.arg(0));
    let state = sk.state();
    if !is_socket(state) || matches!(state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV) {
        return;
    }
    let family = sk.family();
    emit(kind::INSPECTION, sk.netns(), |header| Inspection {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: sk.tuple(family),
        state,
        how: Sock::how_family(family) | sk.how_closed(),
        reserved: [0; 2],
        inode: sk.inode(),
        unread: sk.unread(),
        quiet_ms: timewait::ms_since(sk.last_ack()),
        queue: sk.accept_queue(),
        queue_limit: sk.accept_limit(),
    });
}

/// Memory that is being made a socket is zero, and no state is; so is what
/// cannot be read.
#[inline(always)]
fn is_socket(state: u8) -> bool {
    state != 0
}

#[inline(always)]
fn snapshot(header: Header, sk: Sock, kernel_state: u8) -> Snapshot {
    let family = sk.family();
    let full = !matches!(kernel_state, TCP_TIME_WAIT | TCP_NEW_SYN_RECV);
    let (kind, state) = match kernel_state {
        TCP_TIME_WAIT => (socket_kind::MINISOCKET, sk.substate()),
        TCP_NEW_SYN_RECV => (socket_kind::REQUEST, TcpState::SynRecv as u8),
        state => (socket_kind::FULL, state),
    };
    Snapshot {
        header,
        ktime: now(),
        sk: sk.0,
        tuple: if full {
            sk.tuple(family)
        } else {
            sk.small_tuple(family)
        },
        state,
        kind,
        how: Sock::how_family(family) | if full { sk.how_closed() } else { 0 },
        reserved: 0,
        inode: match kernel_state {
            TCP_TIME_WAIT => u64::from(timewait::left_ms(sk)),
            TCP_NEW_SYN_RECV => 0,
            _ => sk.inode(),
        },
        cookie: sk.cookie(),
    }
}
