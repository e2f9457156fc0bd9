//! Names that somebody chose to hurt a terminal or a parser, and processes that
//! are hard to read.

mod files;
mod processes;

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;

use super::{Leaks, visit};
use crate::{
    clock::wait_for,
    facts,
    ns::Netns,
    tool::{Done, Tool, tcpstate},
    zoo::{Leaking, program},
};

/// Clears the screen, ends the line, closes the string, is not UTF-8.
const NAME: &[u8] = b"le\x1b[2J\n\"\\\xff\x9b1m";

/// Sets the title, begins a line; the last is the one-byte form of `ESC [` as
/// UTF-8 has it.
const ARGUMENT: &[u8] = b"\x1b]0;owned\x07\r\n{\"type\":\"leak\"}\x7f\xc2\x9b2J";

/// A copy of the program under that name, with the like as its arguments.
fn leaking(directory: &Path) -> Leaking {
    let path = directory.join(OsStr::from_bytes(NAME));
    fs::copy(program(), &path).unwrap();
    let mut command = Command::new(&path);
    command.arg0(OsStr::from_bytes(ARGUMENT));
    command.arg("never-closed").arg("0");
    command.arg(OsStr::from_bytes(NAME));
    Leaking::told(&mut command, "gcc")
}

/// A control group with a like name, which the kernel does not let have a line
/// end; removed with the value, when nobody is in it any more.
struct Group(PathBuf);

impl Group {
    /// Makes one for a process, in the hierarchy that names units; none where
    /// there is no such hierarchy.
    fn of(pid: u64) -> Option<Self> {
        let roots = [
            "/sys/fs/cgroup/systemd",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup",
        ];
        let root = roots.into_iter().map(Path::new);
        let root = root
            .into_iter()
            .find(|root| root.join("cgroup.procs").exists())?;
        let name = [b"le\x1b[2J\"\\\xff\x9b1m", pid.to_string().as_bytes()].concat();
        let group = Self(root.join(OsStr::from_bytes(&name)));
        fs::create_dir(&group.0).unwrap();
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).unwrap();
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Ends a table that has told of the leak.
fn finish(mut table: Tool) -> Done {
    wait_for("the table", || {
        assert!(!table.has_ended(), "{}", table.stderr.text());
        table.stdout.text().contains("never_closed").then_some(())
    });
    table.signal(Signal::INT);
    let done = table.done();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done
}

/// Nothing that a terminal would take for more than text, line ends left out.
fn assert_clean(text: &str) {
    let bad = |it: char| it != '\n' && it.is_control();
    assert_eq!(text.chars().find(|it| bad(*it)), None, "{text:?}");
}

#[test]
fn names_and_arguments_cannot_write_lines_or_sequences_of_their_own() {
    let inside = Netns::new();
    let directory = tempfile::tempdir().unwrap();
    let folded = directory.path().join("folded");
    let graph = directory.path().join("graph.svg");
    let netns = inside.inode.to_string();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let mut table = tcpstate(&["leaks", "--netns", &netns, "-i", "200ms"]);
    table.args(["--min-age", "100ms", "--folded"]).arg(&folded);
    table.arg("--flamegraph").arg(&graph);
    let table = Tool::start(&mut table);
    let (server, controlled) = inside.enter(|| {
        let server = leaking(directory.path());
        let group = Group::of(server.pid());
        visit(&server, 3, b"");
        (server, group)
    });
    let group = leaks.until("never_closed", 3);
    assert_eq!(group["pid"], server.pid());
    assert_eq!(group["comm"], *String::from_utf8_lossy(NAME));
    let named = controlled.is_some();
    facts::tell(
        "hostile",
        "control group",
        if named { "named" } else { "none" },
    );
    if named {
        let cgroup = group["cgroup"].as_str().unwrap_or_default();
        assert!(cgroup.contains("le\u{1b}[2J"), "{group:#}");
    }
    let (_, json) = leaks.stop();
    assert_clean(&json.stdout);
    let table = finish(table);
    assert_clean(&table.stdout);
    assert!(!table.stdout.lines().any(|line| line.starts_with('{')));
    let folded = fs::read_to_string(&folded).unwrap();
    assert_clean(&folded);
    assert!(!folded.is_empty());
    // One stack a line, each with its weight.
    for line in folded.lines() {
        let (_, weight) = line.rsplit_once(' ').unwrap();
        assert!(weight.parse::<u64>().is_ok(), "{folded:?}");
    }
    let graph = fs::read_to_string(&graph).unwrap();
    assert_clean(&graph);
    assert!(graph.trim_end().ends_with("</svg>"), "{graph}");
    assert!(!graph.contains("le\u{1b}"), "{graph}");
    drop(server);
    drop(controlled);
}
