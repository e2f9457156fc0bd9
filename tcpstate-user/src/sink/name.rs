//! The words for things that have a fixed set of them, in every format.

use std::collections::BTreeMap;

use super::{Untrusted, digits};
use crate::{
    decode::{Family, SocketKind},
    session::SessionInfo,
    track::{ConnId, Dwell, Process},
};

pub(super) const fn family(family: Family) -> &'static str {
    match family {
        Family::Inet => "ipv4",
        Family::Inet6 => "ipv6",
    }
}

pub(super) const fn kind(kind: SocketKind) -> &'static str {
    match kind {
        SocketKind::Full => "socket",
        SocketKind::Minisocket => "minisocket",
        SocketKind::Request => "request",
    }
}

/// `curl (42)`: whoever shows it must clean it.
pub(super) fn process(process: &Process) -> String {
    let comm = Untrusted::comm(&process.comm).to_lossy();
    format!("{comm} ({})", process.pid)
}

/// How much is known, and the number of nanoseconds.
pub(super) const fn dwell(dwell: Dwell) -> (&'static str, Option<u64>) {
    match dwell {
        Dwell::Exact(ns) => ("exact", Some(ns)),
        Dwell::AtLeast(ns) => ("at_least", Some(ns)),
        Dwell::Unknown => ("unknown", None),
    }
}

/// What `Display` writes, at the price of a few digits. Returns its width.
pub(super) fn conn(conn: ConnId, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    digits::hex(conn.birth.0, 1, out);
    out.push(b'-');
    digits::hex((conn.sk.0 >> 6) & 0xff_ffff, 6, out);
    out.len() - start
}

/// `enum sk_rst_reason` of the kernel that was traced, in lower case and
/// without its prefix.
#[derive(Debug)]
pub(super) struct ResetReasons(BTreeMap<u32, String>);

impl ResetReasons {
    pub(super) fn new(info: &SessionInfo) -> Self {
        let short = |name: &String| {
            let name = name.to_ascii_lowercase();
            match name.strip_prefix("sk_rst_reason_") {
                Some(rest) => rest.to_owned(),
                None => name,
            }
        };
        let reasons = info.reset_reasons.iter();
        Self(
            reasons
                .map(|(&number, name)| (number, short(name)))
                .collect(),
        )
    }

    /// Hands over the reason's name, or its number in digits where the kernel
    /// has no name for it.
    pub(super) fn with<T>(&self, number: u32, write: impl FnOnce(Untrusted<'_>) -> T) -> T {
        match self.0.get(&number) {
            Some(name) => write(Untrusted::new(name.as_bytes())),
            None => {
                let mut digits = Vec::new();
                digits::decimal(u64::from(number), &mut digits);
                write(Untrusted::new(&digits))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::conn;
    use crate::{
        decode::{KtimeNs, SockAddr64},
        track::ConnId,
    };

    #[test]
    fn a_connection_is_called_as_its_display_says() {
        for (birth, sk) in [
            (0, 0),
            (1, 0x40),
            (u64::MAX, u64::MAX),
            (81_000_000_000, 0xffff_8880_0123_4540),
        ] {
            let id = ConnId {
                birth: KtimeNs(birth),
                sk: SockAddr64(sk),
            };
            let mut out = Vec::new();
            assert_eq!(conn(id, &mut out), out.len());
            assert_eq!(String::from_utf8(out).unwrap(), id.to_string());
        }
    }
}
