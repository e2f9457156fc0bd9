//! The tools that are measured: how each is started, and where its output goes.
//!
//! It does not know what is measured of them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{account::Account, process::output};

/// One way to run one tool.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    /// Where what it delivered and lost is said.
    pub(crate) account: Account,
}

/// What a tool is, whether it is here, or why not.
pub(crate) struct Tools {
    arms: Vec<Arm>,
    missing: Vec<(&'static str, String)>,
}

/// How the tool is run, by a short name.
const OURS: &[(&str, &[&str], Account)] = &[
    ("trace", &["trace"], Account::Session),
    ("dwell", &["dwell", "-o", "json"], Account::EndLine),
    ("leaks", &["leaks", "-o", "json"], Account::EndLine),
    ("ports", &["ports", "-o", "json"], Account::EndLine),
    ("nothing", &["trace", "-L", "1"], Account::Session),
    ("record", &["record", "-o", RECORDING], Account::Session),
];

/// Stands for the file that a tool writes itself.
const RECORDING: &str = "{}";

/// What prints a line for each transition, with about what the others print.
const BPFTRACE: &str = r#"tracepoint:sock:inet_sock_set_state {
    printf("T %lx %d %s %s %d %s %d %d>%d\n", args->skaddr, pid, comm,
        ntop(args->family, args->saddr), args->sport,
        ntop(args->family, args->daddr), args->dport, args->oldstate, args->newstate);
}"#;

const PEERS: &[(&str, &str, &[&str], Account)] = &[
    ("tcpstates", "tcpstates", &[], Account::Lines("ffff")),
    (
        "bpftrace",
        "bpftrace",
        &["-e", BPFTRACE],
        Account::Lines("T "),
    ),
    (
        "perf record",
        "perf",
        &[
            "record",
            "--quiet",
            "--all-cpus",
            "--event=sock:inet_sock_set_state",
            "--output",
            RECORDING,
        ],
        Account::Perf,
    ),
    (
        "bcc tcpstates",
        "tcpstates-bpfcc",
        &[],
        Account::Lines("ffff"),
    ),
];

impl Tools {
    /// Looks for the tool's views and its peers.
    pub(crate) fn find(tcpstate: &Path) -> Self {
        let mut tools = Self {
            arms: Vec::new(),
            missing: Vec::new(),
        };
        for (name, arguments, account) in OURS {
            let mut help = Command::new(tcpstate);
            match output(help.arg(arguments[0]).arg("--help").stderr(Stdio::null())) {
                Ok(_) => tools.add(name, tcpstate.to_owned(), arguments, *account),
                Err(_) => {
                    let why = format!("this tcpstate has no `{}`", arguments[0]);
                    tools.missing.push((name, why));
                }
            }
        }
        for (name, program, arguments, account) in PEERS {
            match (installed(program), obstacle(name)) {
                (_, Some(why)) => tools.missing.push((name, why)),
                (None, None) => tools.missing.push((name, format!("no {program} here"))),
                (Some(path), None) => tools.add(name, path, arguments, *account),
            }
        }
        tools
    }

    fn add(&mut self, name: &'static str, program: PathBuf, arguments: &[&str], account: Account) {
        self.arms.push(Arm {
            name,
            program,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            account,
        });
    }

    /// Those of these names that are here, in this order.
    pub(crate) fn these(&self, names: &[&str]) -> Vec<&Arm> {
        let arm = |name: &&str| self.arms.iter().find(|arm| arm.name == *name);
        names.iter().filter_map(arm).collect()
    }

    /// Why one is not here.
    pub(crate) fn missing(&self) -> &[(&'static str, String)] {
        &self.missing
    }
}

impl Arm {
    /// The command, its output going to these files.
    pub(crate) fn command(&self, files: &Files) -> Result<Command> {
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        let mut command = Command::new(&self.program);
        for argument in &self.arguments {
            if argument == RECORDING {
                command.arg(&files.recording);
            } else {
                command.arg(argument);
            }
        }
        command
            .stdin(Stdio::null())
            .stdout(create(&files.output)?)
            .stderr(create(&files.errors)?);
        Ok(command)
    }
}

/// Where a tool's output goes.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) output: PathBuf,
    pub(crate) errors: PathBuf,
    pub(crate) recording: PathBuf,
}

impl Files {
    pub(crate) fn within(directory: &Path) -> Self {
        Self {
            output: directory.join("output"),
            errors: directory.join("errors"),
            recording: directory.join("recording"),
        }
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// What keeps a peer from running on this kernel.
fn obstacle(name: &str) -> Option<String> {
    let release = rustix::system::uname();
    let headers = format!("/lib/modules/{}/build", release.release().to_string_lossy());
    let has_headers =
        Path::new(&headers).exists() || Path::new("/sys/kernel/kheaders.tar.xz").exists();
    (name.starts_with("bcc") && !has_headers)
        .then(|| "it compiles with the kernel's headers, which are not here".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_here_is_named_with_the_reason() {
        let tools = Tools::find(Path::new("/bin/false"));
        let (_, why) = tools.missing().iter().find(|it| it.0 == "trace").unwrap();
        assert_eq!(why, "this tcpstate has no `trace`");
        assert!(tools.these(&["trace"]).is_empty());
    }
}
