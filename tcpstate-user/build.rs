//! The kernel side, compiled and laid where the user side includes it.
//!
//! `$OUT_DIR/tcpstate` is the object that the binary carries; the object of
//! every other program of tcpstate-ebpf lies beside it.

#[path = "../xtask/src/route.rs"]
mod route;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use route::{Route, TARGET};

/// What to do when the route to the BPF target is not there; a promise.
const REMEDY: &str = "run cargo xtask setup";

/// An independent counter, loaded by tests only.
const WITNESS: &str = "witness";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tell("error", &reason);
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    // Not env!: clones that share a target directory share this very program.
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..");
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let route = Route::find()
        .map_err(|missing| format!("the kernel side cannot be built, {missing}: {REMEDY}"))?;
    watch(&workspace, &route);

    let target_dir = out_dir.join("ebpf");
    let mut cargo = route.cargo("build", &arch, &workspace);
    cargo.arg("--target-dir").arg(&target_dir);
    let status = cargo
        .status()
        .map_err(|error| format!("cannot start {cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the kernel side was not built with {route}, its messages are below: {cargo:?}: {status}"
        ));
    }
    deliver(&target_dir.join(TARGET).join("release"), &out_dir)
        .map_err(|error| format!("cannot copy the kernel side: {error}"))
}

/// Copies each object, known by the dependency file that cargo writes beside it.
fn deliver(built: &Path, out_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(built)? {
        let list = entry?.path();
        if list.extension().is_none_or(|extension| extension != "d") {
            continue;
        }
        let object = list.with_extension("");
        let Some(name) = object.file_name() else {
            continue;
        };
        let copy = out_dir.join(name);
        fs::copy(&object, &copy)?;
        if name == WITNESS {
            tell("rustc-env", &format!("TCPSTATE_WITNESS={}", copy.display()));
        }
    }
    Ok(())
}

/// Everything the object depends on; the compiler and the linker by their
/// files, so that an upgrade rebuilds and another PATH does not.
fn watch(workspace: &Path, route: &Route) {
    const SOURCES: &[&str] = &[
        "tcpstate-ebpf/src",
        "tcpstate-ebpf/Cargo.toml",
        "tcpstate-common/src",
        "tcpstate-common/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ];
    for source in SOURCES {
        tell(
            "rerun-if-changed",
            &workspace.join(source).display().to_string(),
        );
    }
    tell("rerun-if-changed", &route.linker.display().to_string());
    if let route::Compiler::Prebuilt(rustc) = &route.compiler {
        tell("rerun-if-changed", &rustc.display().to_string());
    }
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

fn tell(key: &str, value: &str) {
    println!("cargo::{key}={value}");
}
