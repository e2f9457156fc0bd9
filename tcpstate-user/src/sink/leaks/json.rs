//! One JSON object for each group of suspects.

use serde::Serialize;

use super::{Told, by_process, printable};
use crate::{
    decode::Family,
    leak::{Group, Verdict, message, remedy},
    sink::{address, json::object},
    survey::{Doings, NamedStack, Waiting},
    symbolize::{Frame, sight},
    unwind::End,
};

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    ts: &'a str,
    mono_ns: u64,
    class: &'static str,
    verdict: &'static str,
    state: &'static str,
    count: usize,
    growth_per_min: f64,
    oldest_ns: u64,
    oldest: &'static str,
    median_ns: u64,
    unread_bytes: u64,
    netns: u32,
    pid: Option<u32>,
    comm: Option<String>,
    cmdline: Option<String>,
    cgroup: Option<String>,
    unit: Option<&'a str>,
    fds: Vec<u32>,
    holders: Vec<Holder>,
    listener: Option<Listener>,
    peers: Vec<Peer>,
    origin: Origin<'a>,
    eof_stack: Option<&'a [Frame]>,
    /// What would make these stacks say more.
    advice: Option<&'a str>,
    threads: Option<Vec<Threads<'a>>>,
    threads_left_out: Option<LeftOut>,
    message: String,
    remedy: &'static str,
    #[serde(rename = "final")]
    is_final: bool,
}

#[derive(Serialize)]
struct Holder {
    pid: u32,
    comm: Option<String>,
    fds: Vec<u32>,
}

#[derive(Serialize)]
struct Listener {
    addr: String,
    port: u16,
    queue: u32,
    queue_limit: u32,
    pids: Vec<u32>,
}

#[derive(Serialize)]
struct Peer {
    addr: String,
    port: Option<u16>,
    count: usize,
}

#[derive(Serialize)]
struct Origin<'a> {
    kind: &'static str,
    pid: Option<u32>,
    stack: Option<&'a [Frame]>,
    /// Of how many sockets it was captured.
    seen: usize,
    /// Which of them is the application's first.
    application: Option<usize>,
    end: Option<&'a str>,
}

#[derive(Serialize)]
struct Threads<'a> {
    count: usize,
    comm: String,
    wait_channel: Option<&'a str>,
    running: bool,
    peer: Option<String>,
    stack: Option<&'a [Frame]>,
    /// Which of the frames is the application's first.
    application: Option<usize>,
    /// `running`: there is no stack of a thread that runs.
    end: Option<&'a str>,
}

/// Threads of the process that are not in the list, because there are too many;
/// and those that are and whose stacks were not looked at, for that reason or
/// because they had just begun.
#[derive(Serialize)]
struct LeftOut {
    not_told: usize,
    without_stack: usize,
}

/// What a report says in sum: it is there when nothing else is.
#[derive(Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    ts: &'a str,
    mono_ns: u64,
    groups: usize,
    suspects: usize,
    notices: usize,
    too_early: usize,
    /// Processes whose descriptors could not be looked at.
    denied: usize,
    /// Why nobody's could.
    failed: Option<&'a str>,
    #[serde(rename = "final")]
    is_final: bool,
}

/// Every group as a line, and one in sum; `ts` is the time of the report, `mono_ns` the same by
/// the kernel's clock.
#[must_use]
pub fn json(told: &Told<'_>, ts: &str, mono_ns: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for group in &told.survey.report.groups {
        object(&line(told, group, (ts, mono_ns)), &mut out);
    }
    let sum = Summary {
        r#type: "leaks",
        ts,
        mono_ns,
        groups: told.survey.report.groups.len(),
        suspects: told.count(Verdict::Suspect),
        notices: told.count(Verdict::Notice),
        too_early: told.survey.report.too_early,
        denied: told.survey.denied,
        failed: told.survey.failed.as_deref(),
        is_final: told.is_final,
    };
    object(&sum, &mut out);
    out
}

