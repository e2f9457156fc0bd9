//! `cargo xtask setup`: what building and testing need is there afterwards.
//!
//! Installs on Debian; elsewhere says what to install. Quick when nothing is
//! missing.

use anyhow::{Context as _, Error, Result, bail};

use crate::{
    cargo, emulator,
    exec::{exec, say},
    packages::{self, Program, TEST},
    route::{self, Compiler, Route, TARGET},
};

/// The LLVM that bpf-linker is linked with. It reads the bitcode of the
/// compiler, so it is not older than the compiler's (rustc 1.96: LLVM 22).
const LLVM: &str = "22";
const LINKER_VERSION: &str = "0.13.0";

const COMPILER_PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev-bpf"];
const CLIPPY_PACKAGE: &str = "rust-web-clippy";
const LINKER_PACKAGES: &[&str] = &[
    "llvm-22-dev",
    "libzstd-dev",
    "zlib1g-dev",
    "libxml2-dev",
    "g++",
];

/// What `build` and `run` need.
pub(crate) fn for_building() -> Result<Route> {
    supply(&Lack::of(&[]))
}

/// What every command needs.
pub(crate) fn for_tests() -> Result<()> {
    let mut lack = Lack::of(TEST);
    lack.lints = lacks_lints();
    let route = supply(&lack)?;
    emulator::renew();
    say(format_args!("eBPF compiler: {route}"));
    Ok(())
}

/// What this machine has not got.
struct Lack {
    programs: Vec<&'static Program>,
    compiler: bool,
    linker: bool,
    lints: bool,
}

impl Lack {
    fn of(programs: &'static [Program]) -> Self {
        Self {
            programs: packages::missing(programs),
            compiler: route::compiler().is_none(),
            linker: route::linker().is_none(),
            lints: false,
        }
    }

    fn packages(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self
            .programs
            .iter()
            .map(|program| program.package)
            .collect();
        if self.compiler {
            names.extend(COMPILER_PACKAGES);
        }
        if self.compiler || self.lints {
            names.push(CLIPPY_PACKAGE);
        }
        if self.linker {
            names.extend(LINKER_PACKAGES);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What to install where we do not.
    fn advice(&self) -> String {
        let mut lines = vec!["this machine lacks what tcpstate needs; install:".to_owned()];
        for program in &self.programs {
            lines.push(format!(
                "{} (Debian's package: {})",
                program.name, program.package
            ));
        }
        if self.compiler {
            lines.push(format!(
                "a Rust compiler for {TARGET}: rustup toolchain install nightly --component rust-src,clippy"
            ));
        }
        if self.linker {
            lines.push(
                "bpf-linker, linked with an LLVM not older than that compiler's: \
                 cargo install bpf-linker (needs LLVM's development files), \
                 or a binary of its releases on PATH"
                    .to_owned(),
            );
        }
        lines.join("\n  ")
    }
}

fn supply(lack: &Lack) -> Result<Route> {
    let packages = lack.packages();
    if !packages.is_empty() {
        if !packages::has_apt() {
            bail!(lack.advice());
        }
        packages::update()?;
        if !packages::available(&packages)? {
            bail!(lack.advice());
        }
        packages::install(&packages)?;
    }
    if lack.linker {
        install_linker()?;
    }
    Route::find().map_err(Error::msg)
}

fn install_linker() -> Result<()> {
    exec(
        cargo::command("install")
            .args(["bpf-linker", "--locked", "--version", LINKER_VERSION])
            .args(["--no-default-features", "--features"])
            .arg(format!("llvm-{LLVM}"))
            .env("LLVM_PREFIX", format!("/usr/lib/llvm-{LLVM}")),
    )
    .context("bpf-linker")
}

/// The lint on the BPF target wants the clippy of the very compiler; that of a
/// rustup toolchain is rustup's to report.
fn lacks_lints() -> bool {
    match route::compiler() {
        Some(Compiler::Prebuilt(rustc)) => !rustc.with_file_name("cargo-clippy").exists(),
        _ => false,
    }
}
