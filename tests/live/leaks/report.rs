//! A running `tcpstate leaks`, and the reports that it has written.

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    clock::{in_vm, wait_for},
    facts::tell,
    ns::Netns,
    tool::{Done, Tool, tcpstate},
};

/// A running `tcpstate leaks` that sees one network namespace.
pub(super) struct Leaks(pub(super) Tool);

impl Leaks {
    pub(super) fn start(inside: &Netns, more: &[&str]) -> Self {
        let netns = inside.inode.to_string();
        let usual = ["leaks", "-o", "json", "--netns", &netns, "-i", "200ms"];
        let mut tool = Tool::start(&mut tcpstate(&[&usual[..], more].concat()));
        wait_for("the start line", || {
            assert!(!tool.has_ended(), "{}", tool.stderr.text());
            let text = tool.stdout.text();
            text.starts_with("{\"type\":\"start\"").then_some(())
        });
        Self(tool)
    }

    /// What the start line says of each signal: its hook, or null.
    pub(super) fn hooks(&self) -> Value {
        let start = lines(&self.0.stdout.text(), "start").remove(0);
        start["hooks"].clone()
    }

    /// Waits for a report with `count` suspects of this class; gives their group.
    pub(super) fn until(&mut self, class: &str, count: u64) -> Value {
        let (group, _) = wait_for(&format!("{count} of {class}"), || {
            assert!(!self.0.has_ended(), "{}", self.0.stderr.text());
            let all = groups(&self.0.stdout.text());
            let mut found = all.into_iter().rev();
            found.find(|it| it["class"] == class && it["count"] == count)
        });
        group
    }

    /// Whether the first report with `count` suspects of this class came within 15 s
    /// of the least age; for emulation no such promise is made.
    pub(super) fn assert_prompt(&self, class: &str, count: u64) {
        const LATEST: u64 = 15_100_000_000;
        let all = groups(&self.0.stdout.text());
        let mut found = all.iter();
        let first = found.find(|it| it["class"] == class && it["count"] == count);
        let oldest = first.and_then(|it| it["oldest_ns"].as_u64()).unwrap();
        assert!(in_vm() || oldest < LATEST, "{first:#?}");
    }

    /// Waits for a report, from now on, of which this is true.
    pub(super) fn until_summary(&mut self, what: &str, is: impl Fn(&Value) -> bool) {
        let before = self.0.stdout.text().len();
        wait_for(what, || {
            assert!(!self.0.has_ended(), "{}", self.0.stderr.text());
            let text = self.0.stdout.text();
            let later = lines(&text[before..], "leaks");
            later.iter().any(&is).then_some(())
        });
    }

    pub(super) fn stop(self) -> (Vec<Value>, Done) {
        self.0.signal(Signal::INT);
        let done = self.0.done();
        // Preemption, which an emulated kernel has, keeps a program without a copy
        // from running now and then; what it costs is said, and judged all the same.
        let end = lines(&done.stdout, "end").pop().unwrap();
        let lost = end["lost"].as_object().unwrap();
        if in_vm() && lost.keys().eq(["recursion"]) {
            tell("kept away", "leaks", &end["lost"]);
        } else {
            assert_eq!(done.code, Some(0), "{}", done.stderr);
        }
        let all = groups(&done.stdout).into_iter();
        let last = all.filter(|it| it["final"] == true).collect();
        (last, done)
    }
}

pub(super) fn groups(text: &str) -> Vec<Value> {
    lines(text, "leak")
}

/// The whole lines of this type; a part of a line at the begin is no line.
pub(super) fn lines(text: &str, r#type: &str) -> Vec<Value> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let begun = whole.lines().filter(|line| line.starts_with("{\"type\":"));
    let lines = begun.map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["type"] == r#type)
        .collect()
}
