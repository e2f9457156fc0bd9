//! The running kernel's structures, as far as the programs read them: BTF
//! becomes [`Offsets`].

use std::collections::BTreeMap;

use tcpstate_common::settings::{ABSENT, Offsets};

use super::btf::{Btf, BtfError, Field};

/// All offsets, or the first required one that this kernel does not have.
pub(super) fn offsets(btf: &Btf<'_>) -> Result<Offsets, BtfError> {
    let at = |name, path| btf.field(name, path).map(|field| field.offset);
    let sock_common = |path| at("sock_common", path);
    let i_ino = btf.field("inode", "i_ino")?;
    let (file_f_count, file_f_ref) = file_count(btf)?;
    Ok(Offsets {
        sock_common_skc_daddr: sock_common("skc_daddr")?,
        sock_common_skc_rcv_saddr: sock_common("skc_rcv_saddr")?,
        sock_common_skc_dport: sock_common("skc_dport")?,
        sock_common_skc_num: sock_common("skc_num")?,
        sock_common_skc_family: sock_common("skc_family")?,
        sock_common_skc_state: sized(btf, "sock_common", "skc_state", 1)?,
        sock_common_skc_net: sized(btf, "sock_common", "skc_net.net", 8)?,
        // A kernel without IPv6 has neither.
        sock_common_skc_v6_daddr: optional(sock_common("skc_v6_daddr"))?,
        sock_common_skc_v6_rcv_saddr: optional(sock_common("skc_v6_rcv_saddr"))?,
        sock_common_skc_cookie: sock_common("skc_cookie")?,
        sock_common_skc_flags: sized(btf, "sock_common", "skc_flags", 8)?,
        sock_common_skc_prot: sized(btf, "sock_common", "skc_prot", 8)?,
        proto_name: at("proto", "name")?,
        sock_sk_protocol: sized(btf, "sock", "sk_protocol", 2)?,
        sock_sk_shutdown: sized(btf, "sock", "sk_shutdown", 1)?,
        sock_sk_err: sized(btf, "sock", "sk_err", 4)?,
        sock_sk_socket: at("sock", "sk_socket")?,
        inet_sock_inet_sport: at("inet_sock", "inet_sport")?,
        net_ns_inum: sized(btf, "net", "ns.inum", 4)?,
        socket_file: at("socket", "file")?,
        socket_sk: at("socket", "sk")?,
        file_f_count,
        file_f_ref,
        file_f_inode: at("file", "f_inode")?,
        file_private_data: at("file", "private_data")?,
        inode_i_mode: sized(btf, "inode", "i_mode", 2)?,
        inode_i_ino: i_ino.offset,
        inode_i_ino_size: i_ino.size,
        socket_alloc_vfs_inode: at("socket_alloc", "vfs_inode")?,
        inet_timewait_sock_tw_substate: sized(btf, "inet_timewait_sock", "tw_substate", 1)?,
        inet_timewait_sock_tw_sport: at("inet_timewait_sock", "tw_sport")?,
        inet_timewait_sock_tw_timer: at("inet_timewait_sock", "tw_timer")?,
        // Without these, requests are not followed: see `without_requests`.
        request_sock_rsk_timer: offset_or_absent(rsk_timer(btf)),
        sock_common_skc_listener: offset_or_absent(skc_listener(btf)),
        tcp_request_sock_snt_synack: offset_or_absent(snt_synack(btf)),
        timer_list_entry_pprev: sized(btf, "timer_list", "entry.pprev", 8)?,
        timer_list_expires: sized(btf, "timer_list", "expires", 8)?,
        timer_list_function: sized(btf, "timer_list", "function", 8)?,
        sk_buff_head: sized(btf, "sk_buff", "head", 8)?,
        sk_buff_transport_header: sized(btf, "sk_buff", "transport_header", 2)?,
        task_struct_files: at("task_struct", "files")?,
        files_struct_fdt: at("files_struct", "fdt")?,
        fdtable_max_fds: sized(btf, "fdtable", "max_fds", 4)?,
        fdtable_fd: at("fdtable", "fd")?,
        tcp_sock_rcv_nxt: sized(btf, "tcp_sock", "rcv_nxt", 4)?,
        tcp_sock_copied_seq: sized(btf, "tcp_sock", "copied_seq", 4)?,
        tcp_sock_rcv_tstamp: sized(btf, "tcp_sock", "rcv_tstamp", 4)?,
        sock_sk_ack_backlog: sized(btf, "sock", "sk_ack_backlog", 4)?,
        sock_sk_max_ack_backlog: sized(btf, "sock", "sk_max_ack_backlog", 4)?,
        tcp_send_reset_args: tracepoint_arguments(btf, "tcp_send_reset"),
        task_struct_flags: optional(sized(btf, "task_struct", "flags", 4))?,
        task_struct_mm: optional(sized(btf, "task_struct", "mm", 8))?,
        mm_struct_start_stack: optional(sized(btf, "mm_struct", "start_stack", 8))?,
        task_struct_thread_fsbase: optional(sized(btf, "task_struct", "thread.fsbase", 8))?,
        task_struct_group_leader: optional(sized(btf, "task_struct", "group_leader", 8))?,
        task_struct_start_boottime: optional(sized(btf, "task_struct", "start_boottime", 8))?,
        task_struct_stack: optional(sized(btf, "task_struct", "stack", 8))?,
        task_struct_stack_vm_area: optional(sized(btf, "task_struct", "stack_vm_area", 8))?,
        vm_struct_nr_pages: optional(sized(btf, "vm_struct", "nr_pages", 4))?,
        task_struct_tgid: optional(sized(btf, "task_struct", "tgid", 4))?,
        task_struct_pid: optional(sized(btf, "task_struct", "pid", 4))?,
        task_struct_state: optional(sized(btf, "task_struct", "__state", 4))?,
        task_struct_on_cpu: optional(sized(btf, "task_struct", "on_cpu", 4))?,
        task_struct_nvcsw: optional(sized(btf, "task_struct", "nvcsw", 8))?,
        task_struct_nivcsw: optional(sized(btf, "task_struct", "nivcsw", 8))?,
        tcp_sock_bytes_received: optional(sized(btf, "tcp_sock", "bytes_received", 8))?,
        tcp_sock_bytes_sent: optional(sized(btf, "tcp_sock", "bytes_sent", 8))?,
        tcp_sock_bytes_retrans: optional(sized(btf, "tcp_sock", "bytes_retrans", 8))?,
        tcp_sock_total_retrans: optional(sized(btf, "tcp_sock", "total_retrans", 4))?,
        tcp_sock_linger2: optional(sized(btf, "tcp_sock", "linger2", 4))?,
        inet_connection_sock_icsk_user_timeout: optional(connection_sock(
            btf,
            "icsk_user_timeout",
            4,
        ))?,
        inet_connection_sock_icsk_probes_out: optional(connection_sock(btf, "icsk_probes_out", 1))?,
        tcp_sock_lsndtime: optional(sized(btf, "tcp_sock", "lsndtime", 4))?,
        inet_connection_sock_icsk_ack_lrcvtime: optional(connection_sock(
            btf,
            "icsk_ack.lrcvtime",
            4,
        ))?,
        sock_sk_lingertime: optional(sized(btf, "sock", "sk_lingertime", 8))?,
    })
}

