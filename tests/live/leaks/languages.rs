//! Leaks of programs in other languages.
//!
//! The emulated machine has neither compilers nor interpreters and their
//! libraries; there these tests say that they were not run. What they test beyond
//! the others runs in user space.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{Leaks, assert_in_order, fds, functions, visit};
use crate::{
    facts::lacks,
    ns::Netns,
    process::output,
    zoo::{self, Leaking},
};

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
    if lacks("python3") {
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
    let advice = group["advice"].as_str().unwrap();
    assert!(advice.contains("-X perf"), "{advice}");
}

#[test]
fn a_stripped_go_server_is_named_with_its_functions() {
    if lacks("go") {
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

#[test]
fn an_optimized_rust_server_is_named_with_its_functions_as_they_are_written() {
    if lacks("rustc") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("serve");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo/leak.rs");
    let [program, source] = [&made, &source].map(|it| it.to_str().unwrap());
    output(
        "rustc",
        "rustc",
        &["-O", "--edition=2021", "-o", program, source],
    );
    let group = leak_of(&mut Command::new(&made), "rustc");
    let origin = functions(&group["origin"]["stack"]);
    let written: Vec<_> = origin.iter().map(|name| as_written(name)).collect();
    let own = ["leak::Pool::take_order", "leak::shop::serve", "leak::main"];
    assert_in_order(&written, &own);
    let application = group["origin"]["application"].as_u64().unwrap();
    let first = &written[usize::try_from(application).unwrap()];
    assert_eq!(first, own[0], "{origin:?}");
}

/// A function's path, without what its generic parameters are: only Rust's newer
/// kind of symbols has those, and puts a type in brackets.
fn as_written(name: &str) -> String {
    let path = name.split("::<").next().unwrap_or(name);
    path.replace(['<', '>'], "")
}

#[test]
fn a_stripped_c_server_is_told_by_place_and_build_and_no_function_is_invented() {
    if lacks("cc") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path().join("serve");
    zoo::compile(&made, &["-s"]);
    let group = leak_of(Command::new(&made).arg("never-closed"), "gcc");
    let application = group["origin"]["application"].as_u64().unwrap();
    let stack = group["origin"]["stack"].as_array().unwrap();
    let first = &stack[usize::try_from(application).unwrap()];
    assert_eq!(first["module"].as_str(), made.to_str(), "{group:#}");
    assert!(first["offset"].as_u64().unwrap() > 0, "{group:#}");
    let build = first["build_id"].as_str().unwrap();
    assert_eq!(build, own_build(&made), "{group:#}");
    let own = stack.iter().filter(|it| it["module"] == first["module"]);
    for frame in own {
        assert_eq!(frame["function"], Value::Null, "{group:#}");
    }
}

/// What the linker has written into a program.
fn own_build(program: &Path) -> String {
    let notes = output("readelf", "binutils", &["-n", program.to_str().unwrap()]);
    let id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.unwrap().to_owned()
}
