//! A server whose workers all wait for a backend that never answers, while its
//! clients give up: a real Tomcat.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::{Leaks, java::compile};
use crate::{
    clock::wait_for,
    facts::lacks,
    ns::Netns,
    process::{Running, missing, own_files},
};

/// As many as Tomcat has by default.
const WORKERS: usize = 200;
/// Whose requests wait for a worker.
const QUEUED: usize = 100;
/// Nobody else is in the network namespace.
const PORT: u16 = 8080;
const HOME: &str = "/usr/share/tomcat10";

/// Tomcat with one servlet, which asks the backend.
struct Tomcat {
    running: Running,
    _base: tempfile::TempDir,
}

impl Tomcat {
    fn start(backend: SocketAddr) -> Self {
        let base = tempfile::tempdir().unwrap();
        lay_out(base.path());
        own_files();
        let mut java = Command::new("java");
        let libraries = ["bootstrap", "tomcat-juli"].map(|it| format!("{HOME}/bin/{it}.jar"));
        java.args(["-cp", &libraries.join(":")]);
        let base_path = base.path().display();
        for (name, value) in [
            ("catalina.home", HOME.to_owned()),
            ("catalina.base", base_path.to_string()),
            ("java.io.tmpdir", format!("{base_path}/temp")),
            ("shop.port", PORT.to_string()),
            ("shop.backend", backend.port().to_string()),
        ] {
            java.arg(format!("-D{name}={value}"));
        }
        java.args(["org.apache.catalina.startup.Bootstrap", "start"]);
        let log = base.path().join("log");
        java.stdin(Stdio::null()).stdout(Stdio::null());
        java.stderr(File::create(&log).unwrap());
        let child = java.spawn();
        let child = child.unwrap_or_else(|error| missing("java", "default-jre-headless", &error));
        let mut running = Running(child);
        wait_for("Tomcat", || {
            let ended = running.0.try_wait().unwrap();
            assert_eq!(ended, None, "{}", fs::read_to_string(&log).unwrap());
            TcpStream::connect(address()).ok()
        });
        Self {
            running,
            _base: base,
        }
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], PORT))
}

/// Its directory: what is not in it is `HOME`'s.
fn lay_out(base: &Path) {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo/tomcat");
    let inside = base.join("webapps/ROOT/WEB-INF");
    for directory in [&base.join("conf"), &base.join("temp"), &inside] {
        fs::create_dir_all(directory).unwrap();
    }
    for (name, directory) in [("server.xml", &base.join("conf")), ("web.xml", &inside)] {
        fs::copy(zoo.join(name), directory.join(name)).unwrap();
    }
    let api = format!("{HOME}/lib/servlet-api.jar");
    assert!(Path::new(&api).exists(), "apt-get install tomcat10-common");
    let source = zoo.join("OrderServlet.java");
    compile(&source, &inside.join("classes"), Path::new(&api));
}

/// Clients that ask, and whose requests have arrived.
fn clients(count: usize) -> Vec<TcpStream> {
    let ask = |_| {
        let mut client = TcpStream::connect(address()).unwrap();
        client
            .write_all(b"GET /order HTTP/1.1\r\nHost: shop\r\n\r\n")
            .unwrap();
        client
    };
    (0..count).map(ask).collect()
}

/// The workers wait for the backend: so many, and by whatever thread's name.
fn assert_workers_are_at(group: &Value, backend: SocketAddr) {
    let threads = group["threads"].as_array().unwrap();
    // Java's sockets are IPv6's, and so is how an address is written.
    let peer = format!("127.0.0.1]:{}", backend.port());
    let at_backend = threads
        .iter()
        .filter(|it| it["peer"].as_str().is_some_and(|it| it.ends_with(&peer)));
    let counts = at_backend.map(|it| it["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), WORKERS as u64, "{group:#}");
}

#[test]
fn a_tomcat_whose_workers_wait_for_a_backend_is_told_with_the_backend() {
    if lacks("tomcat") {
        return;
    }
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let (tomcat, backend, _asked) = inside.enter(|| {
        let backend = TcpListener::bind("127.0.0.1:0").unwrap();
        let tomcat = Tomcat::start(backend.local_addr().unwrap());
        let clients = clients(WORKERS + QUEUED);
        let asked: Vec<_> = (0..WORKERS).map(|_| backend.accept().unwrap()).collect();
        drop(clients);
        (tomcat, backend.local_addr().unwrap(), asked)
    });
    // What a worker has read, and what nobody has.
    for (class, count) in [("eof_not_read", WORKERS), ("unread_data", QUEUED)] {
        let group = leaks.until(class, count as u64);
        assert_eq!(group["pid"], tomcat.running.pid(), "{group:#}");
        assert_eq!(group["comm"], "java");
        assert_eq!(group["state"], "CLOSE_WAIT");
        assert_eq!(group["listener"]["port"], PORT);
        assert_eq!(group["fds"].as_array().unwrap().len(), count);
        assert_workers_are_at(&group, backend);
        let advice = group["advice"].as_str().unwrap();
        assert!(advice.contains("-XX:+PreserveFramePointer"), "{advice}");
    }
    let (last, _) = leaks.stop();
    assert_eq!(last.len(), 2, "{last:#?}");
}
