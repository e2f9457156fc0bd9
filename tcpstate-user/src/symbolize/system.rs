//! What of a stack is the application's own.
//!
//! People look for the first frame of their own code. Whose code a frame is
//! can only be guessed, from where its file lies and what its function is
//! called.

use std::ops::Range;

use super::Frame;

/// What to look at first in a stack, and what to leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The innermost frames, all of the C library and the like.
    pub folded: Range<usize>,
    /// The first frame of the application; `None` when all are the system's or
    /// a runtime's, as those of an interpreter that does not tell what it runs, or
    /// nobody knows whose, as code made at run time that has no name.
    pub application: Option<usize>,
}

/// How the frames of a stack, innermost first, are best shown.
#[must_use]
pub fn sight(frames: &[Frame]) -> Sight {
    let libc = frames.iter().take_while(|frame| is_libc(frame)).count();
    Sight {
        folded: 0..libc,
        application: frames
            .iter()
            .position(|frame| !frame.system && !frame.is_nameless_jit()),
    }
}

/// The C library in its parts, and the dynamic linker.
fn is_libc(frame: &Frame) -> bool {
    const LIBC: [&str; 8] = [
        "libc.so",
        "libc-",
        "libpthread",
        "libresolv",
        "libnss_",
        "ld-linux",
        "ld-musl",
        "libc.musl",
    ];
    let name = frame.module.as_deref().map(file_name).unwrap_or_default();
    LIBC.iter().any(|library| name.starts_with(library))
        || name == "[vdso]"
        || frame.function.as_deref().is_some_and(is_libc_function)
}

