//! What the tracker answers to a scenario, in the scenario's language.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tcpstate::{
    connection::Connections,
    decode::{Family, SockAddr64, SocketKind},
    track::{Change, ConnId, Dwell, Follows, Limits, Process, Tracker},
};
use tcpstate_common::record::Tuple;

use crate::over;
use crate::step::{Names, Step, name, parse};

/// A scenario with the answers that the tracker really gives.
pub(crate) struct Transcript {
    tracker: Tracker,
    limits: Limits,
    follows: Follows,
    names: Names,
    conns: Vec<ConnId>,
    connections: Option<Connections>,
    text: String,
}

impl Transcript {
    pub(crate) fn of(name: &str, scenario: &str) -> String {
        let mut transcript = Self {
            tracker: Tracker::new(Limits::default(), Follows::default()),
            limits: Limits::default(),
            follows: Follows::default(),
            names: Names::new(),
            conns: Vec::new(),
            connections: None,
            text: String::new(),
        };
        let last = scenario.lines().filter(|line| !line.starts_with('>'));
        let mut finished = false;
        for line in last {
            finished |= line == "finish";
            transcript.take(line);
        }
        assert!(finished, "{name} has no finish");
        transcript.text
    }

    fn take(&mut self, line: &str) {
        let mut out = Vec::new();
        match parse(line, &self.names) {
            Step::Nothing => {}
            Step::Let(name, tuple) => self.names.push((name, tuple)),
            Step::Connections(told) => self.connections = Some(over::connections(told)),
            Step::Max(max_sockets) => self.begin(Limits { max_sockets }, self.follows),
            Step::Follow(follows) => self.begin(self.limits, follows),
            Step::Apply(record) => self.tracker.apply(&record, &mut out),
            Step::Settle(now) => self.tracker.settle(now, &mut out),
            Step::Gap => self.tracker.gap(),
            Step::Finish => self.tracker.finish(&mut out),
            Step::Ask(question) => {
                let answer = format!("{question}: {}", self.answer(&question));
                self.text += answer.trim_end();
                self.text += "\n";
                return;
            }
        }
        self.text += line;
        self.text += "\n";
        if let Some(connections) = &mut self.connections {
            let over: Vec<_> = out.iter().filter_map(|it| connections.change(it)).collect();
            for it in &over {
                let conn = self.conn(it.conn);
                self.text += &over::line(&conn, it);
            }
            return;
        }
        for change in &out {
            let line = self.line(change);
            self.text += &line;
        }
    }

    fn begin(&mut self, limits: Limits, follows: Follows) {
        self.limits = limits;
        self.follows = follows;
        self.tracker = Tracker::new(limits, follows);
    }

    fn answer(&mut self, question: &str) -> String {
        let counters = self.tracker.counters();
        match question {
            "wanted" => {
                let mut wanted: Vec<SockAddr64> = Vec::new();
                self.tracker.wanted(&mut wanted);
                wanted.iter().map(|sk| name(*sk) + " ").collect()
            }
            "doubted" => {
                let mut doubted: Vec<SockAddr64> = Vec::new();
                self.tracker.doubted(&mut doubted);
                doubted.iter().map(|sk| name(*sk) + " ").collect()
            }
            "wants_sweep" => if self.tracker.wants_sweep() {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
            "sockets" => self.tracker.len().to_string(),
            "connections" => counters.connections.to_string(),
            "handed_over" => counters.handed_over.to_string(),
            "ended_unseen" => counters.ended_unseen.to_string(),
            "chain_breaks" => counters.chain_breaks.to_string(),
            "refused" => counters.refused.to_string(),
            "gaps" => counters.gaps.to_string(),
            "not_followed" => counters.not_followed.to_string(),
            other => panic!("not a question: {other}"),
        }
    }

    fn line(&mut self, change: &Change) -> String {
        let at = time(change.at.0);
        let conn = self.conn(change.conn);
        let tuple = self.tuple(&change.tuple);
        let dwell = match change.dwell {
            Dwell::Exact(ns) => format!("exact {}", time(ns)),
            Dwell::AtLeast(ns) => format!("at_least {}", time(ns)),
            Dwell::Unknown => "unknown".to_owned(),
        };
        let cause = change.cause.map(|cause| format!(" {}", cause.name()));
        let reason = change
            .reset_reason
            .map(|reason| format!(" reason={reason}"));
        let by = change.origin.map(|process| format!(" by={}", by(&process)));
        let family = (change.family == Family::Inet6).then_some(" v6");
        let kind = match change.kind {
            SocketKind::Full => "",
            SocketKind::Minisocket => " minisocket",
            SocketKind::Request => " request",
        };
        let rearmed = (change.rearmed > 0).then(|| format!(" rearmed={}", change.rearmed));
        format!(
            "> {at} {conn} {} -> {} {tuple} {dwell}{}{}{}{}{}{}\n",
            change.old.name(),
            change.new.name(),
            cause.unwrap_or_default(),
            reason.unwrap_or_default(),
            by.unwrap_or_default(),
            family.unwrap_or_default(),
            kind,
            rearmed.unwrap_or_default(),
        )
    }

    /// The socket's name and the how manieth of its connections it is.
    fn conn(&mut self, conn: ConnId) -> String {
        if !self.conns.contains(&conn) {
            self.conns.push(conn);
        }
        let of_socket = self.conns.iter().filter(|known| known.sk == conn.sk);
        let place = of_socket.take_while(|known| **known != conn).count();
        format!("{}{}", name(conn.sk), place + 1)
    }

    fn tuple(&self, tuple: &Tuple) -> String {
        let named = self.names.iter().find(|(_, known)| known == tuple);
        named.map_or_else(
            || {
                let local = end(&tuple.laddr, tuple.lport);
                let remote = end(&tuple.raddr, tuple.rport);
                format!("{local} {remote}")
            },
            |(name, _)| name.clone(),
        )
    }
}

fn end(addr: &[u8; 16], port: u16) -> SocketAddr {
    let addr = Ipv6Addr::from(*addr);
    let plain = addr.to_ipv4_mapped().map_or(IpAddr::V6(addr), IpAddr::V4);
    SocketAddr::new(plain, port)
}

pub(crate) fn by(process: &Process) -> String {
    let comm = process.comm.split(|byte| *byte == 0).next();
    let comm = String::from_utf8_lossy(comm.unwrap_or_default());
    format!("{}/{comm}", process.pid)
}

/// The largest unit that needs no fraction.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        ns if ns != 0 && ns.is_multiple_of(1_000_000_000) => format!("{}s", ns / 1_000_000_000),
        ns if ns != 0 && ns.is_multiple_of(1_000_000) => format!("{}ms", ns / 1_000_000),
        ns => format!("{}us", ns / 1_000),
    }
}
