//! Debian's archive at the address that this machine uses, with other suites
//! than the machine's own: apt in a private directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    exec::{exec, output},
    machine::{cache, program},
};

/// The keys that Debian's releases are signed with, by Debian's own package.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub(crate) struct Archive {
    directory: PathBuf,
}

/// Why this machine has no such archive.
pub(crate) fn obstacle() -> Option<String> {
    if program("apt-get").is_none() {
        return Some("the kernels come through apt, which is not here".to_owned());
    }
    match addresses() {
        Ok(_) => None,
        Err(error) => Some(format!("{error:#}")),
    }
}

impl Archive {
    /// Fetches the lists of the suites.
    pub(crate) fn open(suites: &[&str]) -> Result<Self> {
        let archive = Self {
            directory: cache()?.join("apt").join(suites.join("+")),
        };
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(archive.directory.join(part))?;
        }
        let write = |name, content| fs::write(archive.directory.join(name), content);
        write("status", String::new())?;
        write("sources.list", sources(suites)?)?;
        write("apt.conf", archive.configuration())?;
        exec(archive.apt("apt-get").args(["update", "--quiet"]))?;
        Ok(archive)
    }

    /// The names of all packages that begin so, one per line.
    pub(crate) fn names(&self, prefix: &str) -> Result<String> {
        output(self.apt("apt-cache").args(["pkgnames", prefix]))
    }

    /// Fetches one package's file into a directory.
    pub(crate) fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        exec(
            self.apt("apt-get")
                .current_dir(into)
                .args(["download", "--quiet", package]),
        )?;
        let wanted = format!("{package}_");
        super::files(into)?
            .into_iter()
            .find(|file| super::name(file).starts_with(&wanted))
            .with_context(|| format!("apt has downloaded no {package}"))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("--config-file")
            .arg(self.directory.join("apt.conf"))
            .env("LC_ALL", "C");
        command
    }

    /// Everything in this directory; the machine's own state is neither read
    /// nor written. How to reach the archive (proxies) is the machine's.
    fn configuration(&self) -> String {
        let directory = self.directory.display();
        format!(
            r#"Dir::Etc::SourceList "{directory}/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "{directory}/lists";
Dir::State::status "{directory}/status";
Dir::Cache "{directory}/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
APT::Update::Error-Mode "any";
// apt's own user cannot read a user's cache.
APT::Sandbox::User "";
"#
        )
    }
}

/// Where the main archive and the security archive are.
struct Addresses {
    main: String,
    security: String,
}

/// Asks apt rather than reading its sources: it knows both formats of them,
/// and which of them are Debian's.
fn addresses() -> Result<Addresses> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format=$(ORIGIN)|$(LABEL)|$(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    choose(&targets)
}

fn choose(targets: &str) -> Result<Addresses> {
    let of = |label: &str| {
        let start = format!("Debian|{label}|");
        targets
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .map(|address| address.trim_end_matches('/').to_owned())
    };
    let Some(main) = of("Debian") else {
        bail!("the kernels come from Debian's archive, which is not among apt's sources");
    };
    // Mirrors keep it beside the main archive under this name.
    let security = of("Debian-Security").unwrap_or_else(|| format!("{main}-security"));
    Ok(Addresses { main, security })
}

fn sources(suites: &[&str]) -> Result<String> {
    let Addresses { main, security } = addresses()?;
    let keys = match Path::new(KEYRING).exists() {
        true => format!("[signed-by={KEYRING}] "),
        false => String::new(),
    };
    Ok(suites
        .iter()
        .map(|suite| match suite.ends_with("-security") {
            true => format!("deb {keys}{security} {suite} main\n"),
            false => format!("deb {keys}{main} {suite} main\n"),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_one_whose_origin_is_debian() {
        let found = choose(
            "somebody|somebody's|http://other.invalid/debian/\n\
             Debian|Debian|http://mirror.invalid/debian/\n\
             Debian|Debian-Security|http://safe.invalid/debian-security/\n",
        )
        .unwrap();
        assert_eq!(found.main, "http://mirror.invalid/debian");
        assert_eq!(found.security, "http://safe.invalid/debian-security");
    }

    #[test]
    fn without_a_security_source_its_archive_is_taken_to_be_beside_the_main_one() {
        let found = choose("Debian|Debian|http://mirror.invalid/debian/\n").unwrap();
        assert_eq!(found.security, "http://mirror.invalid/debian-security");
    }

    #[test]
    fn another_distribution_has_no_such_archive() {
        assert!(choose("Ubuntu|Ubuntu|http://mirror.invalid/ubuntu/\n").is_err());
    }
}