/// Why requests cannot be followed: the kernel lacks a field.
pub(super) fn without_requests(btf: &Btf<'_>) -> Option<String> {
    let fields = rsk_timer(btf).and(skc_listener(btf)).and(snt_synack(btf));
    fields.err().map(|error| error.to_string())
}

fn connection_sock(btf: &Btf<'_>, path: &str, size: u32) -> Result<u32, BtfError> {
    sized(btf, "inet_connection_sock", path, size)
}

fn rsk_timer(btf: &Btf<'_>) -> Result<Field, BtfError> {
    btf.field("request_sock", "rsk_timer")
}

fn skc_listener(btf: &Btf<'_>) -> Result<Field, BtfError> {
    of_size(btf, "sock_common", "skc_listener", 8)
}

fn snt_synack(btf: &Btf<'_>) -> Result<Field, BtfError> {
    of_size(btf, "tcp_request_sock", "snt_synack", 8)
}

/// What last looks cannot tell, and the field that this kernel lacks for it.
pub(super) fn not_looked_at(offsets: &Offsets) -> Vec<(&'static str, &'static str)> {
    let facts = [
        (
            "bytes_in",
            offsets.tcp_sock_bytes_received,
            "tcp_sock.bytes_received",
        ),
        (
            "bytes_out",
            offsets.tcp_sock_bytes_sent,
            "tcp_sock.bytes_sent",
        ),
        (
            "bytes_out",
            offsets.tcp_sock_bytes_retrans,
            "tcp_sock.bytes_retrans",
        ),
        (
            "retransmits",
            offsets.tcp_sock_total_retrans,
            "tcp_sock.total_retrans",
        ),
        (
            "user_timeout",
            offsets.inet_connection_sock_icsk_user_timeout,
            "inet_connection_sock.icsk_user_timeout",
        ),
        ("idle_ns", offsets.tcp_sock_lsndtime, "tcp_sock.lsndtime"),
        (
            "idle_ns",
            offsets.inet_connection_sock_icsk_ack_lrcvtime,
            "inet_connection_sock.icsk_ack.lrcvtime",
        ),
        (
            "linger_zero",
            offsets.sock_sk_lingertime,
            "sock.sk_lingertime",
        ),
        ("linger2", offsets.tcp_sock_linger2, "tcp_sock.linger2"),
        ("exit", offsets.task_struct_flags, "task_struct.flags"),
    ];
    let missing = facts.into_iter().filter(|(_, offset, _)| *offset == ABSENT);
    missing.map(|(fact, _, field)| (fact, field)).collect()
}

