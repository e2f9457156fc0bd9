//! A file that is truncated while its code runs.
//!
//! The emulated machine has no compiler; what is tested runs in user space.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};

use object::{LittleEndian, read::elf::FileHeader as _};

use super::super::{Leaks, functions, visit};
use crate::{clock::in_vm, ns::Netns, process::output, zoo::Leaking};

/// Accepts in one way until the peer sends a byte, from then on in another.
const LIBRARY: &str = r#"
#include <sys/socket.h>
#include <unistd.h>
static volatile int sink;
__attribute__((noinline)) int one_way(int listener) {
    int taken = accept(listener, 0, 0);
    sink = taken;
    return taken;
}
__attribute__((noinline)) int other_way(int listener) {
    int taken = accept(listener, 0, 0);
    sink = taken;
    return taken;
}
void serve(int listener) {
    int changed = 0;
    for (;;) {
        char byte;
        int taken = changed ? other_way(listener) : one_way(listener);
        while (read(taken, &byte, 1) == 1)
            changed = 1;
    }
}
"#;

const PROGRAM: &str = r#"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    void *library = dlopen(arguments[1], RTLD_NOW);
    void (*serve)(int) = library ? (void (*)(int))dlsym(library, "serve") : 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!serve || bind(listener, (struct sockaddr *)&address, length) < 0)
        return 1;
    listen(listener, 64);
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    serve(listener);
    return count;
}
"#;

/// Compiles a source to a file of this name.
fn compile(directory: &Path, source: &str, name: &str, how: &[&str]) -> std::path::PathBuf {
    let (from, to) = (directory.join("source.c"), directory.join(name));
    fs::write(&from, source).unwrap();
    let paths = [to.to_str().unwrap(), from.to_str().unwrap()];
    let usual = ["-O2", "-g", "-fomit-frame-pointer", "-o"];
    output("cc", "gcc", &[how, &usual, &paths, &["-ldl"]].concat());
    to
}

/// Cuts off what follows the last part that is mapped: symbols and debug
/// information. The code stays, and the program goes on.
fn cut_names(path: &Path) {
    use object::read::elf::ProgramHeader as _;
    type Header = object::elf::FileHeader64<LittleEndian>;
    let bytes = fs::read(path).unwrap();
    let header = Header::parse(bytes.as_slice()).unwrap();
    let parts = header.program_headers(LittleEndian, bytes.as_slice());
    let loaded = parts.unwrap().iter();
    let loaded = loaded.filter(|it| it.p_type(LittleEndian) == object::elf::PT_LOAD);
    let ends = loaded.map(|it| it.p_offset(LittleEndian) + it.p_filesz(LittleEndian));
    let end = ends.max().unwrap();
    assert!(end < bytes.len() as u64);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(end)
        .unwrap();
}

#[test]
fn a_library_that_is_truncated_under_a_running_program_goes_on_being_named() {
    if in_vm() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let library = compile(
        directory.path(),
        LIBRARY,
        "library.so",
        &["-shared", "-fPIC"],
    );
    let program = compile(directory.path(), PROGRAM, "program", &[]);
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    if leaks.hooks()["accept_stack"].is_null() {
        return;
    }
    let server = inside.enter(|| {
        let server = Leaking::told(Command::new(program).arg(&library), "gcc");
        visit(&server, 3, b"");
        server
    });
    let named = |group: &serde_json::Value| functions(&group["origin"]["stack"]);
    let before = leaks.until("never_closed", 3);
    assert!(named(&before).contains(&"one_way".to_owned()), "{before:#}");
    cut_names(&library);
    inside.enter(|| {
        visit(&server, 1, b"x");
        visit(&server, 5, b"");
    });
    let after = leaks.until("never_closed", 5);
    assert!(named(&after).contains(&"other_way".to_owned()), "{after:#}");
    assert_eq!(after["pid"], server.pid());
    // To somebody who comes later, the names are not there, and the reason is.
    let mut later = Leaks::start(&inside, &["--min-age", "100ms"]);
    inside.enter(|| visit(&server, 7, b""));
    let late = later.until("never_closed", 7);
    let frames = late["origin"]["stack"].as_array().unwrap();
    let cut = frames
        .iter()
        .find(|it| it["module"].as_str() == library.to_str());
    let reason = cut.unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("broken ELF file"), "{reason}");
    later.stop();
    leaks.stop();
}
