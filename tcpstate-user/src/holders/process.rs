//! What a process calls itself, and where it runs.

use std::{fs, path::Path};

use super::unit::unit_of;

/// At most this much of a command line is kept.
const CMDLINE: usize = 4096;

/// A process, as far as `/proc` tells. All of it was chosen by somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Process id.
    pub pid: u32,
    /// Name of its first thread.
    pub comm: Vec<u8>,
    /// Arguments, separated by blanks; empty for one of the kernel's own.
    pub cmdline: Vec<u8>,
    /// Path of its control group in the unified hierarchy, else in that of
    /// systemd.
    pub cgroup: Option<Vec<u8>>,
    /// The container or unit that the path of the control group names.
    pub unit: Option<String>,
}

/// What `/proc` tells of `pid` now; `None` when it has gone.
#[must_use]
pub fn process(pid: u32) -> Option<ProcessFacts> {
    let directory = Path::new("/proc").join(pid.to_string());
    let comm = fs::read(directory.join("comm")).ok()?;
    let cgroup = fs::read(directory.join("cgroup")).unwrap_or_default();
    let cgroup = group(&cgroup).map(<[u8]>::to_vec);
    Some(ProcessFacts {
        pid,
        comm: comm.strip_suffix(b"\n").unwrap_or(&comm).to_vec(),
        cmdline: arguments(&fs::read(directory.join("cmdline")).unwrap_or_default()),
        unit: cgroup.as_deref().and_then(unit_of),
        cgroup,
    })
}

/// Arguments end with a NUL each.
fn arguments(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[..bytes.len().min(CMDLINE)];
    let end = bytes.iter().rposition(|&byte| byte != 0);
    let bytes = end.map_or(&[][..], |last| &bytes[..=last]);
    let blank = |&byte: &u8| if byte == 0 { b' ' } else { byte };
    bytes.iter().map(blank).collect()
}

/// Lines are `ID:CONTROLLERS:PATH` (cgroups(7)); the unified hierarchy has the
/// ID 0 and no controllers. A path may have colons.
fn group(lines: &[u8]) -> Option<&[u8]> {
    let path_of = |controllers: &[u8]| {
        lines.split(|&byte| byte == b'\n').find_map(|line| {
            let mut parts = line.splitn(3, |&byte| byte == b':');
            let named = parts.nth(1)? == controllers;
            named.then(|| parts.next())?
        })
    };
    let unified = path_of(b"");
    match unified {
        Some(path) if path != b"/" => Some(path),
        _ => path_of(b"name=systemd").or(unified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_under_its_own_name() {
        let own = process(std::process::id()).unwrap();
        let name = fs::read("/proc/self/comm").unwrap();
        // The test's thread has its own name, /proc/PID/comm the first one's.
        assert_eq!(own.comm, name.strip_suffix(b"\n").unwrap());
        assert!(!own.cmdline.is_empty() && !own.cmdline.contains(&0));
    }

    #[test]
    fn arguments_are_separated_by_blanks_and_end_with_nothing() {
        assert_eq!(arguments(b"nginx\0-g\0a b\0"), b"nginx -g a b");
        assert_eq!(arguments(b""), b"");
        assert_eq!(arguments(&[b'a'; 10_000]).len(), CMDLINE);
    }

    #[test]
    fn the_unified_hierarchy_is_preferred_unless_it_says_nothing() {
        assert_eq!(group(b"0::/a/b\n"), Some(&b"/a/b"[..]));
        assert_eq!(group(b"1:name=systemd:/x:y\n0::/\n"), Some(&b"/x:y"[..]));
        assert_eq!(group(b"4:cpu:/z\n0::/\n"), Some(&b"/"[..]));
        assert_eq!(group(b""), None);
    }
}
