//! The kernels that the live tests run on in virtual machines: Debian's own
//! builds, fetched through the machine's own archive, kept in the user's cache.

mod archive;
mod modules;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::{
    archive::Archive,
    table::{KERNELS, Kernel},
};
use crate::{
    exec::{exec, say},
    machine::cache,
};

/// Modules that the tests use, unless the kernel has them built in.
const MODULES: &[&str] = &["inet_diag", "tcp_diag", "veth", "tun"];

/// A kernel on this machine's disk.
pub(crate) struct Image {
    pub(crate) vmlinuz: PathBuf,
    /// In the order in which they can be inserted.
    pub(crate) modules: Vec<PathBuf>,
}

/// Fetches the newest build of each, whatever is here.
pub(crate) fn command() -> Result<()> {
    for kernel in KERNELS {
        fetch(kernel)?;
    }
    Ok(())
}

/// The kernel from the cache, fetched if it is not there.
pub(crate) fn image(kernel: &Kernel) -> Result<Image> {
    let home = home(kernel)?;
    if fs::read_to_string(home.join("complete")).ok() != Some(contents()) {
        fetch(kernel)?;
    }
    Ok(Image {
        vmlinuz: home.join("vmlinuz"),
        modules: files(&home.join("modules"))?,
    })
}

/// Why no kernel can be fetched on this machine, if that is so.
pub(crate) fn obstacle() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the kernels are for x86-64".to_owned());
    }
    archive::obstacle()
}

fn home(kernel: &Kernel) -> Result<PathBuf> {
    Ok(cache()?.join("kernels").join(kernel.version))
}

/// Written last: says that everything is there, and which modules that is.
fn contents() -> String {
    MODULES.join("\n")
}

fn fetch(kernel: &Kernel) -> Result<()> {
    let home = home(kernel)?;
    let work = home.with_file_name(format!("{}-part-{}", kernel.version, std::process::id()));
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let fetched = fetch_into(kernel, &work)
        .and_then(|kept| replace(&kept, &home))
        .with_context(|| format!("kernel {}", kernel.version));
    fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    fetched
}

/// Gives the directory with what is worth keeping.
fn fetch_into(kernel: &Kernel, work: &Path) -> Result<PathBuf> {
    let archive = Archive::open(kernel.suites)?;
    let (tree, kept) = (work.join("tree"), work.join("kept"));
    for package in resolve(kernel, &archive)? {
        say(format_args!("kernel {}: {package}", kernel.version));
        let file = archive.download(&package, work)?;
        exec(Command::new("dpkg").arg("-x").arg(&file).arg(&tree))?;
    }
    fs::create_dir_all(kept.join("modules"))?;
    let vmlinuz = vmlinuz(&tree)?.context("the packages have no vmlinuz")?;
    fs::copy(vmlinuz, kept.join("vmlinuz"))?;
    modules::keep(&tree, MODULES, &kept.join("modules"))?;
    fs::write(kept.join("complete"), contents())?;
    Ok(kept)
}

/// `boot/vmlinuz-VERSION`, and since 7.2 `usr/lib/modules/VERSION/vmlinuz`.
fn vmlinuz(tree: &Path) -> Result<Option<PathBuf>> {
    let is_kernel = |file: &PathBuf| file.is_file() && name(file).starts_with("vmlinuz");
    let boot = tree.join("boot");
    let mut directories = files(&tree.join("usr/lib/modules")).unwrap_or_default();
    if boot.is_dir() {
        directories.push(boot);
    }
    for directory in directories {
        if let Some(file) = files(&directory)?.into_iter().find(is_kernel) {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn replace(kept: &Path, home: &Path) -> Result<()> {
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    fs::rename(kept, home).with_context(|| home.display().to_string())
}

/// The names of the newest build's packages.
fn resolve(kernel: &Kernel, archive: &Archive) -> Result<Vec<String>> {
    for packages in kernel.packages {
        if let Some(newest) = newest(packages, archive)? {
            return Ok(packages
                .iter()
                .map(|pattern| pattern.replace('*', &newest))
                .collect());
        }
    }
    bail!(
        "{:?} is in none of {}",
        kernel.packages,
        kernel.suites.join(", ")
    )
}

/// The highest number that the archive has of the first package.
fn newest(packages: &[&str], archive: &Archive) -> Result<Option<String>> {
    let Some(first) = packages.first() else {
        bail!("no package is named");
    };
    let names = archive.names(first.split('*').next().unwrap_or(first))?;
    Ok(names
        .lines()
        .filter_map(|name| build_number(first, name))
        .max_by_key(|build| numbers(build))
        .map(str::to_owned))
}

/// What the star stands for.
fn build_number<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = pattern.split_once('*')?;
    let build = name.strip_prefix(before)?.strip_suffix(after)?;
    let plain = build
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && !build.is_empty()).then_some(build)
}

fn numbers(build: &str) -> Vec<u64> {
    build
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// The files of a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = fs::read_dir(directory)
        .with_context(|| directory.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn name(file: &Path) -> String {
    file.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_star_of_a_package_name_is_a_number() {
        let pattern = "linux-image-6.1.0-*-cloud-amd64";
        assert_eq!(
            build_number(pattern, "linux-image-6.1.0-47-cloud-amd64"),
            Some("47")
        );
        for other in [
            "linux-image-6.1.0--cloud-amd64",
            "linux-image-6.1.0-47-cloud-amd64-dbg",
            "linux-image-6.1.0-47-rt-cloud-amd64",
            "linux-image-6.12.0-47-cloud-amd64",
        ] {
            assert_eq!(build_number(pattern, other), None, "{other}");
        }
    }

    #[test]
    fn the_newest_build_is_the_highest_number_not_the_last_word() {
        let newest = ["12.9", "12.107", "12.11"]
            .into_iter()
            .max_by_key(|build| numbers(build));
        assert_eq!(newest, Some("12.107"));
    }
}
