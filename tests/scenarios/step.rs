//! The language of the scenarios.
//!
//! ```text
//! let $c 10.0.0.1:40000 10.0.0.2:80                  a name for a tuple
//! max 2                                             the tracker's cap
//! connections                                       answers are connections that are
//!                                                   over; connections gone: for good
//! follow begins ends requests looks                 which records of minisockets and
//!                                                   requests come, and whether looks do
//! 10us a CLOSE>SYN_SENT $c by=42/curl               a transition of socket a
//! 20us a accepted 42/nginx                          also: close_called
//! 30us a reset_sent active reason=14                also: reset_received, destroyed
//! 40us a snapshot ESTABLISHED $c                    also: minisocket, request; - for no address
//! 45us t begun TIME_WAIT $c sk=a                    of minisocket t; also: armed, handled
//!                                                   flags=4, expired, stopped pid=42,
//!                                                   ended, freed; each caller=receive
//! 47us r request stopped $c since=9us by=hashdance  of request r; also: cloned, expired,
//!                                                   armed, ended; closed: its listener
//! 48us a look in=1000 out=500 by=42/curl            the last look at a socket; also: again=,
//!                                                   unread=, idle= (ms), timeout= (ms),
//!                                                   keepalive, linger0, linger2, exiting
//! 50us sweep begin                                  also: end, failed
//! 60us settle
//! gap
//! finish
//! wanted: a b                                       a question and its answer; also: doubted
//! chain_breaks: 1
//! > 10us a1 CLOSE -> SYN_SENT …                     an answer
//! ```
//!
//! Flags of a transition or snapshot: `rcv send released fin orphan reused exiting
//! v6 no_socket`; `err=`, `netns=`, on a minisocket and its snapshot `left=` (ms), on
//! a snapshot `cookie=`, and on everything `lost=`.

use std::net::{IpAddr, SocketAddr};

use tcpstate::decode::{
    Event, How, KtimeNs, Minisocket, MinisocketEvent, Record, Request, RequestEvent, ResetSent,
    Snapshot, SockAddr64, SocketKind, SweepPhase, Transition,
};
use tcpstate::{connection::Told, track::Follows};
use tcpstate_common::{
    record::{Task, Tuple, caller, how},
    state::TcpState,
};

use crate::look::look;

/// One line of a scenario.
#[derive(Debug)]
pub(crate) enum Step {
    Nothing,
    Let(String, Tuple),
    Max(usize),
    Connections(Told),
    Follow(Follows),
    Apply(Record),
    Settle(KtimeNs),
    Gap,
    Finish,
    Ask(String),
}

pub(crate) type Names = Vec<(String, Tuple)>;

/// Reads one line; panics with what it does not understand.
pub(crate) fn parse(line: &str, names: &Names) -> Step {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => Step::Nothing,
        [first, ..] if first.starts_with('#') => Step::Nothing,
        ["let", name, local, remote] => Step::Let((*name).to_owned(), tuple(local, remote)),
        ["connections"] => Step::Connections(Told::Closed),
        ["connections", "gone"] => Step::Connections(Told::Gone),
        ["max", count] => Step::Max(number(count)),
        ["follow", rest @ ..] => Step::Follow(Follows {
            looks: rest.contains(&"looks"),
            begins: rest.contains(&"begins"),
            ends: rest.contains(&"ends"),
            requests: rest.contains(&"requests"),
        }),
        ["gap"] => Step::Gap,
        ["finish"] => Step::Finish,
        [question, ..] if question.ends_with(':') => {
            Step::Ask(question.trim_end_matches(':').to_owned())
        }
        [at, "settle"] => Step::Settle(time(at)),
        [at, "sweep", phase] => Step::Apply(Record {
            at: time(at),
            lost: 0,
            event: Event::Sweep(sweep(phase)),
        }),
        [at, sk, what, rest @ ..] => Step::Apply(Record {
            at: time(at),
            lost: value(rest, "lost=").map_or(0, number),
            event: event(sk, what, rest, names),
        }),
        _ => panic!("not a step: {line}"),
    }
}

