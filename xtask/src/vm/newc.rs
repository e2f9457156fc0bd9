//! The cpio format that the kernel unpacks its first root file system from.
//!
//! Written here rather than by cpio(1): the archive is owned by root and takes
//! its files from anywhere, whoever writes it.
//! <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

pub(crate) struct Archive<W> {
    out: W,
    inode: u32,
    present: BTreeSet<PathBuf>,
}

impl<W: Write> Archive<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            present: BTreeSet::new(),
        }
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.present.contains(path)
    }

    /// A directory with all those above it.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<()> {
        self.parents(path)?;
        self.entry(path, DIRECTORY, b"")
    }

    /// A file that can be executed, with the directories above it.
    pub(crate) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, EXECUTABLE, content)
    }

    pub(crate) fn finish(mut self) -> Result<W> {
        self.record("TRAILER!!!", 0, b"")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        let mut above = PathBuf::new();
        for component in parent.components() {
            above.push(component);
            if component != Component::RootDir {
                self.entry(&above.clone(), DIRECTORY, b"")?;
            }
        }
        Ok(())
    }

    /// Once per path: a directory may be asked for many times.
    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) -> Result<()> {
        if !self.present.insert(path.to_owned()) {
            return Ok(());
        }
        let name = path
            .to_str()
            .with_context(|| format!("not UTF-8: {path:?}"))?;
        let Some(name) = name.strip_prefix('/') else {
            bail!("not an absolute path: {name}");
        };
        self.record(name, mode, content)
            .with_context(|| format!("cannot write {name}"))
    }

    fn record(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let too_long = |_| io::Error::other("longer than the format's 32 bits");
        let size = u32::try_from(content.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        write!(self.out, "070701")?;
        // inode, mode, uid, gid, links, mtime, size, device (2), special
        // device (2), name's size with its NUL, checksum (unused)
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        let header = 6 + 8 * fields.len();
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(header + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        let missing = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 4][..missing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let number = |at: usize| {
            let text = std::str::from_utf8(&bytes[at..at + 8]).unwrap();
            usize::from_str_radix(text, 16).unwrap()
        };
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, name_size) = (number(at + 54), number(at + 94));
            let name = &bytes[at + 110..at + 110 + name_size - 1];
            names.push(String::from_utf8(name.to_vec()).unwrap());
            at = (at + 110 + name_size).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        names
    }

    #[test]
    fn directories_come_before_what_is_in_them_and_once() {
        let mut archive = Archive::new(Vec::new());
        archive.file(Path::new("/usr/bin/a"), b"12345").unwrap();
        archive.file(Path::new("/usr/bin/bc"), b"").unwrap();
        archive.file(Path::new("/usr/a"), b"1").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(
            names(&bytes),
            [
                "usr",
                "usr/bin",
                "usr/bin/a",
                "usr/bin/bc",
                "usr/a",
                "TRAILER!!!"
            ]
        );
    }
}
