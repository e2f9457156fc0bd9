//! Kernel modules with what they depend on, in an order in which they load.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::exec::output_bytes;

/// Copies the wanted modules of an unpacked kernel, numbered in load order and
/// uncompressed. What the kernel has built in needs no copy; what it has in
/// neither way is an error.
pub(crate) fn keep(tree: &Path, wanted: &[&str], into: &Path) -> Result<()> {
    let mut library = Library::default();
    library.scan(tree)?;
    for name in wanted {
        library.load(name)?;
    }
    for (number, (name, bytes)) in library.loaded.iter().enumerate() {
        fs::write(into.join(format!("{number:02}-{name}.ko")), bytes)?;
    }
    Ok(())
}

#[derive(Default)]
struct Library {
    files: BTreeMap<String, PathBuf>,
    built_in: Vec<String>,
    loaded: Vec<(String, Vec<u8>)>,
}

impl Library {
    fn scan(&mut self, directory: &Path) -> Result<()> {
        for path in super::files(directory)? {
            let name = super::name(&path);
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                self.scan(&path)?;
            } else if name == "modules.builtin" {
                self.built_in = fs::read_to_string(&path)?.lines().map(stem).collect();
            } else if name.ends_with(".ko") || name.ends_with(".ko.xz") {
                self.files.insert(stem(&name), path);
            }
        }
        Ok(())
    }

    /// Depth first: what a module needs comes before it.
    fn load(&mut self, name: &str) -> Result<()> {
        let name = stem(name);
        if self.built_in.contains(&name) || self.loaded.iter().any(|(other, _)| *other == name) {
            return Ok(());
        }
        let file = self
            .files
            .get(&name)
            .with_context(|| format!("the kernel has no module {name}"))?;
        let bytes = match file.extension().is_some_and(|extension| extension == "xz") {
            true => output_bytes(Command::new("xz").arg("-dc").arg(file))?,
            false => fs::read(file)?,
        };
        for dependency in depends(&bytes) {
            self.load(&dependency)?;
        }
        self.loaded.push((name, bytes));
        Ok(())
    }
}

/// A module's name from its path; the kernel takes `-` and `_` for the same.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The section .modinfo is a list of NUL-terminated `key=value`; modpost writes
/// one `depends=` into every module, empty if there is nothing to name
/// (`add_depends` in <https://github.com/torvalds/linux/blob/v6.1/scripts/mod/modpost.c>).
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..].split(|byte| *byte == 0).next();
    String::from_utf8_lossy(value.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module_information() {
        assert_eq!(
            depends(b"ELF\0license=GPL\0depends=inet_diag,x\0name=tcp_diag\0"),
            ["inet_diag", "x"]
        );
        assert!(depends(b"ELF\0depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn a_module_has_one_name_however_it_is_written() {
        assert_eq!(stem("kernel/net/ipv4/tcp-diag.ko.xz"), "tcp_diag");
        assert_eq!(stem("tcp_diag"), "tcp_diag");
    }
}