fn event(sk: &str, what: &str, rest: &[&str], names: &Names) -> Event {
    let address = (sk != "-").then(|| address(sk));
    let known = || address.expect("a socket");
    match what {
        "accepted" => Event::Accepted(known(), task(rest[0])),
        "close_called" => Event::CloseCalled(known(), task(rest[0])),
        "reset_received" => Event::ResetReceived(known()),
        "look" => Event::LastLook(look(known(), rest)),
        "destroyed" => Event::Destroyed(known()),
        "reset_sent" => Event::ResetSent(ResetSent {
            sk: address,
            reason: value(rest, "reason=").map(number),
            active: rest.contains(&"active"),
        }),
        "snapshot" => Event::Snapshot(Snapshot {
            sk: address,
            netns: value(rest, "netns=").map_or(1, number),
            tuple: tuple_in(&rest[1..], names),
            state: state(rest[0]),
            kind: kind(rest),
            how: flags(rest),
            inode: value(rest, "left=").map_or(0, number),
            cookie: value(rest, "cookie=").map_or(0, number),
        }),
        "request" => Event::Request(Request {
            req: known(),
            listener: value(rest, "listener=").map_or(SockAddr64(0), self::address),
            listener_state: match rest.contains(&"closed") {
                true => TcpState::Close,
                false => TcpState::Listen,
            },
            netns: value(rest, "netns=").map_or(1, number),
            tuple: tuple_in(&rest[1..], names),
            how: flags(rest),
            begun: time(value(rest, "since=").expect("a begin")),
            by: value(rest, "by=").map_or(caller::UNKNOWN, caller_named),
            what: request_event(rest[0]),
        }),
        what if minisocket_event(what, rest).is_some() => Event::Minisocket(Minisocket {
            tw: known(),
            sk: value(rest, "sk=").map(self::address),
            netns: value(rest, "netns=").map_or(1, number),
            tuple: tuple_in(&rest[1..], names),
            how: flags(rest),
            substate: state(rest[0]),
            pid: value(rest, "pid=").map_or(0, number),
            left_ms: value(rest, "left=").map_or(0, number),
            what: minisocket_event(what, rest).expect("one"),
        }),
        change => {
            let (old, new) = change.split_once('>').expect("OLD>NEW or a signal");
            Event::Transition(Transition {
                sk: known(),
                netns: value(rest, "netns=").map_or(1, number),
                tuple: tuple_in(rest, names),
                old: state(old),
                new: state(new),
                how: flags(rest),
                err: value(rest, "err=").map_or(0, number),
                task: value(rest, "by=").map(task),
            })
        }
    }
}

fn minisocket_event(what: &str, rest: &[&str]) -> Option<MinisocketEvent> {
    let by = || value(rest, "caller=").map_or(caller::UNKNOWN, caller_named);
    Some(match what {
        "begun" => MinisocketEvent::Begun,
        "armed" => MinisocketEvent::Armed,
        "handled" => MinisocketEvent::Handled {
            flags: value(rest, "flags=").map_or(0, number),
        },
        "stopped" => MinisocketEvent::Stopped { caller: by() },
        "expired" => MinisocketEvent::Expired,
        "ended" => MinisocketEvent::Ended { caller: by() },
        "freed" => MinisocketEvent::Destroyed { caller: by() },
        _ => return None,
    })
}

fn request_event(what: &str) -> RequestEvent {
    match what {
        "cloned" => RequestEvent::Cloned,
        "stopped" => RequestEvent::Stopped,
        "expired" => RequestEvent::Expired,
        "armed" => RequestEvent::Armed,
        "ended" => RequestEvent::Ended,
        other => panic!("nothing that happens to a request: {other}"),
    }
}