/// `enum sk_rst_reason` without its prefix; empty before Linux 6.10.
pub(super) fn reset_reasons(btf: &Btf<'_>) -> BTreeMap<u32, String> {
    const PREFIX: &str = "SK_RST_REASON_";
    let Ok(reasons) = btf.enumerators("sk_rst_reason") else {
        return BTreeMap::new();
    };
    reasons
        .into_iter()
        .filter_map(|(value, name)| Some((value, name.strip_prefix(PREFIX)?.to_owned())))
        .filter(|(_, name)| name != "MAX")
        .collect()
}

/// `file.f_count` up to Linux 6.12, `file.f_ref` later; one of them must be.
fn file_count(btf: &Btf<'_>) -> Result<(u32, u32), BtfError> {
    let count = btf.field("file", "f_count");
    let reference = btf.field("file", "f_ref");
    match (count, reference) {
        (Err(_), Err(error)) => Err(error),
        (count, reference) => Ok((offset_or_absent(count), offset_or_absent(reference))),
    }
}

fn offset_or_absent(field: Result<Field, BtfError>) -> u32 {
    field.map_or(ABSENT, |field| field.offset)
}

/// [`ABSENT`] for a field that this kernel may well not have.
fn optional(offset: Result<u32, BtfError>) -> Result<u32, BtfError> {
    match offset {
        Err(BtfError::Missing(_)) => Ok(ABSENT),
        other => other,
    }
}

/// The offset of a field that the programs read with this size.
fn sized(btf: &Btf<'_>, name: &str, path: &str, size: u32) -> Result<u32, BtfError> {
    of_size(btf, name, path, size).map(|field| field.offset)
}

