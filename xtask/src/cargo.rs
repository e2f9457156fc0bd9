//! Cargo: how it is called, and what it says it has built.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    exec::{output, say},
    machine::workspace,
};

/// `cargo SUBCOMMAND` in the workspace, by the cargo that runs us.
pub(crate) fn command(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).arg(subcommand);
    command
}

/// What a build has put where.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Built {
    executables: Vec<PathBuf>,
    /// tcpstate-user's `OUT_DIR`.
    pub(crate) out_dir: Option<PathBuf>,
}

impl Built {
    /// The executable of a target; cargo adds a hash to the names of tests.
    pub(crate) fn executable(&self, target: &str) -> Result<&Path> {
        self.executables
            .iter()
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name == target
                    || name
                        .strip_prefix(target)
                        .is_some_and(|rest| rest.starts_with('-'))
            })
            .map(PathBuf::as_path)
            .with_context(|| format!("cargo built no {target}"))
    }
}

/// Runs a build to its end, its progress on this terminal.
pub(crate) fn build(command: &mut Command) -> Result<Built> {
    command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null());
    Ok(read(&output(command)?))
}

/// Cargo writes one JSON object per line, without spaces. Two string fields of
/// two kinds of lines do not pay for a JSON parser here, in the one crate that
/// a fresh machine compiles before it shows any progress.
fn read(messages: &str) -> Built {
    let mut built = Built::default();
    for line in messages.lines() {
        if let Some(path) = field(line, "executable") {
            built.executables.push(path.into());
        }
        let ours = field(line, "package_id").is_some_and(|id| id.contains("tcpstate-user"));
        if let (true, Some(path)) = (ours, field(line, "out_dir")) {
            built.out_dir = Some(path.into());
        }
    }
    built
}

/// The value of a string field, if it is one without escapes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\":\""))?;
    let (value, _) = rest.split_once('"')?;
    if value.contains('\\') {
        say(format_args!("cannot read {name} of {line}"));
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"build-script-executed","package_id":"path+file:///w/other#1","env":[],"out_dir":"/t/other/out"}
{"reason":"build-script-executed","package_id":"path+file:///w/tcpstate-user#0.1.0","env":[],"out_dir":"/t/user/out"}
{"reason":"compiler-artifact","target":{"name":"tcpstate"},"executable":null,"fresh":true}
{"reason":"compiler-artifact","target":{"name":"live"},"executable":"/t/deps/live-0a1b","fresh":true}
{"reason":"compiler-artifact","target":{"name":"tcpstate"},"executable":"/t/tcpstate","fresh":true}
{"reason":"build-finished","success":true}"#;

    #[test]
    fn the_executables_of_a_build_are_found_by_their_target() {
        let built = read(MESSAGES);
        assert_eq!(
            built.executable("live").unwrap(),
            Path::new("/t/deps/live-0a1b")
        );
        assert_eq!(
            built.executable("tcpstate").unwrap(),
            Path::new("/t/tcpstate")
        );
        assert!(built.executable("replay").is_err());
    }

    #[test]
    fn the_output_directory_is_the_one_of_the_user_side() {
        assert_eq!(read(MESSAGES).out_dir, Some("/t/user/out".into()));
    }
}
