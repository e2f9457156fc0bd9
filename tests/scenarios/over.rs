//! Connections that are over, in the language of the scenarios.

use std::collections::BTreeMap;

use tcpstate::{
    connection::{Connection, Connections, Told, message},
    track::{Dwell, Limits},
};

use crate::answer::{by, time};

/// With the reasons of Linux 6.12.
pub(crate) fn connections(told: Told) -> Connections {
    let reasons = [
        (1, "NO_SOCKET"),
        (2, "TCP_INVALID_ACK_SEQUENCE"),
        (8, "TCP_ABORT_ON_DATA"),
        (9, "TCP_TIMEWAIT_SOCKET"),
        (11, "TCP_ABORT_ON_CLOSE"),
        (12, "TCP_ABORT_ON_LINGER"),
        (13, "TCP_ABORT_ON_MEMORY"),
        (14, "TCP_STATE"),
        (15, "TCP_KEEPALIVE_TIMEOUT"),
        (16, "TCP_DISCONNECT_WITH_DATA"),
    ];
    let reasons: BTreeMap<u32, String> = reasons
        .into_iter()
        .map(|(number, name)| (number, name.to_owned()))
        .collect();
    Connections::new(told, reasons, Limits::default().max_sockets)
}

/// Two lines: the facts, and the sentence.
pub(crate) fn line(conn: &str, it: &Connection) -> String {
    let role = it.role.name();
    let mut facts = vec![
        it.opened.name().to_owned(),
        role.to_owned(),
        it.end.name().to_owned(),
    ];
    facts.extend(it.reset_reason.map(|reason| format!("({})", reason.name())));
    facts.extend(it.kernel_reason.map(|number| format!("reason={number}")));
    facts.extend(it.process.map(|process| format!("by={}", by(&process))));
    facts.extend(it.closed_by.map(|closer| {
        let side = if it.closer_is_peer { "other " } else { "" };
        let (who, call) = (by(&closer.process), closer.call.name());
        format!("closed={side}{who}/{call}")
    }));
    let totals = it.totals.unwrap_or_default();
    facts.extend(totals.bytes_in.map(|bytes| format!("in={bytes}")));
    facts.extend(totals.bytes_out.map(|bytes| format!("out={bytes}")));
    facts.extend(totals.retransmits.map(|count| format!("again={count}")));
    facts.extend(it.gone.map(|cause| format!("gone={}", cause.name())));
    let states = it
        .states
        .iter()
        .map(|(state, stay)| format!("{} {}", state.name(), dwell(stay)));
    format!(
        "> {} {conn} {} | {} | {}\n>   {}\n",
        time(it.at.0),
        facts.join(" "),
        dwell(it.lifetime),
        states.collect::<Vec<_>>().join(", "),
        message(it)
    )
}

fn dwell(dwell: Dwell) -> String {
    match dwell {
        Dwell::Exact(ns) => time(ns),
        Dwell::AtLeast(ns) => format!(">={}", time(ns)),
        Dwell::Unknown => "?".to_owned(),
    }
}
