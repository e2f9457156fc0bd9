//! A leak in compiled Java, whose functions are named once the virtual machine
//! has been told to write a map.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use super::{Leaks, functions, groups, visit};
use crate::{clock::wait_for, facts::lacks, ns::Netns, process::output, zoo::Leaking};

const PACKAGE: &str = "default-jre-headless";

/// Debian's runtime has compiler and `jcmd` as modules; only their commands are
/// the development kit's.
fn tool(module: &str, arguments: &[&str]) {
    output("java", PACKAGE, &[&["-m", module], arguments].concat());
}

pub(super) fn compile(source: &Path, classes: &Path, library: &Path) {
    let [source, classes, library] = [source, classes, library].map(|it| it.to_str().unwrap());
    let compiler = "jdk.compiler/com.sun.tools.javac.Main";
    tool(compiler, &["-cp", library, "-d", classes, source]);
}

/// Compiled before it runs first, each function for itself, with frame pointers.
fn program(classes: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xcomp", "-XX:TieredStopAtLevel=1"]);
    java.args([
        "-XX:CompileCommand=quiet",
        "-XX:CompileCommand=dontinline,Leak::*",
    ]);
    java.arg("-XX:+PreserveFramePointer");
    java.arg("-cp").arg(classes).arg("Leak");
    java
}

/// Whether these methods are in a stack, innermost first.
fn has_in_order(stack: &Value, methods: &[&str]) -> bool {
    if stack.is_null() {
        // Of what had not been accepted yet.
        return false;
    }
    let names = functions(stack);
    let mut rest = names.iter();
    let is = |name: &str, method: &str| name.contains(&format!(" {method}("));
    methods.iter().all(|it| rest.any(|name| is(name, it)))
}

#[test]
fn compiled_java_has_an_advice_and_with_its_map_the_names_of_its_methods() {
    if lacks("java") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo");
    compile(&zoo.join("Leak.java"), directory.path(), directory.path());
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let server = inside.enter(|| {
        let server = Leaking::told(&mut program(directory.path()), PACKAGE);
        visit(&server, 3, b"request");
        server
    });
    let group = leaks.until("never_closed", 3);
    assert_eq!(group["pid"], server.pid(), "{group:#}");
    let stack = group["origin"]["stack"].as_array().unwrap();
    assert!(stack.iter().any(|it| it["jit"] == true), "{group:#}");
    let pid = server.pid().to_string();
    let advice = group["advice"].as_str().unwrap();
    assert!(
        advice.contains(&format!("jcmd {pid} Compiler.perfmap")),
        "{advice}"
    );
    tool("jdk.jcmd/sun.tools.jcmd.JCmd", &[&pid, "Compiler.perfmap"]);
    let (named, _) = wait_for("names", || {
        let told = groups(&leaks.0.stdout.text()).into_iter().rev();
        let methods = ["Leak.takeOrder", "Leak.serve", "Leak.main"];
        let mut named = told.filter(|it| has_in_order(&it["origin"]["stack"], &methods));
        named.next()
    });
    assert_eq!(named["count"], 3, "{named:#}");
    // It was started with frame pointers: nothing is left to advise.
    assert_eq!(named["advice"], Value::Null, "{named:#}");
    let outermost = functions(&named["origin"]["stack"]).pop();
    assert_eq!(outermost.as_deref(), Some("clone3"), "{named:#}");
    let application = named["origin"]["application"].as_u64().unwrap();
    let first = &named["origin"]["stack"][usize::try_from(application).unwrap()];
    let first = first["function"].as_str().unwrap();
    assert!(first.contains("Leak.takeOrder"), "{named:#}");
    leaks.stop();
    fs::remove_file(format!("/tmp/perf-{pid}.map")).unwrap();
}
