//! The load of the real world: wrk asks nginx.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Reports,
    exhaustion::{check, early},
    narrowed, number,
    report::is_towards,
};
use crate::{
    clock::Noise,
    facts,
    process::{Running, missing, own_files},
    trace::Trace,
};

/// nginx that answers a hundred requests a second, and leaves it to the client
/// to close: it says `Connection: close` and does not.
fn nginx(directory: &Path, address: SocketAddr) -> Running {
    let at = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {at}/pid; error_log /dev/null;
        events {{}}
        http {{
            access_log off; {temporary}
            limit_req_zone $binary_remote_addr zone=all:1m rate=100r/s;
            server {{
                listen {address};
                location / {{
                    limit_req zone=all burst=100;
                    add_header Connection close always;
                    try_files /none =404;
                }}
            }}
        }}"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&file);
    start(&mut command, "nginx-light")
}

/// Starts a program, or says what to install.
fn start(command: &mut Command, package: &str) -> Running {
    own_files();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    match command.spawn() {
        Ok(child) => Running(child),
        Err(error) => missing(&command.get_program().to_string_lossy(), package, &error),
    }
}

#[test]
fn wrk_without_keep_alive_runs_out_when_it_was_predicted() {
    if facts::lacks("wrk") {
        return;
    }
    let inside = narrowed(26_001, 27_000);
    let netns = inside.inode.to_string();
    let mut trace = Trace::start(&["--netns", &netns, "--state", "syn-sent"]);
    let reports = Reports::start(&inside, &["-i", "500ms"]);
    let directory = tempfile::tempdir().unwrap();
    let remote: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let server = inside.enter(|| nginx(directory.path(), remote));
    reports.until("nginx", |line| line["what"] == "listener");
    let noise = Noise::start();
    let wrk = inside.enter(|| {
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c2", "-d60s", "http://127.0.0.1:8080/"]);
        start(&mut wrk, "wrk")
    });
    let pid = wrk.pid();
    let happened = trace.until("a connect without a port", |seen| {
        let mut failed = seen.iter();
        let failed = failed.find(|seen| seen.line.cause.as_deref() == Some("no_port"))?;
        Some(failed.line.mono_ns)
    });
    check(&early(&reports, remote), happened, noise.stop());
    let line = reports.until_space("both that failed", remote, |line| line["no_port"] == 2);
    assert_eq!(line["by"][0]["pid"], pid, "{line}");
    drop((wrk, server));
    // Its sockets are there, and whose they were is known, when it is gone.
    let lines = reports.stop();
    let line = lines.iter().find(|line| is_towards(line, remote)).unwrap();
    let by = &line["by"][0];
    assert_eq!((&by["pid"], &by["comm"]), (&pid.into(), &"wrk".into()));
    assert_eq!((number(by, "time_wait"), number(by, "no_port")), (1000, 2));
    trace.stop();
}
