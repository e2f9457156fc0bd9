//! The compiler and linker for the BPF target, chosen by what is installed.
//!
//! Used by xtask and, through `#[path]`, by tcpstate-user's build script:
//! whatever both need to know about the nested build is here and has no
//! dependencies.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Little-endian machines only; the records on the wire are little-endian too.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Distributions keep their compiler here, whatever rustup puts first on PATH.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// This rustc comes with `core` compiled for the target (Debian's rustc-web
    /// with libstd-rust-web-dev-bpf).
    Prebuilt(PathBuf),
    /// rustup's nightly compiles `core` from the rust-src component.
    BuildStd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

impl Route {
    /// The route of this machine, or what it lacks.
    pub(crate) fn find() -> Result<Self, String> {
        match (compiler(), linker()) {
            (Some(compiler), Some(linker)) => Ok(Self { compiler, linker }),
            (None, _) => Err(format!("no Rust compiler for {TARGET}")),
            (_, None) => Err("no bpf-linker".to_owned()),
        }
    }

    /// `cargo SUBCOMMAND` on every program of tcpstate-ebpf, optimized, for a
    /// kernel of architecture `arch` (`CARGO_CFG_TARGET_ARCH`'s names).
    pub(crate) fn cargo(&self, subcommand: &str, arch: &str, workspace: &Path) -> Command {
        let mut command = self.program(subcommand);
        command.current_dir(workspace).arg(subcommand).args([
            "--release",
            "--package=tcpstate-ebpf",
            "--bins",
            "--target",
            TARGET,
        ]);
        if self.compiler == Compiler::BuildStd {
            command.args(["-Z", "build-std=core"]);
        }
        if workspace.join("Cargo.lock").exists() {
            command.arg("--locked");
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(arch));
        command
    }

    fn program(&self, subcommand: &str) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        match &self.compiler {
            Compiler::Prebuilt(rustc) => {
                let mut command = match subcommand {
                    // `cargo clippy` would take the driver of cargo's own
                    // toolchain, which cannot read this rustc's `core`.
                    "clippy" => Command::new(rustc.with_file_name("cargo-clippy")),
                    _ => Command::new(&cargo),
                };
                clean(&mut command);
                // The prebuilt `core` makes -Z build-std needless, but the
                // programs' own #![feature]s still want the nightly switch.
                command
                    .env("CARGO", cargo)
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Compiler::BuildStd => {
                // CARGO is an absolute path past rustup's proxy: it would
                // run the outer toolchain's cargo again.
                let mut command = Command::new("rustup");
                clean(&mut command);
                command
                    .env_remove("CARGO")
                    .args(["run", "nightly", "cargo"]);
                command
            }
        }
    }

    fn rustflags(&self, arch: &str) -> String {
        [
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            &format!("-Clinker={}", self.linker.display()),
            &format!("--cfg=bpf_target_arch=\"{arch}\""),
        ]
        .join("\x1f")
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.compiler {
            Compiler::Prebuilt(rustc) => {
                write!(f, "{} with its prebuilt core", rustc.display())?;
            }
            Compiler::BuildStd => write!(f, "rustup's nightly with -Z build-std=core")?,
        }
        write!(f, ", {}", self.linker.display())
    }
}

/// The compiler half of the route.
pub(crate) fn compiler() -> Option<Compiler> {
    prebuilt(Path::new(SYSTEM_RUSTC)).or_else(nightly)
}

/// `bpf-linker`, on PATH or where `cargo install` puts it.
pub(crate) fn linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|directory| directory.join("bpf-linker"))
        .find(|file| file.is_file())
}

fn prebuilt(rustc: &Path) -> Option<Compiler> {
    let libraries =
        answer(Command::new(rustc).args(["--print=target-libdir", "--target", TARGET]))?;
    let core = std::fs::read_dir(libraries)
        .ok()?
        .filter_map(Result::ok)
        .any(|file| file.file_name().to_string_lossy().starts_with("libcore-"));
    core.then(|| Compiler::Prebuilt(rustc.to_owned()))
}

fn nightly() -> Option<Compiler> {
    let sysroot =
        answer(Command::new("rustup").args(["run", "nightly", "rustc", "--print=sysroot"]))?;
    Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
        .then_some(Compiler::BuildStd)
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// Takes away what the outer build says about the outer target: its flags, its
/// compiler wrappers (sccache, clippy-driver, rust-analyzer's), its profiles.
/// What says how to reach registries stays, and so does the jobserver.
fn clean(command: &mut Command) {
    const NAMES: &[&str] = &[
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTFLAGS",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "SYSROOT",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_UNSTABLE_",
        "CLIPPY_",
    ];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
}
