//! Reports of a running `tcpstate ports`.

use std::net::SocketAddr;

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    clock::wait_for,
    lines::{Line, parse},
    ns::Netns,
    tool::{Tool, tcpstate},
};

/// One that runs, over one namespace.
pub(super) struct Reports {
    tool: Tool,
}

impl Reports {
    /// Starts it and waits for its start line.
    pub(super) fn start(inside: &Netns, arguments: &[&str]) -> Self {
        let netns = inside.inode.to_string();
        let all = [&["ports", "-o", "json", "--netns", &netns], arguments].concat();
        let mut tool = Tool::start(&mut tcpstate(&all));
        wait_for("the start line", || {
            assert!(!tool.has_ended(), "{}", tool.stderr.text());
            let text = tool.stdout.text();
            text.starts_with("{\"type\":\"start\"").then_some(())
        });
        Self { tool }
    }

    /// All lines so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        told(&self.tool.stdout.text())
    }

    /// The lines of the newest report.
    pub(super) fn newest(&self) -> Vec<Value> {
        let mut lines = self.lines();
        let last = lines.iter().rposition(|line| line["what"] == "host");
        lines.truncate(last.map_or(0, |last| last + 1));
        let ts = lines.last().map(|line| line["ts"].clone());
        lines.retain(|line| Some(&line["ts"]) == ts.as_ref());
        lines
    }

    /// Waits for a line in a newest report.
    pub(super) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, || self.newest().into_iter().find(|line| is(line))).0
    }

    /// As [`Self::until`], of the tuple space towards `remote`.
    pub(super) fn until_space(
        &self,
        what: &str,
        remote: SocketAddr,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        self.until(what, |line| is_towards(line, remote) && is(line))
    }

    /// The line of the namespace in the newest report.
    pub(super) fn namespace(&self) -> Value {
        self.until("the namespace", |line| line["what"] == "namespace")
    }

    /// Ends it; gives the last report's lines.
    pub(super) fn stop(self) -> Vec<Value> {
        self.tool.signal(Signal::INT);
        let done = self.tool.done();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let Ok(Line::End(end)) = parse(done.stdout.lines().last().unwrap()) else {
            panic!("no end line: {}", done.stdout);
        };
        end.assert_conserved();
        let mut lines = told(&done.stdout);
        lines.retain(|line| line["final"] == true);
        assert_eq!(lines.last().unwrap()["what"], "host");
        lines
    }
}

/// Whether a line is of the tuple space towards `remote`.
pub(super) fn is_towards(line: &Value, remote: SocketAddr) -> bool {
    line["what"] == "space"
        && line["raddr"] == remote.ip().to_string()
        && line["rport"] == remote.port()
}

/// The lines of `ports` in what has been written.
pub(super) fn told(text: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == "ports")
        .collect()
}
