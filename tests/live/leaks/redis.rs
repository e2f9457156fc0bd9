//! A real redis that is stopped under load: its clients leave, and it goes on.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Leaks, groups};
use crate::{
    clock::{patience, wait_for},
    facts::lacks,
    net::Conn,
    ns::Netns,
    process::{Running, missing, output, own_files},
};

/// Nobody else is in the network namespace.
const PORT: u16 = 6379;
/// Clients of the load; clients that have an answer, that ask when it is stopped,
/// and that come then.
const BUSY: usize = 50;
const IDLE: usize = 20;
const ASKING: usize = 10;
const WAITING: usize = 5;

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

fn started(command: &mut Command, package: &str) -> Running {
    own_files();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn();
    Running(child.unwrap_or_else(|error| missing(&name, package, &error)))
}

/// A server that keeps nothing, ready.
fn server(directory: &Path) -> Running {
    let mut command = Command::new("redis-server");
    command.current_dir(directory);
    command.args(["--bind", "127.0.0.1", "--port", &PORT.to_string()]);
    command.args(["--save", "", "--appendonly", "no"]);
    let server = started(&mut command, "redis-server");
    wait_for("redis", || TcpStream::connect(address()).ok());
    server
}

/// As many requests at the same time as there are clients, without end.
fn load() -> Running {
    let mut command = Command::new("redis-benchmark");
    let clients = BUSY.to_string();
    let words = ["-c", &clients, "-n", "1000000000", "-t", "set", "-q"];
    started(command.args(words), "redis-tools")
}

/// A client that has had an answer.
fn answered() -> TcpStream {
    let mut client = TcpStream::connect(address()).unwrap();
    client.set_read_timeout(Some(patience())).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    client
}

/// Sizes of the receive queues of the connections in this state, of clients
/// (`dport`) or of the server (`sport`).
fn queues(state: &str, side: &str) -> Vec<String> {
    let port = format!("{side} = :{PORT}");
    let sockets = output("ss", "iproute2", &["-Htn", "state", state, &port]);
    let queues = sockets.lines().map(|line| line.split_whitespace().next());
    queues.map(|queue| queue.unwrap().to_owned()).collect()
}

/// Of the clients' connections, those with something to read.
fn unread() -> usize {
    let queues = queues("established", "dport");
    queues.iter().filter(|queue| *queue != "0").count()
}

/// Whether the load has all its connections, and the server has closed the one
/// with which it asks for the configuration first.
fn is_busy() -> bool {
    queues("established", "dport").len() == IDLE + ASKING + BUSY
        && queues("close-wait", "sport").is_empty()
}

fn signal(process: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn a_redis_that_is_stopped_under_load_is_a_suspect_until_it_goes_on() {
    if lacks("redis") {
        return;
    }
    let inside = Netns::new();
    let directory = tempfile::tempdir().unwrap();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let redis = inside.enter(|| {
        let redis = server(directory.path());
        let [idle, mut asking] =
            [IDLE, ASKING].map(|count| (0..count).map(|_| answered()).collect::<Vec<_>>());
        let load = load();
        wait_for("load", || is_busy().then_some(()));
        signal(&redis, Signal::STOP);
        for client in &mut asking {
            client.write_all(b"PING\r\n").unwrap();
        }
        // Who leaves with an answer unread resets the connection.
        wait_for("answers to be read", || (unread() == 0).then_some(()));
        let waiting: Vec<_> = (0..WAITING).map(|_| Conn::to(address())).collect();
        drop((load, idle, asking, waiting));
        redis
    });
    let all = IDLE + ASKING + BUSY + WAITING;
    leaks.until_summary("all as suspects", |it| it["suspects"] == all);
    // Whether it had read what the load asked, when it was stopped, is chance.
    let [read, unread, waiting] = ["eof_not_read", "unread_data", "never_accepted"].map(|class| {
        let mut told = groups(&leaks.0.stdout.text()).into_iter().rev();
        let group = told.find(|it| it["class"] == class).unwrap();
        assert_eq!(group["pid"], redis.pid(), "{group:#}");
        assert_eq!(group["comm"], "redis-server");
        usize::try_from(group["count"].as_u64().unwrap()).unwrap()
    });
    assert!(read >= IDLE && unread >= ASKING, "{read} {unread}");
    assert_eq!((read + unread, waiting), (all - WAITING, WAITING));
    signal(&redis, Signal::CONT);
    leaks.until_summary("a report without suspects", |it| {
        it["suspects"] == 0 && it["too_early"] == 0
    });
    let (last, _) = leaks.stop();
    assert!(last.is_empty(), "{last:#?}");
}
