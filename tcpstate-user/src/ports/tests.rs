mod outlook;
mod story;

use std::net::Ipv6Addr;

use tcpstate_common::{
    record::Tuple,
    state::TcpState::{self, Close, Established, Listen, SynSent, TimeWait},
};

use super::{Asked, Bound, Counters, Limits, Ports, Queue, Reading, Report, Row};
use crate::{
    decode::{Event, Family, How, KtimeNs, Record, SockAddr64, SocketKind, Transition},
    track::{Cause, Change, ConnId, Dwell, Follows, Open, Opened, Process},
};

const SECOND: u64 = 1_000_000_000;
const NETNS: u32 = 7;

const EVERYTHING: Follows = Follows {
    begins: true,
    ends: true,
    requests: true,
    looks: true,
};

/// What the tests do with it.
struct World {
    ports: Ports,
    reading: Reading,
    open: Vec<Open>,
}

fn octets(addr: &str) -> [u8; 16] {
    let six = addr.parse::<Ipv6Addr>();
    let mapped = || format!("::ffff:{addr}").parse::<Ipv6Addr>().unwrap();
    six.unwrap_or_else(|_four| mapped()).octets()
}

/// From this host to port 80 of another.
fn tuple(lport: u16) -> Tuple {
    Tuple {
        laddr: octets("10.0.0.1"),
        raddr: octets("192.0.2.9"),
        lport,
        rport: 80,
    }
}

fn process(pid: u32, name: &[u8]) -> Option<Process> {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name);
    Some(Process { pid, comm })
}

fn limits(low: u16, high: u16) -> Limits {
    Limits {
        netns: NETNS,
        range: Ok((low, high)),
        reserved: Ok(Vec::new()),
        tw_reuse: Ok(2),
        tw_reuse_delay_ms: Err("there is no net.ipv4.tcp_tw_reuse_delay here".into()),
        timestamps: Ok(1),
        max_tw_buckets: Ok(4096),
        tw_buckets: Ok(0),
        counters: Ok(Counters::default()),
        bound: Ok(Vec::new()),
    }
}

fn change(at: u64, tuple: Tuple, old: TcpState, new: TcpState) -> Change {
    Change {
        at: KtimeNs(at),
        conn: ConnId {
            birth: KtimeNs(0),
            sk: SockAddr64(1),
        },
        netns: NETNS,
        family: Family::Inet,
        tuple,
        old,
        new,
        dwell: Dwell::Exact(0),
        kind: SocketKind::Full,
        origin: process(1, b"shop"),
        cause: None,
        reset_reason: None,
        rearmed: 0,
        closer: None,
        totals: None,
    }
}

fn open(tuple: Tuple, state: TcpState) -> Open {
    let kind = match state {
        TimeWait => SocketKind::Minisocket,
        _ => SocketKind::Full,
    };
    Open {
        conn: ConnId {
            birth: KtimeNs(0),
            sk: SockAddr64(1),
        },
        netns: NETNS,
        family: Family::Inet,
        tuple,
        state,
        so_far: Dwell::Exact(SECOND),
        kind,
        origin: process(1, b"shop"),
        opened: match kind {
            SocketKind::Full => Opened::Connect,
            _ => Opened::Unknown,
        },
        was_reset: false,
    }
}

impl World {
    fn new(limits: Limits) -> Self {
        Self::asked(
            limits,
            Asked {
                top: 10,
                ..Asked::default()
            },
        )
    }

    fn asked(limits: Limits, asked: Asked) -> Self {
        Self {
            ports: Ports::new(asked, EVERYTHING),
            reading: Reading {
                namespaces: vec![limits],
                orphans: Ok(0),
                max_orphans: Ok(100),
                missing: "it was not found".into(),
                bound_unknown: None,
            },
            open: Vec::new(),
        }
    }

    fn limits(&mut self) -> &mut Limits {
        &mut self.reading.namespaces[0]
    }

    /// A connection that waits in `TIME_WAIT` from then on.
    fn wait(&mut self, at: u64, lport: u16) {
        let tuple = tuple(lport);
        self.ports.change(&change(at, tuple, Close, SynSent));
        self.ports.change(&change(at, tuple, SynSent, Established));
        self.ports.change(&change(at, tuple, Established, TimeWait));
        self.open.push(open(tuple, TimeWait));
    }

    /// A minisocket's end.
    fn end(&mut self, at: u64, lport: u16, cause: Cause, after: u64) {
        self.open.retain(|it| it.tuple.lport != lport);
        self.ports.change(&Change {
            kind: SocketKind::Minisocket,
            cause: Some(cause),
            dwell: Dwell::Exact(after),
            ..change(at, tuple(lport), TimeWait, Close)
        });
    }

    /// A connect that finds no port.
    fn fail(&mut self, at: u64, origin: Option<Process>) {
        self.ports.change(&Change {
            cause: Some(Cause::NoPort),
            origin,
            ..change(at, tuple(0), SynSent, Close)
        });
    }

    /// As the kernel tells of a connect of a socket that has a port already.
    fn bound_before(&mut self, at: u64, lport: u16) {
        let event = Transition {
            sk: SockAddr64(1),
            netns: NETNS,
            tuple: tuple(lport),
            old: Close,
            new: SynSent,
            how: How(0),
            err: 0,
            task: None,
        };
        self.ports.record(&Record {
            at: KtimeNs(at),
            lost: 0,
            event: Event::Transition(event),
        });
    }

    fn report(&mut self, at: u64) -> Report {
        let mut survey = self.ports.survey(Some(&self.reading));
        self.open.iter().for_each(|it| survey.look(it));
        let mut census = survey.census();
        self.open.iter().for_each(|it| census.add(it));
        census.report(KtimeNs(at))
    }

    /// The only tuple space.
    fn row(&mut self, at: u64) -> Row {
        let mut report = self.report(at);
        assert_eq!(report.rows.len(), 1, "{report:#?}");
        report.rows.remove(0)
    }
}

fn listening(port: u16, waiting: u32, limit: u32) -> Bound {
    Bound {
        addr: octets("0.0.0.0"),
        port,
        queue: Some(Queue {
            waiting,
            limit,
            drops: Some(3),
        }),
        pid: Some(9),
    }
}

fn listener(port: u16) -> Open {
    let tuple = Tuple {
        laddr: octets("0.0.0.0"),
        raddr: octets("0.0.0.0"),
        lport: port,
        rport: 0,
    };
    Open {
        opened: Opened::Unknown,
        ..open(tuple, Listen)
    }
}
