//! Programs and the Debian packages that bring them.

use std::process::Command;

use anyhow::Result;

use crate::{
    exec::{exec, output, say},
    machine::{privileged, program, workspace},
};

/// A program by the name it is started with.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// Tests use it inside the virtual machines too.
    pub(crate) in_vm: bool,
}

const fn here(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        package,
        in_vm: false,
    }
}

const fn everywhere(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        package,
        in_vm: true,
    }
}

/// What the tests need.
pub(crate) const TEST: &[Program] = &[
    everywhere("ip", "iproute2"),
    everywhere("ss", "iproute2"),
    everywhere("curl", "curl"),
    everywhere("nginx", "nginx"),
    everywhere("haproxy", "haproxy"),
    // Not busybox's: that one runs its own `ip` whatever PATH says.
    everywhere("sh", "dash"),
    here("cc", "gcc"),
    here("python3", "python3"),
    here("go", "golang-go"),
    here("java", "default-jre-headless"),
    here("/usr/share/tomcat10/bin/bootstrap.jar", "tomcat10-common"),
    here("redis-server", "redis-server"),
    here("redis-benchmark", "redis-tools"),
    here("sar", "sysstat"),
    here("wrk", "wrk"),
    here("busybox", "busybox-static"),
    here("ldd", "libc-bin"),
    here("qemu-system-x86_64", "qemu-system-x86"),
    here("xz", "xz-utils"),
];

/// What the benchmark compares with; bcc's tool runs only where the kernel's
/// headers are, which is found out then.
pub(crate) const PEERS: &[Program] = &[
    here("tcpstates", "libbpf-tools"),
    here("bpftrace", "bpftrace"),
    here("perf", "linux-perf"),
];

/// The programs of `table` that this machine lacks.
pub(crate) fn missing(table: &'static [Program]) -> Vec<&'static Program> {
    table
        .iter()
        .filter(|wanted| program(wanted.name).is_none())
        .collect()
}

/// Whether this is a machine whose packages come from apt.
pub(crate) fn has_apt() -> bool {
    program("apt-get").is_some()
}

/// Brings apt's idea of what can be installed up to date. A source that cannot
/// be reached is apt's to report; whether it mattered shows at the installation.
pub(crate) fn update() -> Result<()> {
    let result = exec(
        privileged("apt-get")?
            .args(["update", "--quiet", "--option=Acquire::Retries=3"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    );
    if let Err(error) = result {
        say(format_args!("warning: {error:#}"));
    }
    Ok(())
}

/// Whether apt could install all of these.
pub(crate) fn available(packages: &[&str]) -> Result<bool> {
    let policy = output(
        Command::new("apt-cache")
            .arg("policy")
            .args(packages)
            .env("LC_ALL", "C"),
    )?;
    let candidates = policy
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Candidate: "))
        .filter(|version| *version != "(none)");
    Ok(candidates.count() == packages.len())
}

/// Installs packages: without questions, without starting their services, and
/// never at the price of another package.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let script = workspace().join("xtask/install.sh");
    exec(privileged("sh")?.arg(script).args(packages))
}
