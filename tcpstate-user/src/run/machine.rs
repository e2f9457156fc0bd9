//! What this machine is, and the limits that come of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    capacity::{Limits, Machine},
    cli::Live,
};

/// Where control groups are mounted: those of version 2, and the memory
/// controller of version 1.
const UNIFIED: &str = "/sys/fs/cgroup";
const MEMORY: &str = "/sys/fs/cgroup/memory";

/// What was asked for, else what fits this machine.
pub(super) fn limits(asked: &Live) -> Limits {
    let usual = here().limits();
    Limits {
        ring_bytes: asked.ring_size.unwrap_or(usual.ring_bytes),
        max_sockets: asked.max_sockets.unwrap_or(usual.max_sockets),
    }
}

/// What this machine is now.
pub(super) fn here() -> Machine {
    let info = rustix::system::sysinfo();
    let total = info.totalram.saturating_mul(u64::from(info.mem_unit));
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let granted = groups.lines().flat_map(files).filter_map(|file| {
        // A group without a limit has "max" (2) or a number beyond all memory (1).
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    Machine {
        cpus: aya::util::online_cpus().map_or(1, |cpus| cpus.len() as u64),
        memory_bytes: granted.fold(total, u64::min),
    }
}

/// Gives back the memory that was needed only to begin: the kernel's types alone
/// take 15 MB, in many small pieces, which the allocator keeps.
pub(super) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The files with the memory limits of a line of `/proc/self/cgroup`
/// (`number:controllers:path`) and of the groups around it: cgroups(7).
fn files(line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    let (mount, file) = match controllers {
        "" => (UNIFIED, "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => (MEMORY, "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    groups
        .map(|group| Path::new(mount).join(group).join(file))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn a_group_is_bounded_by_those_around_it_in_both_versions() {
        let unified = super::files("0::/system.slice/tcpstate.service");
        let expected = [
            "/sys/fs/cgroup/system.slice/tcpstate.service/memory.max",
            "/sys/fs/cgroup/system.slice/memory.max",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(unified, expected.map(Path::new));
        let first = super::files("4:memory:/a:b");
        let expected = [
            "/sys/fs/cgroup/memory/a:b/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        ];
        assert_eq!(first, expected.map(Path::new));
    }

    #[test]
    fn other_controllers_and_other_text_bound_nothing() {
        for line in ["5:cpuset:/x", "1:name=systemd:/", "", "0", "x:y"] {
            assert!(super::files(line).is_empty(), "{line}");
        }
    }

    #[test]
    fn this_machine_has_a_cpu_and_memory() {
        let machine = super::here();
        assert!(
            machine.cpus >= 1 && machine.memory_bytes > 1 << 20,
            "{machine:?}"
        );
    }
}
