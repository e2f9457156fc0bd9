//! What the kernel knows of programs: how often each has run and for how long,
//! and which belong to a process.

mod bpf;
mod reference;

use std::{
    collections::BTreeMap,
    fs,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

pub(crate) use self::reference::{Attached, Reference};

/// What one program has done, since it was loaded or between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Runs {
    /// Up to 15 characters of it.
    pub(crate) name: String,
    /// While statistics were on.
    pub(crate) count: u64,
    /// While statistics were on, with what measuring itself costs.
    pub(crate) ns: u64,
}

impl Runs {
    fn of(info: &bpf::ProgramInfo) -> Self {
        let name: Vec<u8> = info.name.iter().copied().take_while(|&b| b != 0).collect();
        Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            count: info.run_cnt,
            ns: info.run_time_ns,
        }
    }

    /// What has come since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            name: self.name.clone(),
            count: self.count - before.count,
            ns: self.ns - before.ns,
        }
    }
}

/// Asks the kernel to measure every program as long as the value lives; it ends
/// with this process however that ends, other than the sysctl.
pub(crate) fn statistics() -> Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("statistics of programs")
}

/// The programs that a process has descriptors of.
pub(crate) struct Programs(Vec<OwnedFd>);

impl Programs {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let ids = described(pid, "prog_id")?;
        let open = ids.keys().map(|&id| bpf::program(id));
        let open = open.collect::<Result<_, _>>();
        Ok(Self(open.context("programs by their ids")?))
    }

    /// In the order of their ids, so that two readings can be compared.
    pub(crate) fn runs(&self) -> Result<Vec<Runs>> {
        let runs = |program: &OwnedFd| Ok(Runs::of(&bpf::info(program.as_fd())?));
        self.0.iter().map(runs).collect()
    }
}

/// Bytes that the kernel charges for the maps of a process. There is no
/// structure that has them: only `fdinfo`.
pub(crate) fn map_bytes(pid: u32) -> Result<u64> {
    let maps = described(pid, "map_id")?;
    Ok(maps.values().map(|fields| field(fields, "memlock")).sum())
}

/// Programs of anybody that are loaded now.
pub(crate) fn loaded() -> usize {
    aya::programs::loaded_programs()
        .filter(Result::is_ok)
        .count()
}

/// The descriptions of a process's descriptors that have this field, by its
/// value: each program or map once.
fn described(pid: u32, key: &str) -> Result<BTreeMap<u32, String>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.clone())? {
        // It may have been closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if let Ok(id @ 1..) = u32::try_from(field(&text, key)) {
            found.insert(id, text);
        }
    }
    Ok(found)
}

fn field(text: &str, key: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "pos:\t0\nprog_id:\t73\nmemlock:\t4096\n";
        assert_eq!(field(text, "prog_id"), 73);
        assert_eq!(field(text, "memlock"), 4096);
        assert_eq!(field(text, "prog"), 0);
    }
}
