//! Real programs, in several languages.
//!
//! The emulated machine has neither a compiler nor the C library nor Python,
//! so there these tests do nothing: what they test runs in user space.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tcpstate::{
    decode::Why,
    symbolize::{Frame, sight},
    unwind::End,
};

use super::{capture::Capture, has_in_order};
use crate::{
    clock::in_vm,
    process::{Running, missing, own_files},
};

/// Connects, in functions of its own, and waits for its input to end.
const CLIENT: &str = r#"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

__attribute__((noinline)) static int raw_connect(int port, char *scratch) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(scratch, fd, 8);
    return connect(fd, (struct sockaddr *)&to, sizeof to) + scratch[3];
}
__attribute__((noinline)) static int pool_get(int port) {
    char scratch[100];
    return raw_connect(port, scratch) + scratch[5];
}
__attribute__((noinline)) static int fetch_order(int port, int depth) {
    volatile char frame[64];
    frame[depth & 63] = 1;
    int found = depth ? fetch_order(port, depth - 1) : pool_get(port);
    return found + frame[depth & 63];
}
int main(int argc, char **argv) {
    char byte;
    (void)argc;
    int found = fetch_order(atoi(argv[1]), 3);
    while (read(0, &byte, 1) > 0) found++;
    return found == 12345;
}
"#;

/// A program of [`CLIENT`]; names its functions only when it is not stripped.
fn compiled(directory: &Path, flags: &[&str]) -> PathBuf {
    own_files();
    let (source, program) = (directory.join("client.c"), directory.join("client"));
    fs::write(&source, CLIENT).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-fomit-frame-pointer", "-o"]).arg(&program);
    cc.args(flags).arg(&source);
    match cc.status() {
        Ok(status) => assert!(status.success(), "{cc:?}"),
        Err(error) => missing("cc", "gcc", &error),
    }
    program
}

/// Starts a program that waits for its input to end.
fn start(program: &Path, arguments: &[&str]) -> Running {
    own_files();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    Running(command.spawn().unwrap())
}

fn connects(capture: &mut Capture, running: &Running) -> (End, Vec<Frame>) {
    let pid = running.pid();
    let (_, id) = capture.until("the program's connect", |event| {
        event.task.pid == pid && event.why == Why::Connect
    });
    capture.named(id)
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

const CHAIN: [&str; 7] = [
    "raw_connect",
    "pool_get",
    "fetch_order",
    "fetch_order",
    "fetch_order",
    "fetch_order",
    "main",
];

#[test]
fn a_c_program_without_frame_pointers_is_unwound_to_its_root_and_named() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &["-g"]);
    let (_listener, address) = listener();
    let mut capture = Capture::start();
    let running = start(&program, &[&address.port().to_string()]);
    let (end, frames) = connects(&mut capture, &running);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &CHAIN), "{frames:#?}");
    let seen = sight(&frames);
    assert_eq!(seen.folded, 0..1);
    let first = &frames[seen.application.unwrap()];
    assert_eq!(first.function.as_deref(), Some("raw_connect"));
    let line = CLIENT
        .lines()
        .take_while(|line| !line.contains("return connect("))
        .count()
        + 1;
    assert_eq!(first.line, u32::try_from(line).ok(), "{first:?}");
    assert_eq!(first.build_id.as_ref().map(String::len), Some(40));
}

#[test]
fn a_stripped_program_has_places_build_id_and_the_reason() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &["-s"]);
    let (_listener, address) = listener();
    let mut capture = Capture::start();
    let running = start(&program, &[&address.port().to_string()]);
    let (end, frames) = connects(&mut capture, &running);
    assert_eq!(end, End::Root, "{frames:#?}");
    let own = program.to_str();
    let own: Vec<_> = frames
        .iter()
        .filter(|frame| frame.module.as_deref() == own)
        .collect();
    // The chain, and _start.
    assert_eq!(own.len(), CHAIN.len() + 1, "{frames:#?}");
    for frame in own {
        assert_eq!(frame.function, None, "{frame:?}");
        assert!(frame.reason.is_some() && frame.offset.is_some() && frame.build_id.is_some());
        assert!(!frame.system);
    }
}

#[test]
fn a_program_that_was_deleted_and_has_exited_is_still_named() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &[]);
    let (_listener, address) = listener();
    let mut capture = Capture::start();
    let mut running = start(&program, &[&address.port().to_string()]);
    let pid = running.pid();
    let (_, id) = capture.until("the program's connect", |event| {
        event.task.pid == pid && event.why == Why::Connect
    });
    fs::remove_file(&program).unwrap();
    drop(running.0.stdin.take());
    running.0.wait().unwrap();
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &CHAIN), "{frames:#?}");
}

#[test]
fn a_program_that_was_deleted_before_is_named() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let program = compiled(directory.path(), &[]);
    let (_listener, address) = listener();
    // Python has the program deleted by the time it connects.
    let script = format!(
        "rm {0} && exec /proc/self/fd/9 {1}",
        program.display(),
        address.port()
    );
    let mut capture = Capture::start();
    own_files();
    let mut command = Command::new("sh");
    command.arg("-c");
    command.arg(format!("exec 9<{}; {script}", program.display()));
    let running = Running(command.stdin(Stdio::piped()).spawn().unwrap());
    let (end, frames) = connects(&mut capture, &running);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &CHAIN), "{frames:#?}");
}

const PYTHON: &str = "
import socket, sys
def pool_get(port):
    return socket.create_connection(('127.0.0.1', port))
def fetch_order(port):
    return pool_get(port)
kept = fetch_order(int(sys.argv[1]))
sys.stdin.read()
";

#[test]
fn a_python_program_is_unwound_through_its_interpreter() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("shop.py");
    fs::File::create(&script)
        .unwrap()
        .write_all(PYTHON.as_bytes())
        .unwrap();
    let (_listener, address) = listener();
    let mut capture = Capture::start();
    let port = address.port().to_string();
    let running = start(
        Path::new("/usr/bin/python3"),
        &[script.to_str().unwrap(), &port],
    );
    let (end, frames) = connects(&mut capture, &running);
    assert_eq!(end, End::Root, "{frames:#?}");
    // What it runs is not told by an interpreter without `-X perf`.
    assert_eq!(sight(&frames).application, None, "{frames:#?}");
}
