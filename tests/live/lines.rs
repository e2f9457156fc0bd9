//! The JSON lines that the tool promises, checked for what must be there.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;
use serde_json::Value;

/// First line.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Start {
    /// Signal to hook; `None` when nothing gives it.
    pub hooks: BTreeMap<String, Option<String>>,
    /// What this session cannot know.
    pub not_measured: Vec<Value>,
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Transition {
    /// RFC 3339, UTC.
    pub ts: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// The same on every line of one connection.
    pub conn: String,
    /// Inode number.
    pub netns: u64,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// Local address.
    pub laddr: Option<IpAddr>,
    /// Local port.
    pub lport: Option<u16>,
    /// Remote address.
    pub raddr: Option<IpAddr>,
    /// Remote port.
    pub rport: Option<u16>,
    /// State left.
    pub old: String,
    /// State entered.
    pub new: String,
    /// Nanoseconds in `old`.
    pub dwell_ns: Option<u64>,
    /// `exact`, `at_least` or `unknown`.
    pub dwell: String,
    /// `socket`, `minisocket` or `request`.
    pub kind: String,
    /// The origin's process.
    pub pid: Option<u32>,
    /// The origin's name.
    pub comm: Option<String>,
    /// What ended `old`.
    pub cause: Option<String>,
    /// Of a minisocket: how often its timer was started again.
    #[serde(default)]
    pub rearmed: Option<u32>,
    /// Where a reset ended it and the kernel gives a reason.
    #[serde(default)]
    pub reset_reason: Option<Value>,
}

/// Last line.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct End {
    /// Records the kernel side wanted to send; `None` of a recording without
    /// an end, like the two after it.
    pub seen: Option<u64>,
    /// Records that arrived.
    pub delivered: Option<u64>,
    /// Records that did not, by reason.
    pub lost: Option<BTreeMap<String, u64>>,
    /// Arrived, but not records.
    pub undecodable: u64,
    /// Of the delivered ones, transitions.
    pub transitions: u64,
    /// Connections known.
    pub connections: u64,
    /// Events of sockets beyond the most that are remembered.
    pub no_room: u64,
    /// False of a recording without an end.
    pub complete: bool,
}

impl End {
    /// Losses of every kind.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
            .as_ref()
            .expect("a count of losses")
            .values()
            .sum()
    }

    /// Losses of one kind.
    pub(crate) fn lost_by(&self, kind: &str) -> u64 {
        let all = self.lost.as_ref().expect("a count of losses");
        all.get(kind).copied().unwrap_or(0)
    }

    /// What the kernel side wanted to send is what arrived and what did not.
    pub(crate) fn assert_conserved(&self) {
        let arrived = self.delivered.expect("a count of records");
        assert_eq!(self.seen, Some(arrived + self.lost()), "{self:?}");
    }
}

/// Any line.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// `"type":"start"`
    Start(Start),
    /// `"type":"transition"`
    Transition(Box<Transition>),
    /// `"type":"end"`
    End(End),
}

const START: &[&str] = &[
    "schema",
    "version",
    "host",
    "kernel",
    "boot_id",
    "hooks",
    "not_measured",
    "ring_bytes",
    "max_sockets",
];
const TRANSITION: &[&str] = &[
    "ts", "mono_ns", "conn", "netns", "family", "laddr", "lport", "raddr", "rport", "old", "new",
    "dwell_ns", "dwell", "kind", "pid", "comm", "cause",
];
const END: &[&str] = &[
    "seen",
    "delivered",
    "lost",
    "undecodable",
    "connections",
    "no_room",
];

/// Reads one line; the error says what breaks the promise.
pub(crate) fn parse(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
    let kind = value.get("type").and_then(Value::as_str);
    let (promised, make): (_, fn(Value) -> serde_json::Result<Line>) = match kind {
        Some("start") => (START, |value| Ok(Line::Start(Start::deserialize(value)?))),
        Some("transition") => (TRANSITION, |value| {
            Ok(Line::Transition(Box::new(Transition::deserialize(value)?)))
        }),
        Some("end") => (END, |value| Ok(Line::End(End::deserialize(value)?))),
        _ => return Err(format!("unknown type: {text}")),
    };
    // A missing field and a null one are different things to a reader.
    for field in promised {
        if value.get(field).is_none() {
            return Err(format!("no field {field}: {text}"));
        }
    }
    make(value).map_err(|error| format!("{error}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::{Line, parse};

    const LINE: &str = r#"{"type":"transition","ts":"2025-01-02T03:04:05.000000006Z",
        "mono_ns":9,"conn":"a-b","netns":4026531840,"family":"ipv6","laddr":"::ffff:127.0.0.1",
        "lport":80,"raddr":null,"rport":null,"old":"CLOSE","new":"LISTEN","dwell_ns":null,
        "dwell":"unknown","kind":"socket","pid":1,"comm":"x","cause":null}"#;

    #[test]
    fn a_transition_is_read_with_its_unknowns() {
        let Line::Transition(line) = parse(LINE).unwrap() else {
            panic!("not a transition");
        };
        assert_eq!(
            (line.lport, line.rport, line.dwell_ns),
            (Some(80), None, None)
        );
        assert_eq!(line.laddr.unwrap().to_string(), "::ffff:127.0.0.1");
    }

    #[test]
    fn a_promised_field_that_is_missing_is_an_error_although_it_may_be_null() {
        let error = parse(&LINE.replace("\"rport\":null,", "")).unwrap_err();
        assert!(error.starts_with("no field rport"), "{error}");
    }

    #[test]
    fn a_line_of_an_unknown_type_is_an_error() {
        assert!(parse(r#"{"type":"other"}"#).is_err());
        assert!(parse("").is_err());
    }
}
