//! One socket's fields, read through [`OFFSETS`].
//!
//! Reads never fault: an address that is not mapped reads as zeros. Nothing
//! here checks that an address is a socket.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tcpstate_common::{
    record::{Tuple, how},
    settings::ABSENT,
};
use zerocopy::FromBytes;

use crate::{
    head::{Head, v4_mapped},
    maps::{OFFSETS, setting},
    window::Window,
};

/// `IPPROTO_TCP`; MPTCP parents have 262, SCTP 132, DCCP 33.
const IPPROTO_TCP: u16 = 6;
const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

/// `sk_state` of a `struct inet_timewait_sock`, as kernel-wide convention.
pub(crate) const TCP_TIME_WAIT: u8 = 6;
/// `sk_state` of a `struct request_sock`.
pub(crate) const TCP_NEW_SYN_RECV: u8 = 12;

/// Bits of `sk_flags`, the same on Linux 5.10 to 7.3: `enum sock_flags` in
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h#L938-L940>.
const SOCK_DEAD: u64 = 1 << 0;
const SOCK_DONE: u64 = 1 << 1;

/// Reads a `T` at `address + offset`, zeros if it cannot be read.
#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the size of a field of a kernel structure"
)]
pub(crate) fn read<T: FromBytes>(address: u64, offset: u32) -> T {
    let from = address.wrapping_add(u64::from(offset));
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source and writes all bytes of the
    // destination, zeros when it fails; and a `T` may have any bytes.
    // https://github.com/torvalds/linux/blob/v5.10/kernel/trace/bpf_trace.c#L229-L240
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            from as *const c_void,
        );
        value.assume_init()
    }
}

/// Kernel address of something that begins with a `struct sock_common`.
#[derive(Clone, Copy)]
pub(crate) struct Sock(pub(crate) u64);