fn of_size(btf: &Btf<'_>, name: &str, path: &str, size: u32) -> Result<Field, BtfError> {
    let field = btf.field(name, path)?;
    if field.size == size {
        Ok(field)
    } else {
        Err(BtfError::Missing(format!("{name}.{path} of {size} bytes")))
    }
}

/// [`ABSENT`] when there is no such tracepoint: then nothing is attached to it.
fn tracepoint_arguments(btf: &Btf<'_>, event: &str) -> u32 {
    let count = btf.tracepoint_arguments(event).ok();
    count
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(ABSENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::btf::VMLINUX;

    #[test]
    fn the_running_kernel_has_every_required_field_where_the_kernel_facts_say() {
        let bytes = std::fs::read(VMLINUX).unwrap();
        let offsets = offsets(&Btf::parse(&bytes).unwrap()).unwrap();
        // struct sock_common is the same on Linux 5.10 to 7.3.
        assert_eq!(offsets.sock_common_skc_daddr, 0);
        assert_eq!(offsets.sock_common_skc_dport, 12);
        assert_eq!(offsets.sock_common_skc_num, 14);
        assert_eq!(offsets.sock_common_skc_state, 18);
        assert_eq!(offsets.sock_common_skc_net, 48);
        assert_eq!(offsets.sock_common_skc_v6_rcv_saddr, 72);
        assert_eq!(offsets.sock_common_skc_prot, 40);
        assert_eq!(offsets.inet_timewait_sock_tw_substate, 140);
        assert_eq!(offsets.inet_timewait_sock_tw_timer, 160);
        assert_eq!(offsets.sock_common_skc_listener, 96);
        assert_eq!(offsets.timer_list_entry_pprev, 8);
        assert_eq!(offsets.timer_list_expires, 16);
        assert_eq!(offsets.timer_list_function, 24);
        assert_eq!(offsets.files_struct_fdt, 32);
    }

    #[test]
    fn the_running_kernel_has_what_requests_are_followed_by() {
        let bytes = std::fs::read(VMLINUX).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(without_requests(&btf), None);
        let offsets = offsets(&btf).unwrap();
        assert!((256..=264).contains(&offsets.tcp_request_sock_snt_synack));
        assert!(offsets.request_sock_rsk_timer > offsets.sock_common_skc_listener);
    }

    #[test]
    fn the_running_kernel_has_what_a_last_look_reads() {
        let bytes = std::fs::read(VMLINUX).unwrap();
        let offsets = offsets(&Btf::parse(&bytes).unwrap()).unwrap();
        let all = [
            offsets.tcp_sock_bytes_received,
            offsets.tcp_sock_bytes_sent,
            offsets.tcp_sock_bytes_retrans,
            offsets.tcp_sock_total_retrans,
            offsets.tcp_sock_linger2,
            offsets.inet_connection_sock_icsk_user_timeout,
            offsets.inet_connection_sock_icsk_probes_out,
            offsets.sock_sk_lingertime,
            offsets.tcp_sock_lsndtime,
            offsets.inet_connection_sock_icsk_ack_lrcvtime,
            offsets.task_struct_flags,
        ];
        assert!(!all.contains(&ABSENT), "{all:?}");
        assert_eq!(not_looked_at(&offsets), []);
        let without = Offsets {
            tcp_sock_bytes_sent: ABSENT,
            ..offsets
        };
        let missing = [("bytes_out", "tcp_sock.bytes_sent")];
        assert_eq!(not_looked_at(&without), missing);
    }

    #[test]
    fn reset_reasons_come_without_their_prefix() {
        let bytes = std::fs::read(VMLINUX).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        let reasons = reset_reasons(&btf);
        match btf.tracepoint_arguments("tcp_send_reset") {
            Ok(3) => assert_eq!(reasons[&1], "NO_SOCKET"),
            _ => assert_eq!(reasons, BTreeMap::new()),
        }
    }
}
