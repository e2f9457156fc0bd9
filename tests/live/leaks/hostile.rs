//! Names that somebody chose to hurt a terminal or a parser.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink, process::CommandExt as _},
    path::Path,
    process::Command,
};

use rustix::process::Signal;

use super::{Leaks, visit};
use crate::{
    clock::wait_for,
    ns::Netns,
    tool::{Done, Tool, tcpstate},
    zoo::{Leaking, program},
};

/// Clears the screen, ends the line, closes the string, is not UTF-8.
const NAME: &[u8] = b"le\x1b[2J\n\"\\\xff\x9b1m";

/// Sets the title, begins a line; the last is the one-byte form of `ESC [` as
/// UTF-8 has it.
const ARGUMENT: &[u8] = b"\x1b]0;owned\x07\r\n{\"type\":\"leak\"}\x7f\xc2\x9b2J";

/// The program under that name, with the like as its arguments.
fn leaking(directory: &Path) -> Leaking {
    let path = directory.join(OsStr::from_bytes(NAME));
    symlink(fs::canonicalize(program()).unwrap(), &path).unwrap();
    let mut command = Command::new(&path);
    command.arg0(OsStr::from_bytes(ARGUMENT));
    command.arg("never-closed").arg("0");
    command.arg(OsStr::from_bytes(NAME));
    Leaking::told(&mut command, "gcc")
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
    let netns = inside.inode.to_string();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let mut table = tcpstate(&["leaks", "--netns", &netns, "-i", "200ms"]);
    table.args(["--min-age", "100ms", "--folded"]).arg(&folded);
    let table = Tool::start(&mut table);
    let server = inside.enter(|| {
        let server = leaking(directory.path());
        visit(&server, 3, b"");
        server
    });
    let group = leaks.until("never_closed", 3);
    assert_eq!(group["pid"], server.pid());
    assert_eq!(group["comm"], *String::from_utf8_lossy(NAME));
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
}
