//! Real servers that close idle connections, and curl, which keeps them or not.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{Closer, Connection, Connections};
use crate::{
    clock::{Interval, now, timed, wait_for},
    expect::within,
    net::{Conn, bound},
    ns::Netns,
    process::{Running, missing, own_comm, own_files, own_pid},
    tables::rows,
};

/// After how long a server closes a connection on which nothing is asked.
const IDLE: Duration = Duration::from_secs(1);

/// A server at work in a network namespace, and what is told of it.
struct Served {
    inside: Netns,
    watching: Connections,
    server: Running,
    name: &'static str,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Served {
    fn nginx() -> Self {
        Self::start("nginx", "nginx-light", |directory, address| {
            let at = directory.display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
                .concat();
            let configuration = format!(
                "daemon off; master_process off; pid {at}/pid; error_log stderr;
                events {{}}
                http {{
                    access_log off; keepalive_timeout 1s; {temporary}
                    server {{ listen {address}; location / {{ return 200 ok; }} }}
                }}"
            );
            let file = directory.join("nginx.conf");
            fs::write(&file, configuration).unwrap();
            let mut command = Command::new("nginx");
            command.arg("-p").arg(directory).arg("-c").arg(&file);
            command
        })
    }

    fn haproxy() -> Self {
        Self::start("haproxy", "haproxy", |directory, address| {
            let configuration = format!(
                "global
                    nbthread 1
                defaults
                    mode http
                    timeout client 60s
                    timeout http-request 60s
                    timeout http-keep-alive 1s
                frontend zoo
                    bind {address}
                    http-request return status 200 content-type text/plain string ok\n"
            );
            let file = directory.join("haproxy.cfg");
            fs::write(&file, configuration).unwrap();
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
            command
        })
    }

    fn start(
        name: &'static str,
        package: &str,
        command: impl FnOnce(&Path, SocketAddr) -> Command,
    ) -> Self {
        let inside = Netns::new();
        let watching = Connections::inside(&inside);
        let directory = tempfile::tempdir().unwrap();
        let (server, address) = inside.enter(|| {
            let (reserved, address) = bound("127.0.0.1:0".parse().unwrap());
            // haproxy does not share a port.
            drop(reserved);
            own_files();
            let mut command = command(directory.path(), address);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let child = command.spawn();
            let child = child.unwrap_or_else(|error| missing(name, package, &error));
            let server = Running(child);
            // Not by a connection: each has its line.
            wait_for(&format!("{name} to listen"), || {
                let mut all = rows().into_iter();
                all.find(|row| row.local == address && row.state == "LISTEN")
            });
            (server, address)
        });
        Self {
            inside,
            watching,
            server,
            name,
            address,
            _directory: directory,
        }
    }

    /// The server's end of a connection from this port, once it has ended.
    fn line(&self, from: u16) -> Connection {
        let (here, there) = (self.address.port(), from);
        let is = |it: &Connection| (it.lport, it.rport) == (Some(here), Some(there));
        self.watching.until_one("the server's line", is)
    }

    /// The client's end of a connection to the server, once it has ended.
    fn clients(&self) -> Connection {
        let there = Some(self.address.port());
        let is = |it: &Connection| it.rport == there;
        self.watching.until_one("the client's line", is)
    }

    /// The server has opened it, as far as that is seen.
    fn assert_served(&self, line: &Connection) {
        assert_eq!(line.opened_by, "accept", "{line:#?}");
        if self.watching.start.hooks["accepted"].is_some() {
            let owner = (line.pid, line.comm.as_deref());
            assert_eq!(owner, (Some(self.server.pid()), Some(self.name)));
        }
    }

    /// The server has closed it first.
    fn assert_closed(&self, line: &Connection) {
        self.assert_served(line);
        let ended = (line.role.as_str(), line.end.as_str());
        assert_eq!(ended, ("active", "fin"), "{line:#?}");
        assert_eq!(line.reset_reason, None, "{line:#?}");
        let closer = line.closed_by.as_ref().unwrap();
        let who = (closer.pid, closer.comm.as_deref());
        assert_eq!(who, (Some(self.server.pid()), Some(self.name)));
        // haproxy shuts a connection down before it closes it.
        assert!(
            ["close", "shutdown"].contains(&closer.call.as_str()),
            "{closer:?}"
        );
        assert!(line.message.contains(self.name), "{line:#?}");
    }
}

