//! Leaks of programs whose files are not where the host has them: below a root
//! of their own, and on a file system that only they have mounted.

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io::{self, Error},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    ptr::null,
};

use rustix::{
    fs::{Mode, OFlags},
    process::{chdir, chroot},
    thread::{UnshareFlags, unshare_unsafe},
};

use serde_json::Value;

use super::{ACCEPTED, Leaks, assert_stack, visit};
use crate::{
    ns::Netns,
    process::own_files,
    zoo::{self, Leaking},
};

/// So much is copied at once.
const SIZE: usize = 1 << 20;
/// The program's path, for itself.
const PROGRAM: &str = "/tcpstate-zoo-leak";

/// The zoo's program, linked statically: there are no libraries where it goes.
fn lone_program(directory: &Path) -> PathBuf {
    // The emulated machine has been given such a one.
    if let Some(given) = std::env::var_os("TCPSTATE_ZOO") {
        return given.into();
    }
    let made = directory.join("lone");
    zoo::compile(&made, &["-static"]);
    made
}

/// What the program leaks once `enter`, which may only make system calls, has
/// brought it into its room.
fn leaks_in(enter: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let mut command = Command::new(PROGRAM);
    command.arg("never-closed");
    // SAFETY: nothing is done between fork and exec but system calls.
    unsafe { command.pre_exec(enter) };
    let server = inside.enter(|| {
        let server = Leaking::told(&mut command, "libc6-dev");
        visit(&server, 3, b"request");
        server
    });
    assert!(!Path::new(PROGRAM).exists(), "the host has it too");
    let group = leaks.until("never_closed", 3);
    assert_eq!(group["pid"], server.pid(), "{group:#}");
    let hooks = leaks.hooks();
    let origin = &group["origin"]["stack"];
    assert_stack(origin, &hooks["accept_stack"], &ACCEPTED);
    let read = ["read_request", "main"];
    assert_stack(&group["eof_stack"], &hooks["end_of_file_stack"], &read);
    if let Some(stack) = origin.as_array() {
        // As the host can reach it, where it can.
        let is_own = |it: &Value| {
            it["module"]
                .as_str()
                .is_some_and(|it| it.ends_with(PROGRAM))
        };
        assert!(stack.iter().any(is_own), "{group:#}");
    }
    leaks.stop();
}

fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

/// Makes a directory the root of the calling process.
fn shut_in(directory: &CStr) -> io::Result<()> {
    chroot(directory)?;
    Ok(chdir(c"/")?)
}

#[test]
fn a_program_below_another_root_is_named() {
    own_files();
    let room = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let inside = room.path().join(PROGRAM.trim_start_matches('/'));
    fs::copy(lone_program(elsewhere.path()), inside).unwrap();
    let root = path(room.path());
    leaks_in(move || shut_in(&root));
}

#[test]
fn a_program_on_a_file_system_that_only_it_has_mounted_is_named() {
    own_files();
    let room = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let program = File::open(lone_program(elsewhere.path())).unwrap();
    let length = program.metadata().unwrap().len();
    let inside = path(&room.path().join(PROGRAM.trim_start_matches('/')));
    let root = path(room.path());
    leaks_in(move || {
        // SAFETY: the child has one thread, and shares nothing else.
        unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
        mount(c"none", c"/", c"none", libc::MS_REC | libc::MS_PRIVATE)?;
        mount(c"none", &root, c"tmpfs", 0)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let copy = rustix::fs::open(inside.as_c_str(), flags, Mode::RWXU)?;
        let mut at = 0;
        while at < length && rustix::fs::sendfile(&copy, &program, Some(&mut at), SIZE)? > 0 {}
        drop(copy);
        shut_in(&root)
    });
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: all three are strings that end, and there is no data.
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            null(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}