fn line<'a>(told: &'a Told<'_>, group: &'a Group, (ts, mono_ns): (&'a str, u64)) -> Line<'a> {
    let pid = group.owner.pid();
    let facts = pid.and_then(|pid| told.survey.processes.get(&pid));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let holders = by_process(group);
    let own = holders.iter().find(|(holder, _)| Some(*holder) == pid);
    let eof = told.stack(group.eof_stack);
    let threads = pid.and_then(|pid| told.survey.threads.get(&pid));
    Line {
        r#type: "leak",
        ts,
        mono_ns,
        class: group.class.name(),
        verdict: group.verdict.name(),
        state: group.state.name(),
        count: group.count,
        growth_per_min: group.growth_per_min,
        oldest_ns: group.ages.oldest,
        oldest: match group.ages.oldest_exact {
            true => "exact",
            false => "at_least",
        },
        median_ns: group.ages.median,
        unread_bytes: group.unread,
        netns: group.netns,
        pid,
        comm: facts.map(|facts| text(&facts.comm)),
        cmdline: facts.map(|facts| text(&facts.cmdline)),
        cgroup: facts.and_then(|facts| Some(text(facts.cgroup.as_ref()?))),
        unit: facts.and_then(|facts| facts.unit.as_deref()),
        fds: own.map(|(_, fds)| fds.clone()).unwrap_or_default(),
        listener: listener(group),
        peers: peers(group),
        origin: origin(group, told.stack(group.origin_stack)),
        eof_stack: eof.map(|stack| stack.frames.as_slice()),
        advice: told.advice(group),
        threads: threads.map(|all| {
            let kinds = all.kinds.iter();
            kinds.map(|it| waiting(it, group.family)).collect()
        }),
        threads_left_out: threads.and_then(left_out),
        message: message(group, &told.who(group)),
        remedy: remedy(group.class),
        is_final: told.is_final,
        holders: holders
            .into_iter()
            .map(|(pid, fds)| Holder {
                pid,
                comm: told.survey.processes.get(&pid).map(|it| text(&it.comm)),
                fds,
            })
            .collect(),
    }
}

fn origin<'a>(group: &Group, stack: Option<&'a NamedStack>) -> Origin<'a> {
    Origin {
        kind: group.opened.name(),
        pid: group.origin.map(|process| process.pid),
        stack: stack.map(|stack| stack.frames.as_slice()),
        seen: group.origin_seen,
        application: stack.and_then(|stack| sight(&stack.frames).application),
        end: stack.map(|stack| stack.end.name()),
    }
}

fn listener(group: &Group) -> Option<Listener> {
    group.listener.as_ref().map(|it| Listener {
        addr: addr(&it.addr, group.family),
        port: it.port,
        queue: it.queue,
        queue_limit: it.limit,
        pids: it.pids.clone(),
    })
}

fn peers(group: &Group) -> Vec<Peer> {
    let peers = group.peers.iter();
    peers
        .map(|(tuple, count)| Peer {
            addr: addr(&tuple.raddr, group.family),
            port: (tuple.rport != 0).then_some(tuple.rport),
            count: *count,
        })
        .collect()
}

fn waiting(it: &Waiting, family: Family) -> Threads<'_> {
    let mut peer = Vec::new();
    if let Some(tuple) = &it.connection {
        address::endpoint(&tuple.raddr, tuple.rport, family, &mut peer);
    }
    Threads {
        count: it.count,
        comm: printable(&it.comm) + if it.various { "*" } else { "" },
        wait_channel: it.wait_channel.as_deref(),
        running: it.running,
        peer: (it.connection.is_some_and(|it| it.rport != 0))
            .then(|| String::from_utf8_lossy(&peer).into_owned()),
        stack: (it.stack.as_ref())
            .filter(|stack| stack.end != End::Running)
            .map(|stack| stack.frames.as_slice()),
        application: (it.stack.as_ref()).and_then(|stack| sight(&stack.frames).application),
        end: it.stack.as_ref().map(|stack| stack.end.name()),
    }
}

fn left_out(all: &Doings) -> Option<LeftOut> {
    let Doings {
        not_told,
        without_stack,
        ..
    } = *all;
    (not_told + without_stack > 0).then_some(LeftOut {
        not_told,
        without_stack,
    })
}

pub(super) fn addr(bytes: &[u8; 16], family: Family) -> String {
    let mut text = Vec::new();
    address::write(bytes, family, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
