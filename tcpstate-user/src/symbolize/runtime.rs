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
    Java {
        /// It was started so that compiled code keeps frame pointers.
        frame_pointers: bool,
    },
    /// Node.js.
    Node,
}

impl Runtime {
    /// That of a process with these mappings (`/proc/PID/maps`) and this command
    /// line. Other programs than `node` have its engine in them too; they know no
    /// such switch.
    pub(super) fn of(maps: &[u8], cmdline: &[u8]) -> Option<Self> {
        const SWITCH: &[u8] = b"-XX:+PreserveFramePointer";
        let mut words = cmdline.split(|byte| *byte == 0);
        let mut lines = maps.split(|byte| *byte == b'\n');
        lines.find_map(|line| {
            let name = line.rsplit(|byte| *byte == b'/').next()?;
            match name {
                b"libjvm.so" => Some(Self::Java {
                    frame_pointers: words.any(|word| word == SWITCH),
                }),
                b"node" | b"nodejs" => Some(Self::Node),
                _ => None,
            }
        })
    }

    /// What would name the code that it makes, and lead through it; `nameless`
    /// is whether there is code without a name.
    fn advice(self, pid: u32, nameless: bool) -> Option<String> {
        let names = format!("`jcmd {pid} Compiler.perfmap` (JDK 17 or later) names compiled code");
        let frames = "-XX:+PreserveFramePointer at the program's start lets a stack be followed \
                      through it";
        let node = "--perf-basic-prof at the program's start names compiled code, with \
                    --interpreted-frames-native-stack all code";
        match (self, nameless) {
            (Self::Java { frame_pointers }, true) if frame_pointers => {
                Some(format!("Java: {names}"))
            }
            (Self::Java { .. }, true) => Some(format!("Java: {names}; {frames}")),
            (Self::Java { frame_pointers }, false) => {
                (!frame_pointers).then(|| format!("Java: {frames}"))
            }
            (Self::Node, true) => Some(format!("Node.js: {node}")),
            (Self::Node, false) => None,
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
    let nameless = frames.iter().any(Frame::is_nameless_jit);
    if nameless || end == End::Jit {
        let (runtime, pid) = runtime?;
        return runtime.advice(pid, nameless);
    }
    if frames.iter().any(|it| it.jit) {
        return None;
    }
    if frames.iter().any(is_node) {
        return Runtime::Node.advice(0, true);
    }
    frames.iter().any(is_python).then(|| {
        "Python: -X perf at the program's start (Python 3.12 or later) makes its functions frames"
            .to_owned()
    })
}

/// A frame of Node's interpreter: it looks the same for every function.
fn is_node(frame: &Frame) -> bool {
    let function = frame.function.as_deref().unwrap_or_default();
    function.ends_with("_InterpreterEntryTrampoline")
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

    const fn java(frame_pointers: bool) -> Option<(Runtime, u32)> {
        Some((Runtime::Java { frame_pointers }, 77))
    }

    #[test]
    fn a_runtime_is_known_by_what_it_has_mapped() {
        let java = b"7f00-7f01 r-xp 00000000 08:01 77   /usr/lib/jvm/17/lib/server/libjvm.so\n";
        let node = b"0040-0050 r-xp 00000000 08:01 77   /usr/bin/node\n7f00-7f01 r-xp 0 0:0 0\n";
        let other = b"0040-0050 r-xp 00000000 08:01 77   /opt/libjvm.so.bak\n\n/\n";
        for (cmdline, frame_pointers) in [
            (&b"java\0-XX:+PreserveFramePointer\0Shop\0"[..], true),
            (b"java\0Shop\0", false),
            (b"", false),
        ] {
            let of = Runtime::of(java, cmdline);
            assert_eq!(of, Some(Runtime::Java { frame_pointers }));
        }
        assert_eq!(Runtime::of(node, b"node\0"), Some(Runtime::Node));
        assert_eq!(Runtime::of(other, b""), None);
    }

    #[test]
    fn who_has_code_without_names_is_told_the_switches() {
        let stack = [
            frame("/lib/libc.so.6", Some("connect"), false),
            frame("", None, true),
        ];
        let stock = advice(&stack, End::Root, java(false)).unwrap();
        assert!(stock.contains("jcmd 77 Compiler.perfmap"), "{stock}");
        assert!(stock.contains("-XX:+PreserveFramePointer"), "{stock}");
        let kept = advice(&stack, End::Jit, java(true)).unwrap();
        assert!(!kept.contains("-XX:+PreserveFramePointer"), "{kept}");
        let node = advice(&stack, End::Root, Some((Runtime::Node, 77))).unwrap();
        assert!(node.contains("--perf-basic-prof"), "{node}");
        assert_eq!(advice(&stack, End::Root, None), None);
    }

    #[test]
    fn names_alone_need_no_advice_where_frames_cannot_be_missing() {
        let named = [frame("", Some("int Shop.order()"), true)];
        assert_eq!(advice(&named, End::Jit, java(true)), None);
        let stock = advice(&named, End::Jit, java(false)).unwrap();
        assert!(!stock.contains("jcmd"), "{stock}");
        let native = [frame("/usr/bin/shop", Some("main"), false)];
        assert_eq!(advice(&native, End::Root, None), None);
    }

    #[test]
    fn node_interprets_before_it_compiles() {
        let inner = frame(
            "/usr/bin/node",
            Some("Builtins_InterpreterEntryTrampoline"),
            false,
        );
        let advised = advice(&[inner], End::Root, None).unwrap();
        assert!(
            advised.contains("--interpreted-frames-native-stack"),
            "{advised}"
        );
        let loops = [frame("/usr/bin/node", Some("uv__io_poll"), false)];
        assert_eq!(advice(&loops, End::Root, None), None);
    }

    #[test]
    fn python_says_what_it_runs_only_when_told_to() {
        let inner = frame(
            "/usr/bin/python3.12",
            Some("_PyEval_EvalFrameDefault"),
            false,
        );
        let advised = advice(std::slice::from_ref(&inner), End::Root, None).unwrap();
        assert!(advised.contains("-X perf"), "{advised}");
        let told = [inner, frame("", Some("handle"), true)];
        assert_eq!(advice(&told, End::Root, None), None);
    }
}
