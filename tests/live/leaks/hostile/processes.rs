//! Processes that are hard to read: gone, forbidden, or endless.
//!
//! The emulated machine has neither `python3` nor `setpriv`; what is tested
//! with them runs in user space.

use std::{fs, os::unix::process::CommandExt as _, process::Command, time::Instant};

use super::super::{Leaks, functions, lines, visit};
use crate::{
    clock::{in_vm, wait_for},
    facts,
    ns::Netns,
    tool::{Tool, binary},
    zoo::{Leaking, program},
};

/// A server with as many mappings as its argument says, every other one code.
const PYTHON: &str = "
import ctypes, mmap, socket, sys
count, page = int(sys.argv[1]), mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
begin = libc.mmap(None, count * page, 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
for index in range(0, count, 2):
    if libc.mprotect(begin + index * page, page, 5) != 0:
        sys.exit(ctypes.get_errno())
kept = []
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    kept.append(connection)
    while connection.recv(512):
        pass
";

#[test]
fn sixty_thousand_mappings_are_read() {
    const MAPPINGS: usize = 60_000;
    if in_vm() {
        return;
    }
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let hooks = leaks.hooks();
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, &MAPPINGS.to_string()]);
    let server = inside.enter(|| Leaking::told(&mut python, "python3"));
    let began = Instant::now();
    let maps = fs::read(format!("/proc/{}/maps", server.pid())).unwrap();
    let reading = began.elapsed();
    let count = maps.iter().filter(|byte| **byte == b'\n').count();
    assert!(count > MAPPINGS, "{count}");
    let began = Instant::now();
    inside.enter(|| visit(&server, 3, b""));
    let group = leaks.until("never_closed", 3);
    let took = began.elapsed();
    let told = format!("{count} lines: {took:?} to the report, {reading:?} to read");
    println!("{told}");
    facts::tell("hostile", "mappings", told);
    assert_eq!(group["pid"], server.pid());
    if !hooks["accept_stack"].is_null() {
        let names = functions(&group["origin"]["stack"]);
        assert!(
            names.iter().any(|name| name.contains("accept")),
            "{group:#}"
        );
    }
    leaks.stop();
}

#[test]
fn processes_that_end_while_they_are_looked_at_leave_nothing_behind() {
    let rounds = if in_vm() { 5 } else { 40 };
    let inside = Netns::new();
    let more = ["--min-age", "1ms"];
    let mut leaks = Leaks::start(&inside, &more);
    for round in 0..rounds {
        inside.enter(|| {
            let server = Leaking::server("never-closed");
            visit(&server, 2, b"");
            // Now and then the report has begun.
            std::thread::sleep(std::time::Duration::from_millis(13 * (round % 10)));
        });
    }
    leaks.until_summary("a report without suspects", |it| it["suspects"] == 0);
    let (last, done) = leaks.stop();
    assert!(last.is_empty(), "{last:#?}");
    let end = lines(&done.stdout, "end").pop().unwrap();
    assert_eq!(end["complete"], true, "{end}");
}

#[test]
fn a_process_whose_descriptors_may_not_be_looked_at_is_counted() {
    /// Anybody's but root's.
    const NOBODY: u32 = 65_534;
    if in_vm() {
        return;
    }
    let inside = Netns::new();
    let netns = inside.inode.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--inh-caps", "-sys_ptrace", "--bounding-set", "-sys_ptrace"]);
    command.arg(binary());
    command.args(["leaks", "-o", "json", "--netns", &netns, "-i", "200ms"]);
    command.args(["--min-age", "100ms"]);
    let mut tool = Tool::start(&mut command);
    wait_for("the start line", || {
        assert!(!tool.has_ended(), "{}", tool.stderr.text());
        tool.stdout.text().contains("\"start\"").then_some(())
    });
    let mut leaks = Leaks(tool);
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let copy = directory.path().join("leak");
    fs::copy(program(), &copy).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), everybody).unwrap();
    let server = inside.enter(|| {
        let mut command = Command::new(&copy);
        command.arg("never-closed").uid(NOBODY).gid(NOBODY);
        let server = Leaking::told(&mut command, "gcc");
        visit(&server, 3, b"");
        server
    });
    leaks.until_summary("a process that is denied", |it| {
        it["denied"].as_u64() > Some(0)
    });
    // What it holds is not known; who opened it is.
    leaks.until_summary("its sockets", |it| it["suspects"].as_u64() > Some(0));
    let (last, _) = leaks.stop();
    assert!(last.iter().any(|it| it["pid"] == server.pid()), "{last:#?}");
}
