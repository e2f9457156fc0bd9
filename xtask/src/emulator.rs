//! The emulator of the virtual machines, where Debian has a newer one.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    exec::{output, say},
    kernels::Archive,
    machine::cache,
    packages,
};

/// From when on QEMU translates no code that another emulated CPU is changing at that
/// moment. Older ones run the old code for ever now and then, which the kernel's
/// switching of tracepoints provokes: 7.2 hung in two of two boots of 5.10's tests, by
/// both CPUs standing at one switched jump, 10.0 in none of the following ones.
const LEAST: (u32, u32) = (8, 1);

/// Where Debian releases that have an older one have a newer.
const SUITES: &[(&str, &str)] = &[("bookworm", "bookworm-backports")];

/// What of it there is in the suite, and depends on each other by version.
const PACKAGES: &[&str] = &[
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
];

/// Installs it if the machine's is older; without one the machines may have to begin
/// anew, which is all that is lost.
pub(crate) fn renew() {
    if version().is_ok_and(|version| version >= LEAST) {
        return;
    }
    if let Err(error) = install() {
        say(format_args!(
            "warning: QEMU is older than {}.{}, and its machines hang now and then: {error:#}",
            LEAST.0, LEAST.1
        ));
    }
}

fn install() -> Result<()> {
    let release = fs::read_to_string("/etc/os-release")?;
    let suite = suite(&release).context("this system's archive has no newer one")?;
    let archive = Archive::open(&[suite])?;
    let directory = cache()?.join("qemu").join(suite);
    fs::create_dir_all(&directory)?;
    let files = PACKAGES
        .iter()
        .map(|package| archive.download(package, &directory));
    let files: Vec<_> = files.collect::<Result<_>>()?;
    let files: Option<Vec<_>> = files.iter().map(|file| file.to_str()).collect();
    packages::install(&files.context("the cache's path is not UTF-8")?)
}

/// Of its own words: `QEMU emulator version 10.0.2 (Debian …)`.
fn version() -> Result<(u32, u32)> {
    let told = output(Command::new("qemu-system-x86_64").arg("--version"))?;
    parse(&told).context("QEMU does not say its version")
}

fn parse(told: &str) -> Option<(u32, u32)> {
    let version = told.strip_prefix("QEMU emulator version ")?;
    let mut parts = version.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// By `VERSION_CODENAME` in os-release(5).
fn suite(release: &str) -> Option<&'static str> {
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let known = SUITES.iter().find(|(codename, _)| *codename == name);
    known.map(|(_, suite)| *suite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        let version = parse("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds)\nCopyright");
        assert_eq!(version, Some((10, 0)));
        assert!(version >= Some(LEAST));
        assert!(parse("QEMU emulator version 7.2.22 (Debian)") < Some(LEAST));
        assert_eq!(parse("bash: not found"), None);
    }

    #[test]
    fn only_a_release_with_an_older_one_has_a_suite() {
        assert_eq!(
            suite("ID=debian\nVERSION_CODENAME=bookworm\n"),
            Some("bookworm-backports")
        );
        assert_eq!(suite("VERSION_CODENAME=trixie\n"), None);
        assert_eq!(suite("ID=arch\n"), None);
    }
}