impl Sock {
    /// Only for a full socket: the other two kinds have no such field.
    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        read::<u16>(self.0, setting(&OFFSETS.sock_sk_protocol)) == IPPROTO_TCP
    }

    /// As [`Self::is_tcp`], and `sk_shutdown`, which lies at most 94 bytes away
    /// on Linux 5.10 to 7.3.
    #[inline(always)]
    pub(crate) fn is_tcp_and_shutdown(self) -> (bool, u8) {
        let protocol = setting(&OFFSETS.sock_sk_protocol);
        let shutdown = setting(&OFFSETS.sock_sk_shutdown);
        let begin = protocol.min(shutdown) & !7;
        let length = protocol.max(shutdown) + 2 - begin;
        let window = Window::<13>::read(self.0, begin, length);
        let is_tcp = window.field::<u16>(protocol) == IPPROTO_TCP;
        (is_tcp, window.field(shutdown))
    }

    /// As [`Self::is_tcp`], for a minisocket: Linux before 6.16 has those of
    /// DCCP too. The `struct proto` is that of the socket's creation, so it is
    /// TCP's own whatever was put on top since (MPTCP, kTLS, sockmap):
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_timewait_sock.c> (`inet_twsk_alloc`).
    #[inline(always)]
    pub(crate) fn is_tcp_by_proto(self) -> bool {
        const TCP: [u32; 2] = [u32::from_ne_bytes(*b"TCP\0"), u32::from_ne_bytes(*b"TCPv")];
        let proto: u64 = read(self.0, setting(&OFFSETS.sock_common_skc_prot));
        TCP.contains(&read(proto, setting(&OFFSETS.proto_name)))
    }

    #[inline(always)]
    pub(crate) fn family(self) -> u16 {
        read(self.0, setting(&OFFSETS.sock_common_skc_family))
    }

    #[inline(always)]
    pub(crate) fn is_inet(self) -> bool {
        matches!(self.family(), AF_INET | AF_INET6)
    }

    /// `skc_state`: besides the states, it tells the three kinds apart.
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        read(self.0, setting(&OFFSETS.sock_common_skc_state))
    }

    /// Inode number of the network namespace.
    #[inline(always)]
    pub(crate) fn netns(self) -> u32 {
        let net: u64 = read(self.0, setting(&OFFSETS.sock_common_skc_net));
        read(net, setting(&OFFSETS.net_ns_inum))
    }

    /// Remote port; 0 when it is not known yet.
    #[inline(always)]
    pub(crate) fn rport(self) -> u16 {
        u16::from_be(read(self.0, setting(&OFFSETS.sock_common_skc_dport)))
    }

    /// Local address, IPv4 written v4-mapped.
    #[inline(always)]
    pub(crate) fn laddr(self, family: u16) -> [u8; 16] {
        match setting(&OFFSETS.sock_common_skc_v6_rcv_saddr) {
            offset if family == AF_INET6 && offset != ABSENT => read(self.0, offset),
            _ => mapped(read(self.0, setting(&OFFSETS.sock_common_skc_rcv_saddr))),
        }
    }

    /// Remote address, IPv4 written v4-mapped.
    #[inline(always)]
    pub(crate) fn raddr(self, family: u16) -> [u8; 16] {
        match setting(&OFFSETS.sock_common_skc_v6_daddr) {
            offset if family == AF_INET6 && offset != ABSENT => read(self.0, offset),
            _ => mapped(read(self.0, setting(&OFFSETS.sock_common_skc_daddr))),
        }
    }

    /// Both ends of a full socket.
    #[inline(always)]
    pub(crate) fn tuple(self, family: u16) -> Tuple {
        let head = Head::of(self);
        head.tuple(family, self.lport(&head))
    }

    /// Both ends of a minisocket or a request, which end before `inet_sport`.
    #[inline(always)]
    pub(crate) fn small_tuple(self, family: u16) -> Tuple {
        let head = Head::of(self);
        head.tuple(family, head.num())
    }

    /// Local port of a full socket: `skc_num`, or what it was before.
    #[inline(always)]
    pub(crate) fn lport(self, head: &Head) -> u16 {
        match head.num() {
            0 => self.lport_of_old(),
            num => num,
        }
    }

    /// Local port of a full socket whose `skc_num` is 0, as the tracepoint prints
    /// it: `inet_sport` is set wherever `skc_num` is, and still has the port when
    /// that has been released, which it is at `-> CLOSE`:
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp.c#L2910-L2923>.
    #[inline(always)]
    pub(crate) fn lport_of_old(self) -> u16 {
        u16::from_be(self.sport())
    }

    /// `skc_num`, the local port; 0 when it is released or not chosen yet.
    #[inline(always)]
    pub(crate) fn num(self) -> u16 {
        read(self.0, setting(&OFFSETS.sock_common_skc_num))
    }

    /// `inet_sport`, in network order. Only for a full socket.
    #[inline(always)]
    fn sport(self) -> u16 {
        read(self.0, setting(&OFFSETS.inet_sock_inet_sport))
    }

    /// The family bit of [`how`], which every record has.
    #[inline(always)]
    pub(crate) fn how_family(family: u16) -> u8 {
        if family == AF_INET6 { how::INET6 } else { 0 }
    }

    /// [`how::REUSED`], for a full socket that leaves `CLOSE` now. Memory of a
    /// new socket is zeroed, and `inet_put_port` clears `skc_num` only:
    /// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_hashtables.c#L227-L233>.
    #[inline(always)]
    pub(crate) fn how_opened(self, head: &Head) -> u8 {
        if head.num() == 0 && self.sport() != 0 {
            how::REUSED
        } else {
            0
        }
    }

    /// As [`Self::how_closed_by`], where nothing of the socket has been read yet.
    #[inline(always)]
    pub(crate) fn how_closed(self) -> u8 {
        let flags: u64 = read(self.0, setting(&OFFSETS.sock_common_skc_flags));
        let shutdown: u8 = read(self.0, setting(&OFFSETS.sock_sk_shutdown));
        self.how_closed_by(flags, shutdown)
    }

    /// All bits of [`how`] but the family's, out of `sk_flags`, `sk_shutdown` and
    /// what they leave open. Only for a full socket.
    #[inline(always)]
    pub(crate) fn how_closed_by(self, flags: u64, shutdown: u8) -> u8 {
        let mut bits = shutdown & (how::RCV_SHUTDOWN | how::SEND_SHUTDOWN);
        if flags & SOCK_DONE != 0 {
            bits |= how::FIN_RECEIVED;
        }
        if flags & SOCK_DEAD != 0 {
            bits |= how::ORPHAN;
        }
        let socket = self.socket();
        if socket == 0 {
            bits | how::NO_SOCKET
        } else if file_released(socket) {
            bits | how::FILE_RELEASED
        } else {
            bits
        }
    }

    /// `sk_err`, what does not fit a byte as 255.
    #[inline(always)]
    pub(crate) fn err(self) -> u8 {
        let err: u32 = read(self.0, setting(&OFFSETS.sock_sk_err));
        u8::try_from(err).unwrap_or(u8::MAX)
    }

    /// Address of the `struct socket`; 0 for an orphan or a socket that nobody
    /// has accepted yet.
    #[inline(always)]
    fn socket(self) -> u64 {
        read(self.0, setting(&OFFSETS.sock_sk_socket))
    }

    /// Inode number of the socket's file, 0 without one. Only for a full socket.
    #[inline(always)]
    pub(crate) fn inode(self) -> u64 {
        let socket = self.socket();
        if socket == 0 {
            return 0;
        }
        let inode = socket.wrapping_add(u64::from(setting(&OFFSETS.socket_alloc_vfs_inode)));
        let offset = setting(&OFFSETS.inode_i_ino);
        if setting(&OFFSETS.inode_i_ino_size) == 4 {
            u64::from(read::<u32>(inode, offset))
        } else {
            read(inode, offset)
        }
    }

    /// Bytes received that the application has not read, the FIN counted as one
    /// until end-of-file has been read. Only for a full socket, and only after
    /// its handshake.
    #[inline(always)]
    pub(crate) fn unread(self) -> u32 {
        let next: u32 = read(self.0, setting(&OFFSETS.tcp_sock_rcv_nxt));
        let copied: u32 = read(self.0, setting(&OFFSETS.tcp_sock_copied_seq));
        next.wrapping_sub(copied)
    }

    /// When the last acknowledgment came, the low half of `jiffies`. Only for a
    /// full socket.
    #[inline(always)]
    pub(crate) fn last_ack(self) -> u32 {
        read(self.0, setting(&OFFSETS.tcp_sock_rcv_tstamp))
    }

    /// Of a listener: connections that wait for `accept()`.
    #[inline(always)]
    pub(crate) fn accept_queue(self) -> u32 {
        read(self.0, setting(&OFFSETS.sock_sk_ack_backlog))
    }

    /// Of a listener: how many may wait.
    #[inline(always)]
    pub(crate) fn accept_limit(self) -> u32 {
        read(self.0, setting(&OFFSETS.sock_sk_max_ack_backlog))
    }

    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        read(self.0, setting(&OFFSETS.sock_common_skc_cookie))
    }

    /// Whether the segment with this header (RFC 9293 section 3.1) is for the
    /// connection of this minisocket, going by its ports.
    #[inline(always)]
    pub(crate) fn receives(self, header: u64) -> bool {
        let source: u16 = read(header, 0);
        let destination: u16 = read(header, 2);
        let remote: u16 = read(self.0, setting(&OFFSETS.sock_common_skc_dport));
        let local: u16 = read(self.0, setting(&OFFSETS.sock_common_skc_num));
        source == remote && u16::from_be(destination) == local
    }

    /// `tw_substate`. Only for a minisocket.
    #[inline(always)]
    pub(crate) fn substate(self) -> u8 {
        read(self.0, setting(&OFFSETS.inet_timewait_sock_tw_substate))
    }
}

#[inline(always)]
fn mapped(addr: u32) -> [u8; 16] {
    zerocopy::transmute!(v4_mapped(addr))
}

/// Whether the last reference to the file of this `struct socket` is gone.
///
/// Up to Linux 6.12 the count is then 0. Later it is a `file_ref_t`, which
/// counts one less and is negative once dead:
/// <https://github.com/torvalds/linux/blob/v6.13/include/linux/file_ref.h#L36-L46>.
#[inline(always)]
fn file_released(socket: u64) -> bool {
    let file: u64 = read(socket, setting(&OFFSETS.socket_file));
    if file == 0 {
        return false;
    }
    let f_ref = setting(&OFFSETS.file_f_ref);
    if f_ref != ABSENT {
        return read::<i64>(file, f_ref) < 0;
    }
    let f_count = setting(&OFFSETS.file_f_count);
    f_count != ABSENT && read::<i64>(file, f_count) == 0
}
