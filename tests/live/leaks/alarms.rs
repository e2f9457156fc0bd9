//! Real servers and clients that leak nothing, and nginx when it is stopped.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Leaks, groups};
use crate::{
    clock::{in_vm, patience, wait_for},
    net::{Conn, bound},
    ns::Netns,
    process::{Running, own_files},
    programs::nginx,
};

/// nginx in a network namespace, ready.
struct Served {
    inside: Netns,
    nginx: Running,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let inside = Netns::new();
        let directory = tempfile::tempdir().unwrap();
        let (nginx, address) = inside.enter(|| {
            let (_reserved, address) = bound("127.0.0.1:0".parse().unwrap());
            let nginx = nginx(directory.path(), address);
            wait_for("nginx", || TcpStream::connect(address).ok());
            (nginx, address)
        });
        Self {
            inside,
            nginx,
            address,
            _directory: directory,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.nginx.pid()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Clients that have had an answer, and keep the connection.
    fn clients(&self, count: usize) -> Vec<KeptAlive> {
        let mut clients: Vec<_> = (0..count).map(|_| KeptAlive::to(self.address)).collect();
        clients.iter_mut().for_each(KeptAlive::ask);
        clients
    }
}

/// A connection that is used again and again.
struct KeptAlive(TcpStream);

impl KeptAlive {
    fn to(address: SocketAddr) -> Self {
        own_files();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        Self(stream)
    }

    /// As [`Self::ask`]; a connection that the server has closed is replaced
    /// first: nginx closes each after 1,000 requests (`keepalive_requests`).
    fn ask_again(&mut self, address: SocketAddr) {
        self.0.set_nonblocking(true).unwrap();
        let ended = matches!(self.0.peek(&mut [0]), Ok(0));
        self.0.set_nonblocking(false).unwrap();
        if ended {
            *self = Self::to(address);
        }
        self.ask();
    }

    /// Asks, and reads the whole answer, which ends with `ok`.
    fn ask(&mut self) {
        let request = b"GET / HTTP/1.1\r\nHost: zoo\r\n\r\n";
        self.0.write_all(request).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            let mut buffer = [0; 1024];
            let got = self.0.read(&mut buffer).unwrap();
            assert_ne!(got, 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..got]);
        }
    }
}

#[test]
fn a_busy_nginx_and_a_pool_of_kept_connections_are_no_suspects() {
    // By when even an emulated nginx has closed what its client has.
    let (text, min_age) = match in_vm() {
        true => ("10s", Duration::from_secs(10)),
        false => ("3s", Duration::from_secs(3)),
    };
    let served = Served::start();
    let mut leaks = Leaks::start(&served.inside, &["--min-age", text]);
    served.inside.enter(|| {
        let mut pool = served.clients(5);
        let began = Instant::now();
        while began.elapsed() < min_age * 2 {
            // Busy, not flooded: some 1,500 connections a second at most.
            sleep(Duration::from_millis(5));
            let mut visitors = served.clients(8);
            visitors.iter_mut().for_each(KeptAlive::ask);
            for kept in &mut pool {
                kept.ask_again(served.address);
            }
        }
        leaks.until_summary("a report with nothing to say", |it| it["too_early"] == 0);
    });
    let (last, done) = leaks.stop();
    assert!(last.is_empty(), "{last:#?}");
    assert!(groups(&done.stdout).is_empty(), "{}", done.stdout);
}

#[test]
fn an_nginx_that_is_stopped_under_load_is_a_suspect_until_it_goes_on() {
    let served = Served::start();
    let mut leaks = Leaks::start(&served.inside, &["--min-age", "100ms"]);
    let pid = served.nginx.pid();
    served.inside.enter(|| {
        let idle = served.clients(20);
        let mut asking = served.clients(10);
        served.signal(Signal::STOP);
        for client in &mut asking {
            client.0.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        }
        let waiting: Vec<_> = (0..5).map(|_| Conn::to(served.address)).collect();
        drop((idle, asking, waiting));
    });
    for (class, count) in [
        ("eof_not_read", 20),
        ("unread_data", 10),
        ("never_accepted", 5),
    ] {
        let group = leaks.until(class, count);
        assert_eq!(group["pid"], pid, "{group:#}");
        assert_eq!(group["comm"], "nginx");
    }
    served.signal(Signal::CONT);
    leaks.until_summary("a report without suspects", |it| {
        it["suspects"] == 0 && it["too_early"] == 0
    });
    let (last, _) = leaks.stop();
    assert!(last.is_empty(), "{last:#?}");
}
