//! What the loader writes into the programs' read-only globals before they run.
//!
//! The verifier knows these values when it loads a program, so a branch they
//! rule out costs nothing at run time.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Name of the global that holds [`Offsets`].
pub const OFFSETS: &str = "OFFSETS";
/// Name of the global that holds [`Filter`].
pub const FILTER: &str = "FILTER";
/// Name of the global that holds [`Options`].
pub const OPTIONS: &str = "OPTIONS";

/// Name of the global that holds [`Callers`].
pub const CALLERS: &str = "CALLERS";

/// A field that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of kernel structure fields, from the running kernel's BTF.
/// [`ABSENT`] where the kernel has no such field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[expect(
    missing_docs,
    reason = "each field is named struct_field after the kernel's"
)]
pub struct Offsets {
    pub sock_common_skc_daddr: u32,
    pub sock_common_skc_rcv_saddr: u32,
    pub sock_common_skc_dport: u32,
    pub sock_common_skc_num: u32,
    pub sock_common_skc_family: u32,
    pub sock_common_skc_state: u32,
    pub sock_common_skc_net: u32,
    pub sock_common_skc_v6_daddr: u32,
    pub sock_common_skc_v6_rcv_saddr: u32,
    pub sock_common_skc_cookie: u32,
    pub sock_common_skc_flags: u32,
    pub sock_common_skc_prot: u32,
    pub proto_name: u32,
    pub sock_sk_protocol: u32,
    pub sock_sk_shutdown: u32,
    pub sock_sk_err: u32,
    pub sock_sk_socket: u32,
    pub inet_sock_inet_sport: u32,
    pub net_ns_inum: u32,
    pub socket_file: u32,
    pub socket_sk: u32,
    /// `file.f_count` (atomic, released at 0), Linux up to 6.12.
    pub file_f_count: u32,
    /// `file.f_ref` (released when negative), Linux 6.13 and later.
    pub file_f_ref: u32,
    pub file_f_inode: u32,
    pub file_private_data: u32,
    pub inode_i_mode: u32,
    pub inode_i_ino: u32,
    /// 4 or 8.
    pub inode_i_ino_size: u32,
    /// `struct socket` to `struct inode` in `struct socket_alloc`.
    pub socket_alloc_vfs_inode: u32,
    pub inet_timewait_sock_tw_substate: u32,
    pub inet_timewait_sock_tw_sport: u32,
    pub inet_timewait_sock_tw_timer: u32,
    pub request_sock_rsk_timer: u32,
    pub sock_common_skc_listener: u32,
    pub tcp_request_sock_snt_synack: u32,
    /// Of the `hlist_node` in `entry`: NULL while the timer does not run.
    pub timer_list_entry_pprev: u32,
    pub timer_list_expires: u32,
    pub timer_list_function: u32,
    pub sk_buff_head: u32,
    pub sk_buff_transport_header: u32,
    pub task_struct_files: u32,
    pub files_struct_fdt: u32,
    pub fdtable_max_fds: u32,
    pub fdtable_fd: u32,
    pub tcp_sock_rcv_nxt: u32,
    pub tcp_sock_copied_seq: u32,
    pub tcp_sock_rcv_tstamp: u32,
    pub sock_sk_ack_backlog: u32,
    pub sock_sk_max_ack_backlog: u32,
    /// Number of arguments of `btf_trace_tcp_send_reset` without the context:
    /// 2, or 3 when the kernel gives a reason.
    pub tcp_send_reset_args: u32,
    pub task_struct_flags: u32,
    pub task_struct_mm: u32,
    /// Where the stack of the first thread begins.
    pub mm_struct_start_stack: u32,
    /// x86-64 only: where another thread's stack ends, with most libraries.
    pub task_struct_thread_fsbase: u32,
    pub task_struct_group_leader: u32,
    pub task_struct_start_boottime: u32,
    pub task_struct_stack: u32,
    /// Absent without `CONFIG_VMAP_STACK`.
    pub task_struct_stack_vm_area: u32,
    pub vm_struct_nr_pages: u32,
    pub task_struct_tgid: u32,
    pub task_struct_pid: u32,
    /// `task_struct.__state`, Linux 5.14.
    pub task_struct_state: u32,
    /// Absent without `CONFIG_SMP`.
    pub task_struct_on_cpu: u32,
    pub task_struct_nvcsw: u32,
    pub task_struct_nivcsw: u32,
    pub tcp_sock_bytes_received: u32,
    pub tcp_sock_bytes_sent: u32,
    pub tcp_sock_bytes_retrans: u32,
    pub tcp_sock_total_retrans: u32,
    pub tcp_sock_linger2: u32,
    pub inet_connection_sock_icsk_user_timeout: u32,
    pub inet_connection_sock_icsk_probes_out: u32,
    pub sock_sk_lingertime: u32,
    pub tcp_sock_lsndtime: u32,
    pub inet_connection_sock_icsk_ack_lrcvtime: u32,
}

