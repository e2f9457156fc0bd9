//! Real programs: curl asks nginx.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    clock::timed,
    expect::{Step, check, step},
    lines::Transition,
    net::{Side, bound, netns},
    process::{Running, missing, own_files},
    trace::{Finished, Trace},
};

/// Starts nginx on an address, alone and in the foreground.
pub(crate) fn nginx(directory: &Path, address: SocketAddr) -> Running {
    let at = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid {at}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off; {temporary}
            server {{ listen {address}; location / {{ return 200 ok; }} }}
        }}"
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).arg("-c").arg(&file);
    demand(&mut command, "nginx-light")
}

/// Starts a program, or says what to install.
fn demand(command: &mut Command, package: &str) -> Running {
    own_files();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    match command.spawn() {
        Ok(child) => Running(child),
        Err(error) => missing(&command.get_program().to_string_lossy(), package, &error),
    }
}

fn curl(address: SocketAddr) -> u32 {
    let mut command = Command::new("curl");
    command.args(["-sS", "-o", "/dev/null", &format!("http://{address}/")]);
    let mut curl = demand(&mut command, "curl");
    let (status, _) = crate::clock::wait_for("curl", || curl.0.try_wait().unwrap());
    assert!(status.success(), "curl: {status}");
    curl.pid()
}

fn named<'a>(lines: &[&'a Transition]) -> Vec<(Option<u32>, Option<&'a str>)> {
    let name = |line: &'a Transition| (line.pid, line.comm.as_deref());
    lines.iter().map(|line| name(line)).collect()
}

#[test]
fn curl_and_nginx_are_named_and_curl_closes_first() {
    let (_reserved, address) = bound("127.0.0.1:0".parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut trace = Trace::start(&[]);
    let server = nginx(directory.path(), address);
    let listener = Side {
        netns: netns(),
        local: address,
        remote: "0.0.0.0:0".parse().unwrap(),
    };
    trace.until_enters(&listener, "LISTEN");
    let (client, whole) = timed(|| {
        let client = curl(address);
        let port = address.port();
        trace.until("nginx has closed", |seen| {
            seen.iter()
                .find(|seen| seen.line.lport == Some(port) && seen.line.old == "LAST_ACK")
                .map(|_| ())
        });
        client
    });
    let run = trace.stop();
    run.assert_sound();
    let towards = run.select(|line| line.rport == Some(address.port()));
    let answers = run.select(|line| {
        line.lport == Some(address.port()) && line.rport.is_some_and(|port| port != 0)
    });
    let opened = [
        step("CLOSE", "SYN_SENT", None, whole),
        step("SYN_SENT", "ESTABLISHED", None, whole),
        step("ESTABLISHED", "FIN_WAIT1", "close", whole),
        step("FIN_WAIT1", "FIN_WAIT2", "fin_acked", whole),
        step("FIN_WAIT2", "TIME_WAIT", "peer_fin", whole),
    ];
    // nginx acknowledges curl's FIN alone, and curl's orphan becomes a
    // minisocket, or together with its own FIN.
    let steps: &[Step] = &opened[..towards.len().clamp(4, 5)];
    check(&towards, crate::expect::First::Born, steps).unwrap();
    assert_eq!(
        named(&towards),
        vec![(Some(client), Some("curl")); steps.len()]
    );
    let served = [
        step("LISTEN", "SYN_RECV", None, whole),
        step("SYN_RECV", "ESTABLISHED", None, whole),
        step("ESTABLISHED", "CLOSE_WAIT", "peer_fin", whole),
        step("CLOSE_WAIT", "LAST_ACK", "close", whole),
        step("LAST_ACK", "CLOSE", "fin_acked", whole),
    ];
    check(&answers, crate::expect::First::Born, &served).unwrap();
    assert_eq!(named(&answers)[2..], nginx_or_nobody(&run, server.pid()));
}

fn nginx_or_nobody(run: &Finished, pid: u32) -> [(Option<u32>, Option<&'static str>); 3] {
    let known = run.start.hooks["accepted"].is_some();
    [(known.then_some(pid), known.then_some("nginx")); 3]
}
