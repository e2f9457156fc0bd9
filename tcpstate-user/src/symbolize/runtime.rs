//! Runtimes that make code while a program runs, and what to tell them so that
//! its stacks have names.
//!
//! Nothing here asks a program for anything: whoever reads the report may.

use super::Frame;
use crate::unwind::End;

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    /// A Java virtual machine: `OpenJDK` and what is made of it.
    Java,
    /// Node.js.
    Node,
}

impl Runtime {
    /// That of a process with these mappings (`/proc/PID/maps`). Other programs
    /// than `node` have its engine in them too; they know no such switch.
    pub(super) fn among(maps: &[u8]) -> Option<Self> {
        let mut lines = maps.split(|byte| *byte == b'\n');
        lines.find_map(|line| {
            let name = line.rsplit(|byte| *byte == b'/').next()?;
            match name {
                b"libjvm.so" => Some(Self::Java),
                b"node" | b"nodejs" => Some(Self::Node),
                _ => None,
            }
        })
    }

    /// What would name the code that it makes, and lead through it.
    fn advice(self, pid: u32) -> String {
        match self {
            Self::Java => format!(
                "Java: `jcmd {pid} Compiler.perfmap` (JDK 17 or later) names compiled code; \
                 -XX:+PreserveFramePointer at the program's start lets a stack be followed through it"
            ),
            Self::Node => "Node.js: --perf-basic-prof at the program's start names compiled code, \
                           with --interpreted-frames-native-stack all code"
                .to_owned(),
        }
    }
}

/// What would make a stack say more, when a runtime is in the way; `runtime` is
/// that of the process in which its code without a file is, with its id.
pub(super) fn advice(
    frames: &[Frame],
    end: End,
    runtime: Option<(Runtime, u32)>,
) -> Option<String> {
    let nameless = frames.iter().any(|it| it.jit && it.function.is_none());
    if nameless || end == End::Jit {
        let (runtime, pid) = runtime?;
        return Some(runtime.advice(pid));
    }
    let silent = frames.iter().any(is_python) && !frames.iter().any(|it| it.jit);
    silent.then(|| {
        "Python: -X perf at the program's start (Python 3.12 or later) makes its functions frames"
            .to_owned()
    })
}

/// A frame of the interpreter, as a program or as a library of one.
fn is_python(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let name = module.rsplit('/').next().unwrap_or(module);
    ["python3", "libpython3"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(module: &str, function: Option<&str>, jit: bool) -> Frame {
        Frame {
            module: Some(module.to_owned()),
            function: function.map(str::to_owned),
            jit,
            ..Frame::default()
        }
    }

    #[test]
    fn a_runtime_is_known_by_what_it_has_mapped() {
        let java = b"7f00-7f01 r-xp 00000000 08:01 77   /usr/lib/jvm/17/lib/server/libjvm.so\n";
        let node = b"0040-0050 r-xp 00000000 08:01 77   /usr/bin/node\n7f00-7f01 r-xp 0 0:0 0\n";
        let other = b"0040-0050 r-xp 00000000 08:01 77   /opt/libjvm.so.bak\n\n/\n";
        assert_eq!(Runtime::among(java), Some(Runtime::Java));
        assert_eq!(Runtime::among(node), Some(Runtime::Node));
        assert_eq!(Runtime::among(other), None);
    }

    #[test]
    fn who_has_code_without_names_is_told_the_switches() {
        let stack = [
            frame("/lib/libc.so.6", Some("connect"), false),
            frame("", None, true),
        ];
        let java = advice(&stack, End::Root, Some((Runtime::Java, 77))).unwrap();
        assert!(java.contains("jcmd 77 Compiler.perfmap"), "{java}");
        assert!(java.contains("-XX:+PreserveFramePointer"), "{java}");
        let node = advice(&stack, End::Root, Some((Runtime::Node, 77))).unwrap();
        assert!(node.contains("--perf-basic-prof"), "{node}");
        assert_eq!(advice(&stack, End::Root, None), None);
    }

    #[test]
    fn a_stack_with_names_to_its_root_needs_no_advice() {
        let named = [frame("", Some("int Shop.order()"), true)];
        let java = Some((Runtime::Java, 77));
        assert_eq!(advice(&named, End::Root, java), None);
        assert!(advice(&named, End::Jit, java).is_some());
        let native = [frame("/usr/bin/shop", Some("main"), false)];
        assert_eq!(advice(&native, End::Root, None), None);
    }

    #[test]
    fn python_says_what_it_runs_only_when_told_to() {
        let inner = frame(
            "/usr/bin/python3.12",
            Some("_PyEval_EvalFrameDefault"),
            false,
        );
        let advised = advice(&[inner.clone()], End::Root, None).unwrap();
        assert!(advised.contains("-X perf"), "{advised}");
        let told = [inner, frame("", Some("handle"), true)];
        assert_eq!(advice(&told, End::Root, None), None);
    }
}
