//! The guest's whole file system.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    exec::output,
    live::WAITING,
    machine::{program, workspace},
    packages::TEST,
    vm::{guest::Payload, newc::Archive},
};

const DIRECTORIES: &[&str] = &[
    "/dev",
    "/proc",
    "/sys",
    "/run",
    "/tmp",
    "/root",
    "/busybox",
    "/var/log/nginx",
    "/var/lib/nginx",
];

/// Names that programs look up; glibc reads these files by itself.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\n\
         www-data:x:33:33:www-data:/var/www:/bin/false\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    (
        "/etc/group",
        "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
    ),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// Files of the host that a program wants at the same place, if it has them.
const FROM_HOST: &[&str] = &["/etc/nginx/mime.types"];

/// Files of the project, which make the guest what it is.
const SCRIPTS: &[(&str, &str)] = &[
    ("/init", "tests/vm/init"),
    ("/vm/selfcheck", "tests/vm/selfcheck"),
];

pub(crate) fn write(
    to: &Path,
    modules: &[PathBuf],
    payload: &Payload,
    arguments: &[String],
) -> Result<()> {
    let file = File::create(to).with_context(|| to.display().to_string())?;
    let mut archive = Archive::new(BufWriter::new(file));
    for directory in DIRECTORIES {
        archive.directory(Path::new(directory))?;
    }
    for (path, content) in FILES {
        archive.file(Path::new(path), content.as_bytes())?;
    }
    for (path, source) in SCRIPTS {
        copy(&mut archive, Path::new(path), &workspace().join(source))?;
    }
    for path in FROM_HOST.iter().map(Path::new).filter(|path| path.exists()) {
        copy(&mut archive, path, path)?;
    }
    programs(&mut archive)?;
    for module in modules {
        let name = module.file_name().context("a module without a name")?;
        copy(&mut archive, &Path::new("/vm/modules").join(name), module)?;
    }
    ours(&mut archive, payload)?;
    for (path, words) in [
        ("/vm/arguments", arguments.join("\n")),
        ("/vm/waiting", WAITING.join("\n")),
    ] {
        archive.file(Path::new(path), (words + "\n").as_bytes())?;
    }
    archive.finish()?;
    Ok(())
}

fn ours(archive: &mut Archive<impl Write>, payload: &Payload) -> Result<()> {
    copy(archive, Path::new("/bin/tcpstate"), &payload.tcpstate)?;
    if let Some(witness) = &payload.witness {
        copy(archive, Path::new("/lib/witness"), witness)?;
    }
    if let Some(live) = &payload.live {
        copy(archive, Path::new("/vm/live"), live)?;
    }
    if let Some(zoo) = &payload.zoo {
        copy(archive, Path::new("/vm/leak"), zoo)?;
    }
    Ok(())
}

fn programs(archive: &mut Archive<impl Write>) -> Result<()> {
    let busybox = program("busybox").context("busybox is missing")?;
    copy(archive, Path::new("/bin/busybox"), &busybox)?;
    for wanted in TEST.iter().filter(|program| program.in_vm) {
        let path = program(wanted.name).with_context(|| format!("{} is missing", wanted.name))?;
        copy(archive, &Path::new("/bin").join(wanted.name), &path)?;
        for library in libraries(&path)? {
            if !archive.has(&library) {
                copy(archive, &library, &library)?;
            }
        }
    }
    Ok(())
}

/// The loader and every library that a program is linked with.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = output(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    Ok(parse(&list))
}

/// `name => /path (0x…)`, or `/path (0x…)` for the loader; the line of the
/// kernel's own library has no path.
fn parse(list: &str) -> Vec<PathBuf> {
    list.lines()
        .flat_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

fn copy(archive: &mut Archive<impl Write>, path: &Path, from: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| from.display().to_string())?;
    archive.file(path, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_of_all_libraries_and_of_the_loader_are_read_from_ldd() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f01)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        assert_eq!(
            parse(list),
            [
                PathBuf::from("/lib/x86_64-linux-gnu/libz.so.1"),
                PathBuf::from("/lib64/ld-linux-x86-64.so.2")
            ]
        );
    }
}
