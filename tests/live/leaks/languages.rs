//! Leaks of programs in other languages.
//!
//! The emulated machine has neither interpreters nor their libraries, so there
//! these tests do nothing: what they test beyond the others runs in user space.

use std::{fs, process::Command};

use serde_json::Value;

use super::{Leaks, assert_in_order, fds, functions, visit};
use crate::{clock::in_vm, ns::Netns, process::output, zoo::Leaking};

const PYTHON: &str = "
import socket
kept = []
def take_order(listener):
    connection, _ = listener.accept()
    kept.append(connection)
    return connection
def serve(listener):
    while True:
        connection = take_order(listener)
        while connection.recv(512):
            pass
listener = socket.create_server(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
serve(listener)
";

const GO: &str = r#"
package main

import (
	"fmt"
	"net"
)

var kept []net.Conn

//go:noinline
func takeOrder(listener net.Listener) net.Conn {
	connection, err := listener.Accept()
	if err != nil {
		panic(err)
	}
	kept = append(kept, connection)
	return connection
}

//go:noinline
func serve(listener net.Listener) {
	for {
		buffer := make([]byte, 512)
		connection := takeOrder(listener)
		for {
			if _, err := connection.Read(buffer); err != nil {
				break
			}
		}
	}
}

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	serve(listener)
}
"#;

/// Three leaks of a program, with class, process and descriptors checked.
fn leak_of(command: &mut Command, package: &str) -> Value {
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let server = inside.enter(|| {
        let server = Leaking::told(command, package);
        visit(&server, 3, b"request");
        server
    });
    let group = leaks.until("never_closed", 3);
    let (last, _) = leaks.stop();
    assert_eq!(last.len(), 1, "{last:#?}");
    assert_eq!(group["pid"], server.pid(), "{group:#}");
    assert_eq!(group["origin"]["kind"], "accept");
    assert_eq!(fds(&group), 3);
    for fd in group["fds"].as_array().unwrap() {
        let link = format!("/proc/{}/fd/{fd}", server.pid());
        let link = fs::read_link(link).unwrap();
        assert!(link.to_string_lossy().starts_with("socket:"), "{link:?}");
    }
    group
}

#[test]
fn a_python_server_is_named_with_its_interpreters_frames() {
    if in_vm() {
        return;
    }
    let mut command = Command::new("/usr/bin/python3");
    let group = leak_of(command.args(["-c", PYTHON]), "python3");
    let stack = group["origin"]["stack"].as_array().unwrap();
    let interpreter = |frame: &Value| {
        let module = frame["module"].as_str();
        module.is_some_and(|it| it.contains("python"))
    };
    assert!(stack.iter().any(interpreter), "{group:#}");
    assert_eq!(group["origin"]["end"], "root", "{group:#}");
}

#[test]
fn a_stripped_go_server_is_named_with_its_functions() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let [source, made] = ["serve.go", "serve"].map(|name| directory.path().join(name));
    fs::write(&source, GO).unwrap();
    let [source, program] = [&source, &made].map(|it| it.to_str().unwrap());
    let arguments = ["build", "-ldflags=-s -w", "-o", program, source];
    output("go", "golang-go", &arguments);
    let group = leak_of(&mut Command::new(&made), "golang-go");
    let origin = functions(&group["origin"]["stack"]);
    assert_in_order(&origin, &["main.takeOrder", "main.serve", "main.main"]);
}
