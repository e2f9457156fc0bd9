//! The bind mounts of network namespaces in the text of `/proc/PID/mountinfo`.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::PathBuf};

use super::namespaces::named;

/// Inode number and place (relative to the root) of a network namespace, from a
/// line of mountinfo: `proc_pid_mountinfo(5)`.
pub(super) fn bind_mount(line: &[u8]) -> Option<(u64, PathBuf)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let inode = named(fields.nth(3)?, "net")?;
    let place = unescaped(fields.next()?);
    let relative = place.strip_prefix(b"/")?;
    Some((inode, PathBuf::from(OsStr::from_bytes(relative))))
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        match (first, rest) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = after;
            }
            _ => out.push(*first),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{bind_mount, unescaped};

    #[test]
    fn a_bind_mounted_network_namespace_is_read_from_mountinfo() {
        let line = b"569 24 0:4 net:[4026532281] /run/netns/a\\040b rw shared:243 - nsfs nsfs rw";
        let found = bind_mount(line);
        assert_eq!(found, Some((4_026_532_281, PathBuf::from("run/netns/a b"))));
    }

    #[test]
    fn other_mounts_are_not_taken_for_one() {
        for line in [
            &b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw"[..],
            b"570 24 0:4 mnt:[4026532281] /run/mnt rw - nsfs nsfs rw",
            b"571 24 0:4 net:[] /run/netns/a rw - nsfs nsfs rw",
            b"572 24 0:4 net:[4026532281]",
            b"",
        ] {
            assert_eq!(bind_mount(line), None);
        }
    }

    #[test]
    fn an_escape_that_is_none_stays_as_it_is() {
        assert_eq!(unescaped(b"a\\134b\\9\\01"), b"a\\b\\9\\01");
    }
}