/// Addresses of kernel functions, from `/proc/kallsyms`; zero where not known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Callers {
    /// `tw_timer_handler`: which timers are those of minisockets.
    pub tw_timer_handler: u64,
    /// `reqsk_timer_handler`: which timers are those of requests.
    pub reqsk_timer_handler: u64,
    /// By [`crate::record::caller`], two functions each (the second one zero
    /// where there is one only): a return address inside names the caller.
    pub functions: [[AddressRange; 2]; CALLER_COUNT],
}

const CALLER_COUNT: usize = crate::record::caller::COUNT;

/// Kernel addresses from `start` up to but not `end`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct AddressRange {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
}

/// How many ports a [`Filter`] can hold on each side.
pub const FILTER_PORTS: usize = 16;
/// How many networks a [`Filter`] can hold on each side.
pub const FILTER_NETS: usize = 8;

/// A network: the first `bits` bits of `addr`, IPv4 written v4-mapped.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Net {
    /// Bytes that an address must have after masking, in network order.
    pub addr: [u8; 16],
    /// Which bits count.
    pub mask: [u8; 16],
}

/// Which transitions the kernel side lets through. It decides only what a
/// single event can decide; user space applies the whole filter to the
/// connection. A port or address that an event does not know yet passes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Filter {
    /// 0 = every family, else `AF_INET` (2) or `AF_INET6` (10).
    pub family: u32,
    /// 0 = every network namespace, else its inode number.
    pub netns: u32,
    /// How many of `lports` count; 0 = every port.
    pub lport_count: u32,
    /// How many of `rports` count; 0 = every port.
    pub rport_count: u32,
    /// How many of `lnets` count; 0 = every address.
    pub lnet_count: u32,
    /// How many of `rnets` count; 0 = every address.
    pub rnet_count: u32,
    /// Local ports, host order.
    pub lports: [u16; FILTER_PORTS],
    /// Remote ports, host order.
    pub rports: [u16; FILTER_PORTS],
    /// Local networks.
    pub lnets: [Net; FILTER_NETS],
    /// Remote networks.
    pub rnets: [Net; FILTER_NETS],
}

/// How the programs deliver, and what time is to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Options {
    /// The reader is woken when the producer position crosses a multiple of
    /// this many bytes; a power of two. One wake-up costs the traced task more
    /// than the whole record, so there is none per event.
    pub wake_bytes: u64,
    /// Length of a tick of `jiffies`, ns.
    pub tick_ns: u64,
    /// How stacks are captured.
    pub capture: Capture,
    /// 1 when a last look at each socket is asked for, else 0.
    pub last_looks: u64,
}

/// The longest slice of a stack, in bytes.
pub const MAX_SLICE: u64 = 28 << 10;

/// How many programs may capture a stack at the same time on one CPU: each has
/// a place of its own in the map, because one may interrupt another.
pub const CAPTURE_PLACES: u32 = 4;

/// How the stacks of tasks are captured, and how many.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Capture {
    /// As [`Options::wake_bytes`], for stacks: they are long and few, and one
    /// wake-up costs as much as a dozen of them.
    pub wake_bytes: u64,
    /// Bytes of stack to copy: a multiple of eight, at most [`MAX_SLICE`].
    pub slice_bytes: u64,
    /// 1 when the kernel has the helper `bpf_task_pt_regs` (Linux 5.15), else 0.
    pub task_pt_regs: u64,
    /// For each process and reason.
    pub process: Bucket,
    /// For all together.
    pub overall: Bucket,
}

/// A token bucket.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Bucket {
    /// Nanoseconds until there is one more token.
    pub interval_ns: u64,
    /// `interval_ns` times the number of tokens in a full bucket.
    pub full_ns: u64,
}

/// One CPU's counters, in a memory-mappable array indexed by CPU number.
/// Monotonic, never reset; and what the reader tells the programs there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    /// Records the programs wanted to send.
    pub seen: u64,
    /// Of these, lost because the ring buffer was full.
    pub ring_full: u64,
    /// Events of protocols that are not TCP (MPTCP parents, SCTP, DCCP): not
    /// in `seen`.
    pub foreign: u64,
    /// Events the filter refused: not in `seen`.
    pub filtered: u64,
    /// Transitions whose program was not run, because it was running on that CPU
    /// already, and which the second program recorded: in `seen`.
    pub rescued: u64,
    /// Stacks that were not captured, because there were too many: not in `seen`.
    pub sampled_out: u64,
    /// Events of which the first of two equal programs has come: in `seen`, unless
    /// they were refused.
    pub firsts: u64,
    /// Of these, events of which the second one has come too.
    pub seconds: u64,
    /// Written by the reader: not 0 while it sleeps, and wants to be woken by the
    /// first record. In a cache line of its own, beside a CPU's counters, so that
    /// a program finds it where it counts.
    pub reader_sleeps: u64,
    /// Up to the next CPU's cache line.
    pub unused: [u64; 7],
}