/// Functions of the C library that lie within a program that was linked
/// statically: those through which sockets are got and read, and those that
/// lead to `main` and to a thread's function.
fn is_libc_function(function: &str) -> bool {
    const NAMES: [&str; 21] = [
        "accept",
        "accept4",
        "clone",
        "clone3",
        "connect",
        "pread64",
        "read",
        "readv",
        "recv",
        "recvfrom",
        "recvmmsg",
        "recvmsg",
        "send",
        "sendfile",
        "sendmsg",
        "sendto",
        "splice",
        "start_thread",
        "syscall",
        "_start",
        "write",
    ];
    const PREFIXES: [&str; 3] = ["libc_", "GI_", "syscall_cancel"];
    let name = function.trim_start_matches('_');
    NAMES.contains(&function)
        || function.starts_with("__")
            && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether a frame is the system's or a runtime's.
pub(super) fn is_system(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let function = frame.function.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    is_system_library(module)
        || is_interpreter(file_name(module))
        || is_libc_function(function)
        || is_rust_runtime(function, file)
        || is_go_file(file) && is_go_standard(function)
        || frame.jit && (is_java_runtime(function) || is_node_runtime(function))
        || file.ends_with(".py") && file.contains("/lib/python3")
}

/// A shared library that the distribution has installed, or one of Python's own
/// modules. (Programs lie below `/usr/lib` too, as those of a database.)
fn is_system_library(module: &str) -> bool {
    const DIRECTORIES: [&str; 5] = [
        "/lib/",
        "/lib64/",
        "/usr/lib/",
        "/usr/lib64/",
        "/usr/local/lib/",
    ];
    file_name(module).contains(".so")
        && (module.contains("/lib-dynload/")
            || DIRECTORIES
                .iter()
                .any(|directory| module.starts_with(directory)))
}

/// The program of an interpreter: it runs the application, and is not it.
fn is_interpreter(name: &str) -> bool {
    const EXACT: [&str; 4] = ["node", "nodejs", "java", "perl"];
    const PREFIXES: [&str; 7] = [
        "python3",
        "python2",
        "libpython",
        "ruby",
        "libruby",
        "php",
        "libjvm.so",
    ];
    EXACT.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Rust's standard library, of which every program has a copy.
fn is_rust_runtime(function: &str, file: &str) -> bool {
    let path = function.trim_start_matches(['<', '&']);
    let inside = ["std::", "core::", "alloc::"]
        .iter()
        .any(|root| path.starts_with(root));
    inside || file.starts_with("/rustc/") && file.contains("/library/")
}

/// Of the language, or its runtime's assembly.
fn is_go_file(file: &str) -> bool {
    file.ends_with(".go") || file.ends_with(".s") && file.contains("/src/")
}

/// Go's standard library, by the first part of the package's path: whatever
/// else is imported has a host name there, and a program's own is `main`.
fn is_go_standard(function: &str) -> bool {
    const PACKAGES: [&str; 29] = [
        "bufio", "bytes", "compress", "context", "crypto", "database", "encoding", "errors",
        "expvar", "fmt", "hash", "html", "internal", "io", "log", "mime", "net", "os", "plugin",
        "reflect", "runtime", "sort", "strings", "sync", "syscall", "testing", "text", "time",
        "vendor",
    ];
    let package = function.split(['/', '.']).next().unwrap_or_default();
    PACKAGES.contains(&package)
}

/// A method of Java's own library, as `RESULT PACKAGE.CLASS.METHOD(PARAMETERS)`
/// in a perf map, or code that its virtual machine has made for itself.
fn is_java_runtime(function: &str) -> bool {
    const PACKAGES: [&str; 5] = ["java.", "javax.", "jdk.", "sun.", "com.sun."];
    const OWN: [&str; 4] = ["Interpreter", "StubRoutines", "I2C/C2I", "vtable stub"];
    let method = function.split('(').next().unwrap_or_default();
    let method = method.rsplit(' ').next().unwrap_or_default();
    PACKAGES.iter().any(|package| method.starts_with(package))
        || OWN.iter().any(|own| function.starts_with(own))
}

/// A function of Node's own modules, as `JS:~connect node:net:1326:73` in a perf
/// map.
fn is_node_runtime(function: &str) -> bool {
    function.contains(" node:")
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(module: &str, function: &str, file: &str) -> Frame {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut frame = Frame {
            module: some(module),
            function: some(function),
            file: some(file),
            ..Frame::default()
        };
        frame.system = is_system(&frame);
        frame
    }

    #[test]
    fn leading_frames_of_the_c_library_are_folded_and_the_applications_first_is_found() {
        let stack = [
            frame("/usr/lib/x86_64-linux-gnu/libc.so.6", "__libc_connect", ""),
            frame("/usr/bin/shop", "std::net::tcp::TcpStream::connect", ""),
            frame("/usr/bin/shop", "shop::pool::get", "src/pool.rs"),
            frame("/usr/lib/x86_64-linux-gnu/libc.so.6", "start_thread", ""),
        ];
        let seen = sight(&stack);
        assert_eq!((seen.folded, seen.application), (0..1, Some(2)));
    }

    #[test]
    fn a_stack_of_an_interpreter_alone_has_no_frame_of_the_application() {
        let stack = [
            frame("/lib/x86_64-linux-gnu/libc.so.6", "connect", ""),
            frame("/usr/bin/python3.11", "_PyEval_EvalFrameDefault", ""),
        ];
        assert_eq!(sight(&stack).application, None);
        assert_eq!(sight(&[]).application, None);
        let made = Frame {
            jit: true,
            ..Frame::default()
        };
        assert_eq!(sight(&[stack[0].clone(), made]).application, None);
    }

    #[test]
    fn the_c_library_within_a_static_program_is_known_by_its_names() {
        let stack = [
            frame("/app/shop", "__libc_connect", ""),
            frame("/app/shop", "connection_connect", ""),
            frame("/app/shop", "main", ""),
            frame("/app/shop", "__libc_start_main", ""),
            frame("/app/shop", "_start", ""),
        ];
        let seen = sight(&stack);
        assert_eq!((seen.folded, seen.application), (0..1, Some(1)));
        assert!(stack[3].system && stack[4].system && !stack[2].system);
    }

    #[test]
    fn javas_and_nodes_own_functions_are_the_systems_and_those_of_others_are_not() {
        let is = |function: &str| {
            is_system(&Frame {
                jit: true,
                ..frame("", function, "")
            })
        };
        assert!(is("java.net.Socket java.net.ServerSocket.accept()"));
        assert!(is("int sun.nio.ch.Net.accept(java.io.FileDescriptor)"));
        assert!(is("StubRoutines (1)") && is("Interpreter"));
        assert!(!is(
            "java.net.Socket com.example.Shop.take(java.net.ServerSocket)"
        ));
        assert!(is(
            "JS:~processTicksAndRejections node:internal/process/task_queues:67:35"
        ));
        assert!(!is("JS:~borrow /srv/shop.js:4:16"));
        assert!(!is("py::handle") && !is("LazyCompile:~sun.js 9:1"));
    }

    #[test]
    fn whose_a_frame_is() {
        let system = [
            frame("/usr/lib/jvm/17/lib/server/libjvm.so", "Unsafe_Park", ""),
            frame(
                "/app/x",
                "<alloc::boxed::Box<F> as core::ops::FnOnce>::call_once",
                "",
            ),
            frame("/app/x", "read", "/rustc/abc/library/std/src/io.rs"),
            frame(
                "/app/g",
                "net/http.(*Transport).dial",
                "/usr/local/go/src/net/http/t.go",
            ),
            frame(
                "/app/g",
                "runtime.goexit",
                "/usr/lib/go/src/runtime/asm_amd64.s",
            ),
            frame(
                "/opt/py/lib/python3.12/lib-dynload/_socket.so",
                "sock_connect",
                "",
            ),
            frame("", "create_connection", "/usr/lib/python3.12/socket.py"),
        ];
        let applications = [
            frame("/usr/lib/postgresql/15/bin/postgres", "ServerLoop", ""),
            frame("/opt/shop/libshop.so", "pool_get", ""),
            frame("/app/g", "main.(*Pool).Get", "/src/pool.go"),
            frame("/app/g", "github.com/x/y.Get", "/src/y.go"),
            frame("/app/c", "net_connect", "net.c"),
            frame("", "handle", "/app/server.py"),
            frame("", "", ""),
        ];
        for frame in system {
            assert!(frame.system, "{frame:?}");
        }
        for frame in applications {
            assert!(!frame.system, "{frame:?}");
        }
    }
}
