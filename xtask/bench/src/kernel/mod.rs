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
    /// The raw tracepoint at which it was attached; none where it is attached in
    /// another way, of which the kernel does not tell.
    pub(crate) tracepoint: Option<String>,
}

impl Runs {
    fn of(info: &bpf::ProgramInfo, tracepoint: Option<&str>) -> Self {
        let name: Vec<u8> = info.name.iter().copied().take_while(|&b| b != 0).collect();
        Self {
            name: String::from_utf8_lossy(&name).into_owned(),
            count: info.run_cnt,
            ns: info.run_time_ns,
            tracepoint: tracepoint.map(str::to_owned),
        }
    }

    /// What has come since an earlier reading.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            name: self.name.clone(),
            count: self.count - before.count,
            ns: self.ns - before.ns,
            tracepoint: self.tracepoint.clone(),
        }
    }
}

/// Asks the kernel to measure every program as long as the value lives; it ends
/// with this process however that ends, other than the sysctl.
pub(crate) fn statistics() -> Result<OwnedFd> {
    aya::sys::enable_stats(aya::sys::Stats::RunTime).context("statistics of programs")
}

/// The programs that a process has descriptors of, and the raw tracepoint at
/// which each is attached.
pub(crate) struct Programs(Vec<(OwnedFd, Option<String>)>);

impl Programs {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let found = attached(described(pid, "prog_id")?.into_iter());
        let open = found.into_iter();
        let open = open.map(|(id, tracepoint)| Ok((bpf::program(id)?, tracepoint)));
        let open = open.collect::<Result<_, std::io::Error>>();
        Ok(Self(open.context("programs by their ids")?))
    }

    /// In the order of their ids, so that two readings can be compared.
    pub(crate) fn runs(&self) -> Result<Vec<Runs>> {
        let programs = self.0.iter();
        programs
            .map(|(program, tracepoint)| {
                let info = bpf::info(program.as_fd())?;
                Ok(Runs::of(&info, tracepoint.as_deref()))
            })
            .collect()
    }
}

/// By a program's number the tracepoint that its link describes itself with: a
/// link has the number of its program.
fn attached(described: impl Iterator<Item = (u32, String)>) -> BTreeMap<u32, Option<String>> {
    let mut found = BTreeMap::<_, Option<String>>::new();
    for (id, text) in described {
        let tracepoint = found.entry(id).or_default();
        *tracepoint = tracepoint.take().or_else(|| word(&text, "tp_name"));
    }
    found
}

/// Bytes that the kernel charges for the maps of a process. There is no
/// structure that has them: only `fdinfo`.
pub(crate) fn map_bytes(pid: u32) -> Result<u64> {
    let maps: BTreeMap<_, _> = described(pid, "map_id")?.into_iter().collect();
    Ok(maps.values().map(|fields| field(fields, "memlock")).sum())
}

/// Programs of anybody that are loaded now.
pub(crate) fn loaded() -> usize {
    aya::programs::loaded_programs()
        .filter(Result::is_ok)
        .count()
}

/// The descriptions of a process's descriptors that have this field, a number,
/// beside it: of each descriptor, so the same number may come twice.
fn described(pid: u32, key: &str) -> Result<Vec<(u32, String)>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).with_context(|| directory.clone())? {
        // It may have been closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if let Ok(id @ 1..) = u32::try_from(field(&text, key)) {
            found.push((id, text));
        }
    }
    Ok(found)
}

fn field(text: &str, key: &str) -> u64 {
    word(text, key)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

fn word(text: &str, key: &str) -> Option<String> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
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

    #[test]
    fn a_link_says_at_which_tracepoint_its_program_is() {
        let program = "pos:\t0\nprog_type:\t17\nprog_id:\t73\n";
        let link = "link_type:\traw_tracepoint\nprog_id:\t73\ntp_name:\tinet_sock_set_state\n";
        let other = "prog_id:\t74\nmemlock:\t4096\n";
        let of = |texts: &[&str]| {
            let texts = texts
                .iter()
                .map(|&text| (field(text, "prog_id"), text.to_owned()));
            attached(texts.map(|(id, text)| (u32::try_from(id).unwrap(), text)))
        };
        let expected = BTreeMap::from([(73, Some(Reference::TRACEPOINT.to_owned())), (74, None)]);
        assert_eq!(of(&[program, link, other]), expected);
        assert_eq!(of(&[other, link, program]), expected);
    }
}