/// The other end has closed it first, and nothing was reset.
fn assert_left(line: &Connection, by: &Closer) {
    let ended = (line.role.as_str(), line.end.as_str());
    assert_eq!(ended, ("passive", "fin"), "{line:#?}");
    assert_eq!(line.reset_reason, None, "{line:#?}");
    let side = "other".to_owned();
    let by = Closer { side, ..by.clone() };
    assert_eq!(line.closed_by, Some(by), "{line:#?}");
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n";

/// One request, and then nothing more.
fn idle_is_closed_by(served: Served) {
    let (client, asked, ended) = served.inside.enter(|| {
        let client = Conn::to(served.address);
        let asked = client.send(REQUEST);
        let answered = client.wait_answer(b"ok");
        let ended = Interval {
            from: asked.to,
            to: client.end_of_file().to,
        };
        (client, asked.until(answered), ended)
    });
    let (side, opened) = (client.side, client.opened);
    sleep_a_while();
    let closed = client.close();
    let theirs = served.line(side.local.port());
    served.assert_closed(&theirs);
    let ours = served.clients();
    assert_left(&ours, theirs.closed_by.as_ref().unwrap());
    assert_eq!(
        (ours.pid, ours.comm.clone()),
        (Some(own_pid()), Some(own_comm()))
    );
    assert_eq!(theirs.bytes_in, Some(REQUEST.len() as u64));
    assert_eq!(
        (theirs.bytes_in, theirs.bytes_out),
        (ours.bytes_out, ours.bytes_in)
    );
    // Idle for a second, since some time between the request and its answer.
    let idle = u64::try_from(IDLE.as_nanos()).unwrap();
    let established = theirs.states["ESTABLISHED"].unwrap();
    let most = ended.to - opened.from;
    within(
        "ESTABLISHED",
        established,
        idle.max(asked.from - opened.to),
        most,
    )
    .unwrap();
    let waited = ours.states["CLOSE_WAIT"].unwrap();
    let (least, most) = (closed.from - ended.to, closed.to - ended.from);
    within("CLOSE_WAIT", waited, least, most).unwrap();
    served.watching.stop();
}

/// The server's `FIN_WAIT2`, and our `CLOSE_WAIT`.
fn sleep_a_while() {
    std::thread::sleep(crate::closing::PARKED);
}

#[test]
fn nginx_closes_an_idle_connection_and_is_named() {
    idle_is_closed_by(Served::nginx());
}

#[test]
fn haproxy_closes_an_idle_connection_and_is_named() {
    idle_is_closed_by(Served::haproxy());
}

/// Asks for the same twice; returns curl's process.
fn curl(served: &Served, more: &[&str]) -> (u32, Interval) {
    let url = format!("http://{}/", served.address);
    served.inside.enter(|| {
        own_files();
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-o", "/dev/null"]);
        command.args(more).args([&url, &url]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| missing("curl", "curl", &error));
        let mut curl = Running(child);
        let pid = curl.pid();
        let (status, when) = timed(|| wait_for("curl", || curl.0.try_wait().unwrap()).0);
        assert!(status.success(), "curl: {status}");
        (pid, when)
    })
}

/// Both ends' lines of all connections, `count` of them.
fn lines_of(served: &Served, count: usize) -> (Vec<Connection>, Vec<Connection>) {
    let port = Some(served.address.port());
    wait_for("all lines", || {
        let all = super::connections(&served.watching.tool.stdout.text());
        let (ours, theirs): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.rport == port);
        (ours.len() == count && theirs.len() == count).then_some((ours, theirs))
    })
    .0
}

/// One connection for both requests, which curl closes in the end.
fn kept_by_curl(served: Served) {
    let (pid, _) = curl(&served, &[]);
    let (ours, theirs) = lines_of(&served, 1);
    let [ours, theirs] = [&ours[0], &theirs[0]];
    let ended = (
        ours.role.as_str(),
        ours.end.as_str(),
        ours.opened_by.as_str(),
    );
    assert_eq!(ended, ("active", "fin", "connect"), "{ours:#?}");
    let by = ours.closed_by.as_ref().unwrap();
    assert_eq!((by.pid, by.comm.as_deref()), (Some(pid), Some("curl")));
    assert!(["close", "shutdown"].contains(&by.call.as_str()), "{by:?}");
    assert_eq!((ours.pid, ours.comm.as_deref()), (Some(pid), Some("curl")));
    served.assert_served(theirs);
    assert_left(theirs, by);
    assert_eq!(
        (ours.bytes_in, ours.bytes_out),
        (theirs.bytes_out, theirs.bytes_in)
    );
    served.watching.stop();
}

/// A connection for each request, which the server closes after its answer.
fn not_kept_by_curl(served: Served) {
    let began = now();
    // Else curl, which knows how long the answer is, closes at the same time.
    let whole = "--ignore-content-length";
    let (pid, _) = curl(&served, &["-H", "Connection: close", whole]);
    let (ours, theirs) = lines_of(&served, 2);
    for line in &theirs {
        served.assert_closed(line);
    }
    let by = theirs[0].closed_by.as_ref().unwrap();
    for line in &ours {
        assert_left(line, by);
        assert_eq!((line.pid, line.comm.as_deref()), (Some(pid), Some("curl")));
        assert!(line.lifetime_ns.is_some_and(|ns| ns < now() - began));
    }
    served.watching.stop();
}

#[test]
fn curl_keeps_its_connection_to_nginx_and_closes_it_in_the_end() {
    kept_by_curl(Served::nginx());
}

#[test]
fn curl_without_keep_alive_is_closed_by_nginx_after_each_answer() {
    not_kept_by_curl(Served::nginx());
}

#[test]
fn curl_keeps_its_connection_to_haproxy_and_closes_it_in_the_end() {
    kept_by_curl(Served::haproxy());
}

#[test]
fn curl_without_keep_alive_is_closed_by_haproxy_after_each_answer() {
    not_kept_by_curl(Served::haproxy());
}
