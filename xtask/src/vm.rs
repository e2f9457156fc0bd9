//! `cargo xtask vm`: the live tests under other kernels, in virtual machines.
//!
//! The machine boots from memory: busybox, the programs that the tests start,
//! tcpstate and the test binary, both linked statically. It has no disk and no
//! network; its console is all that comes out.

mod console;
mod guest;
mod initramfs;
mod newc;
mod qemu;

use std::fs;

use anyhow::{Context as _, Result};

pub(crate) use self::guest::{Payload, build};
use crate::{
    exec::say,
    kernels::{self, KERNELS, Kernel},
    machine::workspace,
    matrix::{self, Column, Matrix},
    setup,
};

pub(crate) fn command(versions: &[String], arguments: &[String]) -> Result<()> {
    setup::for_tests()?;
    if let Some(reason) = no_live_target()? {
        say(format_args!(
            "no tests but the machine's own check: {reason}"
        ));
    }
    let payload = build()?;
    let mut matrix = Matrix::default();
    let boots = [arguments.to_vec()];
    // All have their turn before one fails the command.
    for kernel in chosen(versions)? {
        matrix.push(test(kernel, &payload, &boots));
    }
    matrix::publish(&matrix)
}

/// The live tests on one kernel: those that each list of arguments chooses, in a
/// boot of its own. All have their turn before one fails.
pub(crate) fn test(kernel: &Kernel, payload: &Payload, boots: &[Vec<String>]) -> Column {
    Column::run(kernel.version, |column| {
        let mut all = Ok(());
        for (number, arguments) in boots.iter().enumerate() {
            all = all.and(test_on(kernel, payload, (number, arguments), column));
        }
        all
    })
}

/// Why there are no live tests to run, if that is so: the target is named in
/// tcpstate-user's manifest or it does not exist.
pub(crate) fn no_live_target() -> Result<Option<String>> {
    let manifest = workspace().join("tcpstate-user/Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    Ok((!text.contains("name = \"live\""))
        .then(|| "tcpstate-user/Cargo.toml names no test target live".to_owned()))
}

fn chosen(versions: &[String]) -> Result<Vec<&'static Kernel>> {
    if versions.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    versions
        .iter()
        .map(|version| {
            let known = || {
                KERNELS
                    .iter()
                    .map(|kernel| kernel.version)
                    .collect::<Vec<_>>()
            };
            KERNELS
                .iter()
                .find(|kernel| kernel.version == *version)
                .with_context(|| {
                    format!(
                        "no kernel {version} in the table, only {}",
                        known().join(", ")
                    )
                })
        })
        .collect()
}

fn test_on(
    kernel: &Kernel,
    payload: &Payload,
    (number, arguments): (usize, &[String]),
    column: &mut Column,
) -> Result<()> {
    let image = kernels::image(kernel)?;
    let directory = workspace().join("target/vm");
    fs::create_dir_all(&directory)?;
    let name = match number {
        0 => kernel.version.to_owned(),
        _ => format!("{}-{}", kernel.version, number + 1),
    };
    let machine = qemu::Machine {
        version: kernel.version,
        vmlinuz: image.vmlinuz.clone(),
        initrd: directory.join(format!("{name}.cpio")),
        log: directory.join(format!("{name}.log")),
    };
    initramfs::write(&machine.initrd, &image.modules, payload, arguments)?;
    machine.run(column)
}
