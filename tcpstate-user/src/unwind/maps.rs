//! The executable parts of a process's memory map, out of `/proc/PID/maps`.
//!
//! The kernel offers the same as a structure only in Linux 6.11 and later
//! (`PROCMAP_QUERY`).

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

/// An executable mapping.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// 0 when there is no file.
    pub(super) inode: u64,
    /// The file's path as the process's root has it, or a name in brackets;
    /// empty for memory without a name.
    pub(super) name: OsString,
    /// The file has no name any more.
    pub(super) deleted: bool,
}

/// All executable mappings, by address. Lines that are none are left out.
pub(super) fn executable(maps: &[u8]) -> Vec<Mapping> {
    maps.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `start-end perms offset dev inode   name`
fn line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let (start, end) = split(word(&mut rest)?, b'-');
    let permissions = word(&mut rest)?;
    if permissions.get(2) != Some(&b'x') {
        return None;
    }
    let offset = hexadecimal(word(&mut rest)?)?;
    let _device = word(&mut rest)?;
    let inode = std::str::from_utf8(word(&mut rest)?).ok()?.parse().ok()?;
    let name = rest.trim_ascii_start();
    let (name, deleted) = match name.strip_suffix(b" (deleted)") {
        Some(name) => (name, true),
        None => (name, false),
    };
    Some(Mapping {
        start: hexadecimal(start)?,
        end: hexadecimal(end)?,
        offset,
        inode,
        name: OsString::from_vec(unescaped(name)),
        deleted,
    })
}

fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (word, behind) = split(rest, b' ');
    *rest = behind.trim_ascii_start();
    Some(word).filter(|word| !word.is_empty())
}

/// Before and behind the first `at`; all of it is before, if there is none.
fn split(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == at);
    let end = end.unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The kernel writes a newline in a name as `\012`, and nothing else so:
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/task_mmu.c#L321-L325>.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let [first, behind @ ..] = rest {
        if let Some(behind) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = behind;
        } else {
            plain.push(*first);
            rest = behind;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use proptest::{collection::vec, prelude::any, proptest};

    use super::*;

    const MAPS: &[u8] = b"\
5581c000-5581d000 r--p 00000000 fe:01 77                         /opt/a b
5581d000-5581f000 r-xp 00001000 fe:01 77                         /opt/a b
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
7f0000002000-7f0000003000 r-xp 00000000 00:01 5      /x\\012y\xff (deleted)
7fff00000000-7fff00002000 r-xp 00000000 00:00 0                  [vdso]
nonsense
7fff-zzzz r-xp 0 0 0
";

    #[test]
    fn executable_mappings_are_found_with_their_names() {
        let found = executable(MAPS);
        let names: Vec<_> = found
            .iter()
            .map(|mapping| mapping.name.as_bytes())
            .collect();
        assert_eq!(names, [&b"/opt/a b"[..], b"", b"/x\ny\xff", b"[vdso]"]);
        assert_eq!(found[0].start, 0x5581_d000);
        assert_eq!(found[0].end, 0x5581_f000);
        assert_eq!(found[0].offset, 0x1000);
        assert_eq!(found[0].inode, 77);
        let deleted: Vec<_> = found.iter().map(|mapping| mapping.deleted).collect();
        assert_eq!(deleted, [false, false, true, false]);
    }

    #[test]
    fn the_map_of_this_process_has_this_program() {
        let maps = std::fs::read("/proc/self/maps").unwrap();
        let me = std::env::current_exe().unwrap();
        let found = executable(&maps);
        assert!(found.iter().any(|mapping| OsStr::new(&mapping.name) == me));
        assert!(found.is_sorted_by_key(|mapping| mapping.start));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_map(bytes in vec(any::<u8>(), 0..200), cut in 0..400_usize) {
            executable(&bytes);
            executable(&MAPS[..cut.min(MAPS.len())]);
        }
    }
}
