//! The guest's console, line by line, and what its marked lines mean.
//!
//! Pure: the time and the machine are the caller's.

/// What `tests/vm/init` begins its own lines with.
const MARK: &str = "tcpstate-vm: ";

/// The last line of a panic's report.
const PANIC: &str = "end Kernel panic";

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// The guest's programs run now; what goes wrong from here on is not the
    /// emulator's failure to boot.
    Booted,
    /// The tests ended with this status.
    Exit(i32),
    /// The kernel has complained of itself.
    Splat(&'a str),
    /// What a test has established, for the table of kernels.
    Fact(&'a str),
    Panic,
    /// Anything else: for the reader.
    Text(&'a str),
}

pub(crate) fn read(line: &str) -> Line<'_> {
    if line.contains(PANIC) {
        return Line::Panic;
    }
    let Some(marked) = line.strip_prefix(MARK) else {
        return Line::Text(line);
    };
    match marked.split_once(' ').unwrap_or((marked, "")) {
        ("booted", _) => Line::Booted,
        ("exit", status) => status.parse().map_or(Line::Text(line), Line::Exit),
        ("splat", text) => Line::Splat(text),
        ("fact", text) => Line::Fact(text),
        _ => Line::Text(marked),
    }
}

/// Whether the kernel says this line: its own begin with the time since the boot.
pub(crate) fn is_kernels(line: &str) -> bool {
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    time.is_some_and(|(seconds, _)| seconds.trim().parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_lines_decide() {
        assert_eq!(read("tcpstate-vm: booted"), Line::Booted);
        assert_eq!(read("tcpstate-vm: exit 101"), Line::Exit(101));
        assert_eq!(
            read("tcpstate-vm: splat WARNING: CPU: 0"),
            Line::Splat("WARNING: CPU: 0")
        );
        assert_eq!(
            read("tcpstate-vm: fact hook\taccepted\tfexit inet_csk_accept"),
            Line::Fact("hook\taccepted\tfexit inet_csk_accept")
        );
        assert_eq!(read("exit 0"), Line::Text("exit 0"));
        assert_eq!(
            read("tcpstate-vm: exit soon"),
            Line::Text("tcpstate-vm: exit soon")
        );
    }

    #[test]
    fn the_kernel_speaks_with_the_time() {
        assert!(is_kernels(
            "[  152.529106] watchdog: BUG: soft lockup - CPU#0"
        ));
        assert!(!is_kernels("test leaks::many ... ok"));
        assert!(!is_kernels("[ok] 3.5"));
        assert!(!is_kernels(""));
    }

    #[test]
    fn a_panic_is_known_by_its_last_line() {
        let line = "[    1.2] ---[ end Kernel panic - not syncing: VFS ]---";
        assert_eq!(read(line), Line::Panic);
    }
}
