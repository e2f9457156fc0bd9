//! `cargo xtask setup`: what building and testing need is there afterwards.
//!
//! Installs on Debian; elsewhere says what to install. Quick when nothing is
//! missing.

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo,
    exec::{exec, say},
    packages::{self, Program, TEST},
    route::{Compiler, Route, TARGET, compiler, linker},
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
    install(Vec::new())
}

/// What every command needs.
pub(crate) fn for_tests() -> Result<()> {
    let route = install(packages::missing(TEST))?;
    lint_driver(&route)?;
    say(format_args!("eBPF compiler: {route}"));
    Ok(())
}

fn install(programs: Vec<&'static Program>) -> Result<Route> {
    let compiler = compiler();
    let linker = linker();
    if let (true, Some(compiler), Some(linker)) = (programs.is_empty(), &compiler, &linker) {
        return Ok(Route {
            compiler: compiler.clone(),
            linker: linker.clone(),
        });
    }
    let mut wanted: Vec<&str> = programs.iter().map(|program| program.package).collect();
    if compiler.is_none() {
        wanted.extend(COMPILER_PACKAGES);
        wanted.push(CLIPPY_PACKAGE);
    }
    if linker.is_none() {
        wanted.extend(LINKER_PACKAGES);
    }
    if !packages::has_apt() {
        bail!(advice(&programs, compiler.is_none(), linker.is_none()));
    }
    if !wanted.is_empty() {
        packages::update()?;
        if !packages::available(&wanted)? {
            bail!(advice(&programs, compiler.is_none(), linker.is_none()));
        }
        packages::install(&wanted)?;
    }
    if linker.is_none() {
        install_linker()?;
    }
    Route::find().map_err(|missing| anyhow::anyhow!("still {missing} after the installation"))
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

/// The lint on the BPF target wants the clippy of the very compiler.
fn lint_driver(route: &Route) -> Result<()> {
    match &route.compiler {
        Compiler::Prebuilt(rustc)
            if packages::has_apt() && !rustc.with_file_name("cargo-clippy").exists() =>
        {
            packages::update()?;
            packages::install(&[CLIPPY_PACKAGE])
        }
        _ => Ok(()),
    }
}

fn advice(programs: &[&Program], compiler: bool, linker: bool) -> String {
    let mut text = String::from("this machine lacks what tcpstate needs; install:");
    for program in programs {
        text.push_str(&format!(
            "\n  {} (Debian's package: {})",
            program.name, program.package
        ));
    }
    if compiler {
        text.push_str(&format!(
            "\n  a Rust compiler for {TARGET}: rustup toolchain install nightly --component rust-src"
        ));
    }
    if linker {
        text.push_str(
            "\n  bpf-linker, linked with an LLVM not older than that compiler's: \
             cargo install bpf-linker (needs LLVM's development files), \
             or a binary of its releases on PATH",
        );
    }
    text
}
