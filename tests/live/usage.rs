//! What is refused before anything is attached: wrong usage, no privilege.

use std::{fs, os::unix::fs::PermissionsExt, os::unix::process::CommandExt, process::Command};

use crate::tool::{Done, binary, run, tcpstate};

/// A user who may nothing.
const NOBODY: u32 = 65_534;

/// A copy of the binary where everybody may run it; goes with the value.
struct Public(tempfile::TempDir);

impl Public {
    fn copy() -> Self {
        let open = fs::Permissions::from_mode(0o755);
        let directory = tempfile::Builder::new()
            .permissions(open.clone())
            .tempdir()
            .unwrap();
        let copy = directory.path().join("tcpstate");
        // Not by this process: a test beside this one might fork while the copy
        // is open for writing, and nobody could execute it.
        let copied = Command::new("cp").arg(binary()).arg(&copy).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(copy, open).unwrap();
        Self(directory)
    }

    /// Runs it as nobody.
    fn run(&self, arguments: &[&str]) -> Done {
        let mut command = Command::new(self.0.path().join("tcpstate"));
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        run(command.current_dir("/"))
    }
}

/// One line on standard error, nothing on standard output.
fn assert_refused(done: &Done, code: i32, about: &str) {
    assert_eq!(done.code, Some(code), "{about}: {done:?}");
    assert_eq!(done.stdout, "", "{about}");
    let lines: Vec<_> = done.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{about}: {}", done.stderr);
    assert!(!lines[0].trim().is_empty(), "{about}");
}

#[test]
fn without_privilege_there_is_one_line_and_status_3() {
    let public = Public::copy();
    let commands: [&[&str]; 7] = [
        &["trace", "-o", "json"],
        &["trace", "--connections"],
        &["leaks"],
        &["dwell"],
        &["explain", "192.0.2.1:80"],
        &["health"],
        &["ports"],
    ];
    for command in commands {
        let done = public.run(command);
        assert_refused(&done, 3, command[0]);
        let advice = done.stderr.to_lowercase();
        assert!(
            advice.contains("cap_") || advice.contains("sudo"),
            "{command:?}: {advice}"
        );
    }
}

#[test]
fn wrong_usage_is_one_line_and_status_2_even_where_nothing_could_be_attached() {
    let public = Public::copy();
    let wrong: [&[&str]; 14] = [
        &["trace", "--no-such-flag"],
        &["trace", "-o", "xml"],
        &["trace", "-L", "65536"],
        &["trace", "-L", "0"],
        &["trace", "-D", "http"],
        &["trace", "--state", "NO_SUCH_STATE"],
        &["trace", "--raddr", "10.0.0.0/33"],
        &["trace", "--min-dwell", "-1s"],
        &["trace", "--for", "soon"],
        &["trace", "--ring-size", "3000"],
        &["trace", "-4", "-6"],
        &["trace", "-4", "--raddr", "2001:db8::/32"],
        &["trace", "-p", "0"],
        &["no-such-command"],
    ];
    for arguments in wrong {
        // As nobody: a tool that had tried to attach would say 3.
        assert_refused(&public.run(arguments), 2, &format!("{arguments:?}"));
    }
}

#[test]
fn an_unwritable_recording_is_refused_before_anything_is_attached() {
    let done = run(&mut tcpstate(&["record", "-o", "/proc/no/such/file"]));
    assert_refused(&done, 2, "record");
    assert!(
        done.stderr.contains("/proc/no/such/file"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_network_namespace_that_does_not_exist_is_an_impossible_filter() {
    let done = run(&mut tcpstate(&["trace", "--netns", "no-such-namespace"]));
    assert_refused(&done, 2, "--netns");
}

#[test]
fn help_and_version_need_no_privilege() {
    let public = Public::copy();
    for arguments in [&["--help"][..], &["--version"], &["trace", "--help"]] {
        let done = public.run(arguments);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""));
        assert!(done.stdout.contains("tcpstate"), "{}", done.stdout);
    }
}

#[test]
fn doctor_names_a_hook_for_the_signal_without_which_nothing_works() {
    let done = run(&mut tcpstate(&["doctor"]));
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(
        done.stdout.contains("inet_sock_set_state"),
        "{}",
        done.stdout
    );
}
