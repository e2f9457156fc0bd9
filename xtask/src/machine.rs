//! This machine: where things are, and who we are on it.

use std::{
    env,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// The top of the working tree.
pub(crate) fn workspace() -> PathBuf {
    // Asked at run time first: clones that share a target directory share this
    // very program. The manifest is one directory below.
    let mut directory = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    directory.pop();
    directory
}

/// Where an executable file of this name is. The system directories are looked
/// through too: Debian leaves them out of an ordinary user's PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A command with every privilege: as it is for root, through sudo otherwise.
pub(crate) fn privileged(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let sudo = self::program("sudo")
        .context("this needs root: become root, or install and configure sudo")?;
    let mut command = Command::new(sudo);
    command.arg("-E").arg(program);
    Ok(command)
}

pub(crate) fn is_root() -> bool {
    // /proc/self belongs to the effective user.
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// The user's cache, outside of the working tree: a fresh clone finds what an
/// older one fetched.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("tcpstate"))
}