fn caller_named(name: &str) -> u8 {
    match name {
        "unknown" => caller::UNKNOWN,
        "state_process" => caller::STATE_PROCESS,
        "receive" => caller::RECEIVE,
        "hash_connect" => caller::HASH_CONNECT,
        "check_established" => caller::CHECK_ESTABLISHED,
        "abort" => caller::ABORT,
        "purge" => caller::PURGE,
        "hashdance" => caller::HASHDANCE,
        "check_request" => caller::CHECK_REQUEST,
        "icmp" => caller::ICMP,
        other => panic!("not a caller: {other}"),
    }
}

pub(crate) fn value<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key))
}

pub(crate) fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse()
        .unwrap_or_else(|_error| panic!("not a number: {word}"))
}

/// `12us`, `5ms`, `1s`.
fn time(word: &str) -> KtimeNs {
    let units = [("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let found = units.iter().find_map(|(unit, ns)| {
        let count = word.strip_suffix(unit)?.parse::<u64>().ok()?;
        Some(KtimeNs(count * ns))
    });
    found.unwrap_or_else(|| panic!("not a time: {word}"))
}

fn address(name: &str) -> SockAddr64 {
    let [letter @ b'a'..=b'z'] = name.as_bytes() else {
        panic!("not a socket: {name}");
    };
    SockAddr64(0xffff_8880_0000_0000 + 0x1000 * u64::from(letter - b'a'))
}

/// The name of the socket at an address that a scenario has.
pub(crate) fn name(sk: SockAddr64) -> String {
    let index = sk.0.wrapping_sub(0xffff_8880_0000_0000) / 0x1000;
    let letter = u8::try_from(index).ok().filter(|index| *index < 26);
    letter.map_or("?".to_owned(), |index| char::from(b'a' + index).to_string())
}

pub(crate) fn task(word: &str) -> Task {
    let (pid, name) = word.split_once('/').expect("PID/COMM");
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Task {
        pid: number(pid),
        tid: number(pid),
        comm,
    }
}

fn state(name: &str) -> TcpState {
    let found = TcpState::ALL.into_iter().find(|state| state.name() == name);
    found.unwrap_or_else(|| panic!("not a state: {name}"))
}

fn sweep(phase: &str) -> SweepPhase {
    match phase {
        "begin" => SweepPhase::Begin,
        "end" => SweepPhase::End,
        "failed" => SweepPhase::Failed,
        other => panic!("not a phase: {other}"),
    }
}

fn kind(words: &[&str]) -> SocketKind {
    if words.contains(&"minisocket") {
        SocketKind::Minisocket
    } else if words.contains(&"request") {
        SocketKind::Request
    } else {
        SocketKind::Full
    }
}

fn flags(words: &[&str]) -> How {
    let table = [
        ("rcv", how::RCV_SHUTDOWN),
        ("send", how::SEND_SHUTDOWN),
        ("released", how::FILE_RELEASED),
        ("fin", how::FIN_RECEIVED),
        ("orphan", how::ORPHAN),
        ("reused", how::REUSED),
        ("exiting", how::EXITING),
        ("v6", how::INET6),
        ("no_socket", how::NO_SOCKET),
    ];
    let set = table.iter().filter(|(name, _)| words.contains(name));
    How(set.fold(0, |bits, (_, bit)| bits | bit))
}

fn tuple_in(words: &[&str], names: &Names) -> Tuple {
    match words {
        [name, ..] if name.starts_with('$') => {
            let found = names.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("no tuple {name}")).1
        }
        [local, remote, ..] => tuple(local, remote),
        _ => panic!("a tuple is missing"),
    }
}

fn tuple(local: &str, remote: &str) -> Tuple {
    let (laddr, lport) = end(local);
    let (raddr, rport) = end(remote);
    Tuple {
        laddr,
        raddr,
        lport,
        rport,
    }
}

fn end(word: &str) -> ([u8; 16], u16) {
    let end: SocketAddr = word
        .parse()
        .unwrap_or_else(|_error| panic!("not an address and port: {word}"));
    let addr = match end.ip() {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    };
    (addr.octets(), end.port())
}
