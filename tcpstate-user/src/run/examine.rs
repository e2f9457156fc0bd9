//! `tcpstate doctor`: asks the kernel and this process what they allow.

use std::{fs, path::Path};

use crate::{
    attach::{self, SignalReport},
    capacity::Machine,
    doctor::{Btf, Capability, DoctorReport, Refusal, SignalRow},
};

/// The capabilities that matter, with their bits in `CapEff`: `capability(7)`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>.
const CAPABILITIES: [(&str, u32); 6] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYSLOG", 34),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_RESOURCE", 24),
];

const BTF: &str = "/sys/kernel/btf/vmlinux";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Everything there is to say about this kernel and this process.
pub(super) fn examine(machine: Machine) -> DoctorReport {
    let limits = machine.limits();
    let capabilities = capabilities();
    let btf = btf();
    let (signals, refusal) = match attach::probe() {
        Ok(report) => (report.signals.iter().map(row).collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let mut advice = advice(&capabilities, &btf, &signals);
    advice.extend(refusal);
    DoctorReport {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        btf,
        capabilities,
        lockdown: lockdown(),
        signals,
        ring_bytes: u64::from(limits.ring_bytes),
        max_sockets: limits.max_sockets as u64,
        cpus: machine.cpus,
        memory_bytes: machine.memory_bytes,
        advice,
    }
}

fn btf() -> Btf {
    match fs::metadata(BTF) {
        Ok(_) => Btf::Found(BTF.to_owned()),
        Err(error) => Btf::Missing(format!("{BTF}: {error}")),
    }
}

fn capabilities() -> Vec<Capability> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES
        .iter()
        .map(|&(name, bit)| Capability {
            name: name.to_owned(),
            held: effective >> bit & 1 == 1,
        })
        .collect()
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let modes = fs::read_to_string(LOCKDOWN).ok()?;
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn row(report: &SignalReport) -> SignalRow {
    SignalRow {
        signal: report.signal.name().to_owned(),
        chosen: report.chosen.map(str::to_owned),
        refused: report
            .refused
            .iter()
            .map(|refusal| Refusal {
                hook: refusal.hook.to_owned(),
                reason: refusal.reason.clone(),
            })
            .collect(),
        without: report.signal.without().unwrap_or_default().to_owned(),
    }
}

fn advice(capabilities: &[Capability], btf: &Btf, signals: &[SignalRow]) -> Vec<String> {
    let mut advice = Vec::new();
    let held = |name| capabilities.iter().any(|one| one.name == name && one.held);
    if !(held("CAP_SYS_ADMIN") || held("CAP_BPF") && held("CAP_PERFMON")) {
        advice.push("Run it as root, for example with sudo.".to_owned());
    }
    if matches!(btf, Btf::Missing(_)) {
        advice.push(
            "Boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as all current distributions have."
                .to_owned(),
        );
    }
    let tracefs = TRACEFS
        .iter()
        .any(|path| Path::new(path).join("events").exists());
    if !tracefs && signals.iter().any(|row| row.chosen.is_none()) {
        advice.push("Mount tracefs: mount -t tracefs tracefs /sys/kernel/tracing".to_owned());
    }
    advice
}
