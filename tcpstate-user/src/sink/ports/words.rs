//! What a report of `ports` means, in sentences.

use super::{Told, endpoint, plain, text};
use crate::{
    ports::{Advice, Listener, Maker, Namespace, Outlook, Row, Verdict},
    sink::{Untrusted, duration},
};

/// Of a service with connections in `TIME_WAIT`.
pub(in crate::sink) const NO_PORTS: &str = "TIME_WAIT on the accepting side costs no ports: all of these \
     connections share the listener's. It costs a bucket and a little memory each.";

/// Of a space that is in trouble.
pub(in crate::sink) fn space(row: &Row) -> Option<String> {
    let to = endpoint(&row.space.raddr, row.space.rport);
    let from = plain(&row.space.laddr);
    let usable = row.room.as_ref().map(|room| room.usable).ok();
    let mut said = match (row.verdict, row.outlook) {
        (Verdict::Exhausted, _) if usable == Some(0) => {
            "connect() has no port to choose from: ip_local_port_range, without reserved and \
             bound ports, is empty."
                .to_owned()
        }
        (Verdict::Exhausted, Outlook::Now) => {
            format!("No port is left from {from} to {to}: connect() fails with EADDRNOTAVAIL.")
        }
        (Verdict::Exhausted, _) => {
            format!("There was no port from {from} to {to} within the last ten seconds.")
        }
        (Verdict::RunningOut, Outlook::In(ns)) => {
            let rate = row.rates.map_or(0.0, |rates| rates.opened);
            format!(
                "Ports from {from} to {to} run out in {} if it goes on like this: {rate:.0} \
                 connects a second, and {} ports last for {:.0}.",
                human(ns),
                usable.unwrap_or(0),
                row.sustainable.unwrap_or(0.0)
            )
        }
        _ => return None,
    };
    if row.failed > 0 {
        said += &format!(" {} connects have found none", row.failed);
        let worst = row.makers.iter().filter(|it| it.held.failed > 0);
        let worst: Vec<_> = worst.take(3).map(who).collect();
        said += &format!(" ({}).", worst.join(", "));
    }
    for advice in &row.advice {
        said.push(' ');
        said.push_str(&sentence(*advice, row));
    }
    Some(said)
}

/// How its minisockets ended, where any has.
pub(in crate::sink) fn ended(row: &Row) -> Option<String> {
    let each = |(cause, count): &(&str, u64)| format!("{count} {cause}");
    let ended: Vec<_> = row.ended.iter().map(each).collect();
    (!ended.is_empty()).then(|| {
        format!(
            "How TIME_WAIT and FIN_WAIT2 towards {} ended: {}.",
            endpoint(&row.space.raddr, row.space.rport),
            ended.join(", ")
        )
    })
}

fn sentence(advice: Advice, row: &Row) -> String {
    match advice {
        Advice::CloseSockets => {
            "Most of its sockets are in CLOSE_WAIT, which only close() ends: see `tcpstate leaks`."
                .to_owned()
        }
        Advice::FewerConnections => {
            "Most of its sockets are in use: share connections, or close idle ones.".to_owned()
        }
        Advice::ReuseConnections => {
            "What helps: use connections again (keep-alive, a pool) instead of a new one each time."
                .to_owned()
        }
        Advice::TwReuse => "net.ipv4.tcp_tw_reuse=1 lets connect() take a port over after a \
             second of TIME_WAIT, where both ends use TCP timestamps."
            .to_owned(),
        Advice::BindNoPort => format!(
            "{} ports are taken from all destinations by bind() before connect(): \
             IP_BIND_ADDRESS_NO_PORT lets connect() choose.",
            row.bound_before
        ),
        Advice::MoreTuples => {
            "More ports (ip_local_port_range), local addresses or remote addresses and ports \
             give more room."
                .to_owned()
        }
        Advice::NotFinTimeout => {
            "tcp_fin_timeout does not help: it shortens FIN_WAIT2, never TIME_WAIT.".to_owned()
        }
        Advice::NotLinger => {
            "SO_LINGER with 0 is no remedy: it resets the connection and loses data on its way."
                .to_owned()
        }
    }
}

/// `checkout[1234] 12`: who, and how many connects found no port.
fn who(maker: &Maker) -> String {
    let name = maker.comm.as_ref().map_or_else(
        || "others".to_owned(),
        |comm| {
            text(|out| {
                Untrusted::comm(comm).term(out);
            })
        },
    );
    match (maker.pid, maker.processes) {
        (Some(pid), _) => format!("{name}[{pid}] {}", maker.held.failed),
        (None, 0) => format!("{name} {}", maker.held.failed),
        (None, count) => format!("{name} ({count} processes) {}", maker.held.failed),
    }
}

/// Of a listener that does not keep up.
pub(in crate::sink) fn listener(it: &Listener) -> Option<String> {
    let queue = it.queue.as_ref().ok()?;
    it.is_full.then(|| {
        format!(
            "The accept queue of {} is full ({} of {}): handshakes are dropped until the process \
             accepts. Accept faster; a longer queue (the backlog of listen(), \
             net.core.somaxconn) only helps against bursts.",
            endpoint(&it.addr, it.port),
            queue.waiting,
            queue.limit
        )
    })
}

/// Of a namespace at one of its limits.
pub(in crate::sink) fn namespace(it: &Namespace) -> Vec<String> {
    let mut said = Vec::new();
    let limits = &it.limits;
    if let (Ok(now), Ok(max)) = (&limits.tw_buckets, &limits.max_tw_buckets)
        && now.saturating_mul(10) >= max.saturating_mul(9)
    {
        said.push(format!(
            "{now} of at most {max} minisockets (tcp_max_tw_buckets) in network namespace {}: \
             beyond it connections end without TIME_WAIT.",
            limits.netns
        ));
    }
    let Ok(grown) = &it.grown else { return said };
    if grown.time_wait_overflows > 0 {
        said.push(format!(
            "{} connections got no minisocket since the run began: tcp_max_tw_buckets is reached.",
            grown.time_wait_overflows
        ));
    }
    if grown.listen_overflows > 0 {
        said.push(format!(
            "{} handshakes met a full accept queue since the run began.",
            grown.listen_overflows
        ));
    }
    said
}

/// Of the host, and of the report itself.
pub(in crate::sink) fn host(told: &Told<'_>) -> Vec<String> {
    let report = told.report;
    let mut said = Vec::new();
    if !told.live {
        said.push("How many ports there are is not in a recording.".to_owned());
    }
    if let (Ok(now), Ok(max)) = (&report.orphans, &report.max_orphans)
        && now.saturating_mul(10) >= max.saturating_mul(9)
    {
        said.push(format!(
            "{now} of at most {max} orphans (tcp_max_orphans): beyond it close() resets connections."
        ));
    }
    if told.gaps > 0 {
        said.push(format!(
            "Records were lost {} times: counts since the beginning may be too low.",
            told.gaps
        ));
    }
    if report.unaccounted > 0 {
        said.push(format!(
            "{} connects were not counted into rates: too many destinations.",
            report.unaccounted
        ));
    }
    said
}

pub(in crate::sink) fn human(ns: u64) -> String {
    text(|out| {
        duration::human(ns, out);
    })
}
