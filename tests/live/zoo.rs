//! Programs that leak sockets: `tests/zoo/leak.c`, built once.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use crate::process::{missing, output, own_files};

/// The program: `TCPSTATE_ZOO`, else what the C compiler makes of its source.
pub(crate) fn program() -> &'static OsString {
    static PROGRAM: OnceLock<OsString> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Some(given) = std::env::var_os("TCPSTATE_ZOO") {
            return given;
        }
        let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("leak");
        compile(&made, &["-g"]);
        made.into()
    })
}

/// Makes it of its source, as distributions build: without frame pointers.
pub(crate) fn compile(made: &Path, more: &[&str]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo/leak.c");
    let paths = [made.to_str().unwrap(), source.to_str().unwrap()];
    let arguments = ["-O2", "-fomit-frame-pointer", "-pthread", "-o"];
    output("cc", "gcc", &[&arguments[..], &paths[..], more].concat());
}

/// One of them, at work until the value is dropped.
pub(crate) struct Leaking {
    child: Child,
    /// Where it listens, if it does.
    pub port: u16,
}

impl Leaking {
    /// One that accepts.
    pub(crate) fn server(mode: &str) -> Self {
        let mut command = Command::new(program());
        Self::told(command.arg(mode), "gcc")
    }

    /// A program that prints the port on which it listens, or says what to install.
    pub(crate) fn told(command: &mut Command, package: &str) -> Self {
        let mut leaking = Self::run(command, package);
        let mut line = String::new();
        let stdout = leaking.child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        leaking.port = line.trim().parse().unwrap();
        leaking
    }

    /// One that connects.
    pub(crate) fn client(mode: &str, server: SocketAddr) -> Self {
        let mut command = Command::new(program());
        Self::run(command.arg(mode).arg(server.port().to_string()), "gcc")
    }

    fn run(command: &mut Command, package: &str) -> Self {
        own_files();
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn();
        let name = command.get_program().to_string_lossy();
        let child = child.unwrap_or_else(|error| missing(&name, package, &error));
        Self { child, port: 0 }
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u64 {
        self.child.id().into()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

impl Drop for Leaking {
    /// Its children die with it.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
