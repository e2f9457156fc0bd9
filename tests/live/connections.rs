//! Who ended a connection, and how: one line of `trace --connections` for each
//! end of it, on every kernel the same words.
//!
//! A kernel that gives no reasons for its resets has them derived; what is
//! expected here does not depend on the kernel, and where a hook is missing the
//! start line says so.

mod attempts;
mod expected;
mod explained;
mod killed;
mod orderly;
mod orphans;
mod programs;
mod resets;
mod timeouts;

use std::{collections::BTreeMap, net::IpAddr};

use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    clock::wait_for,
    lines::Start,
    net::Side,
    ns::Netns,
    tool::{Tool, tcpstate},
};
use expected::Expected;

/// One line of `"type":"connection"`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Connection {
    conn: String,
    netns: u64,
    family: String,
    laddr: Option<IpAddr>,
    lport: Option<u16>,
    raddr: Option<IpAddr>,
    rport: Option<u16>,
    opened_by: String,
    pid: Option<u32>,
    comm: Option<String>,
    lifetime_ns: Option<u64>,
    states: BTreeMap<String, Option<u64>>,
    bytes_in: Option<u64>,
    bytes_out: Option<u64>,
    retransmits: Option<u64>,
    role: String,
    end: String,
    reset_reason: Option<String>,
    closed_by: Option<Closer>,
    message: String,
}

/// Who closed first, where that was somebody on this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Closer {
    pid: Option<u32>,
    comm: Option<String>,
    call: String,
    /// Whose process it is: `this` end's, or the `other`'s.
    side: String,
}

/// What the line promises, null or not.
const PROMISED: &[&str] = &[
    "conn",
    "netns",
    "family",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "opened_by",
    "pid",
    "comm",
    "lifetime_ns",
    "states",
    "bytes_in",
    "bytes_out",
    "retransmits",
    "role",
    "end",
    "reset_reason",
    "closed_by",
    "message",
];

/// A running `tcpstate trace --connections -o json`.
struct Connections {
    tool: Tool,
    start: Start,
}

impl Connections {
    /// Sees one network namespace.
    fn inside(netns: &Netns) -> Self {
        Self::start(&["--netns", &netns.inode.to_string()])
    }

    /// Starts it, and waits for the start line.
    fn start(more: &[&str]) -> Self {
        let usual = ["trace", "--connections", "-o", "json"];
        let mut tool = Tool::start(&mut tcpstate(&[&usual[..], more].concat()));
        let (start, _) = wait_for("the start line", || {
            let ended = tool.has_ended();
            let text = tool.stdout.text();
            let line = text.split_once('\n').map(|(line, _)| line.to_owned());
            assert!(!ended || line.is_some(), "{}", tool.stderr.text());
            line
        });
        let start = serde_json::from_str(&start).unwrap();
        Self { tool, start }
    }

    /// Waits for the line of one end.
    fn until(&self, side: &Side) -> Connection {
        self.until_one(&format!("the line of {side:?}"), |it| it.is_of(side))
    }

    /// Waits for a line of which this is true.
    fn until_one(&self, what: &str, is: impl Fn(&Connection) -> bool) -> Connection {
        wait_for(what, || {
            let all = connections(&self.tool.stdout.text());
            all.into_iter().find(|it| is(it))
        })
        .0
    }

    /// Waits for the lines of all that is expected, ends it, and judges.
    fn judge(self, expected: &[Expected]) {
        for it in expected {
            self.until(&it.side);
        }
        let accepts = self.start.hooks["accepted"].is_some();
        let lines = self.stop();
        for it in expected {
            let ours: Vec<_> = lines.iter().filter(|line| line.is_of(&it.side)).collect();
            assert_eq!(ours.len(), 1, "one line of {:?}: {ours:#?}", it.side);
            it.assert_is(ours[0], accepts);
        }
    }

    /// Ctrl-C, and every line.
    fn stop(self) -> Vec<Connection> {
        self.tool.signal(Signal::INT);
        let done = self.tool.done();
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let last = done.stdout.lines().last().unwrap();
        let end: Value = serde_json::from_str(last).unwrap();
        assert_eq!(end["type"], "end", "{last}");
        assert_eq!(end["undecodable"], 0, "{last}");
        connections(&done.stdout)
    }
}

impl Connection {
    fn is_of(&self, side: &Side) -> bool {
        self.netns == side.netns
            && (self.laddr, self.lport) == (Some(side.local.ip()), Some(side.local.port()))
            && (self.raddr, self.rport) == (Some(side.remote.ip()), Some(side.remote.port()))
    }
}

/// The lines of connections in what has been written so far.
fn connections(text: &str) -> Vec<Connection> {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let values = whole.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        let kind = value["type"].as_str().map(str::to_owned);
        (kind, value)
    });
    let ours = values.filter(|(kind, value)| match kind.as_deref() {
        Some("connection") => true,
        Some("start" | "end") => false,
        _ => panic!("no such line was asked for: {value}"),
    });
    ours.map(|(_, value)| read(value)).collect()
}

/// A missing field and a null one are different things to a reader.
fn read(value: Value) -> Connection {
    for field in PROMISED {
        assert!(value.get(field).is_some(), "no field {field}: {value:#}");
    }
    serde_json::from_value(value.clone()).unwrap_or_else(|why| panic!("{why}: {value:#}"))
}

/// Field `hooks` of the start line says which signals have none; a promised
/// field that is missing is an error although it may be null.
#[test]
fn a_line_of_a_connection_without_a_promised_field_is_refused() {
    let line = r#"{"type":"connection","conn":"1-2","netns":1,"family":"ipv4","laddr":null,
        "lport":null,"raddr":null,"rport":null,"opened_by":"unknown","pid":null,"comm":null,
        "lifetime_ns":null,"states":{"ESTABLISHED":5},"bytes_in":null,"bytes_out":null,
        "retransmits":null,"role":"none","end":"killed","reset_reason":null,"closed_by":null,
        "message":"x"}"#;
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(read(value.clone()).states["ESTABLISHED"], Some(5));
    let mut without = value;
    without.as_object_mut().unwrap().remove("closed_by");
    let refused = std::panic::catch_unwind(|| read(without));
    assert!(refused.is_err());
}
