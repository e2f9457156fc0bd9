//! The sentence about one connection: who did what to it, what that means, and
//! what to do where something is to be done.
//!
//! It says only what is known. Names of processes are in it as they are: who
//! shows it to a terminal must clean it.

use tcpstate_common::state::TcpState;

use super::{Connection, End, Reason, Role, underway::closes};
use crate::{
    sink::{address, duration},
    track::{Call, Closer, Dwell, Opened, Process},
};

/// How it ended, in words.
#[must_use]
pub fn message(it: &Connection) -> String {
    match it.end {
        End::Fin => orderly(it),
        End::ResetSent => broken(it),
        End::ResetReceived => reset(it),
        End::Timeout | End::Unreachable => match it.role {
            Role::Active | Role::Simultaneous => {
                format!("{}; {}", closed_first(it), unanswered(it))
            }
            Role::Passive | Role::None => unanswered(it),
        },
        End::Refused => format!(
            "{} answered the SYN with a RST: nothing listens there, or a firewall refuses it",
            peer(it)
        ),
        End::NoPort => format!(
            "no local port was free for {}: `tcpstate ports` says who uses them",
            end_of_peer(it)
        ),
        End::Killed => format!(
            "{} from outside, as `ss -K` does",
            did(it.closed_by, "killed it").unwrap_or_else(|| "somebody killed it".into())
        ),
        End::FinWait2Timeout => format!(
            "{}, and {} never did{}: look there for CLOSE_WAIT",
            closed_first(it),
            peer(it),
            time_in(it, TcpState::FinWait2, "within")
        ),
        End::EvictedLimit => format!(
            "{}; there was no room for its TIME_WAIT: net.ipv4.tcp_max_tw_buckets is too low",
            closed_first(it)
        ),
        End::Reused => format!(
            "{}; a new connection took its ports over before {} had closed",
            closed_first(it),
            peer(it)
        ),
        End::NetnsExit => "its network namespace went".into(),
        End::Abandoned => format!(
            "{}{} before {} had answered",
            did(it.closed_by, "gave it up").unwrap_or_else(|| "it was given up".into()),
            time_in(it, TcpState::SynSent, "after"),
            peer(it)
        ),
        End::ListenerClosed => "the listener was closed before the handshake was done".into(),
        End::HandshakeFailed => "the handshake failed, and nothing tells why".into(),
        End::Dropped => format!(
            "{} without FIN or RST, as TCP_REPAIR does: {} does not know",
            did(it.closed_by, "closed it").unwrap_or_else(|| "it was closed".into()),
            peer(it)
        ),
        End::Unseen => "it is over, and how was not seen".into(),
    }
}

fn orderly(it: &Connection) -> String {
    match it.role {
        Role::Active => format!("{}; {}", closed_first(it), time_wait(it)),
        Role::Simultaneous => {
            let who = by(it.closed_by).map(|who| format!(" (here {who})"));
            let who = who.unwrap_or_default();
            format!("both sides closed at the same time{who}; TIME_WAIT is on both")
        }
        Role::Passive => format!("{}; {}", closed_first(it), followed(it)),
        Role::None => "both sides closed; who was first was not seen".into(),
    }
}

fn closed_first(it: &Connection) -> String {
    let who = match (it.role, it.closed_by) {
        (Role::Passive, Some(closer)) => {
            format!("the other end, {},", process(&closer.process))
        }
        (Role::Passive, None) => peer(it),
        (_, Some(closer)) => process(&closer.process),
        (_, None) => "this side".into(),
    };
    let how = match it.closed_by.map(|closer| closer.call) {
        Some(Call::Exit) => " by exiting",
        Some(Call::Shutdown) => " by shutdown()",
        _ => "",
    };
    format!("{who} closed first{how}{}", when(it))
}

/// Where `TIME_WAIT` is, and what that costs.
fn time_wait(it: &Connection) -> String {
    let sink = match it.opened {
        Opened::Connect if it.tuple.lport != 0 => {
            format!(" and keeps local port {} for 60 s", it.tuple.lport)
        }
        Opened::Accept => ", where it costs no port".into(),
        _ => String::new(),
    };
    format!("TIME_WAIT is on this side{sink}")
}

/// How the passive side did its part.
fn followed(it: &Connection) -> String {
    let who = it.process.map_or("this side".into(), |it| process(&it));
    match it.states.get(TcpState::CloseWait) {
        Some(Dwell::Exact(ns)) => format!("{who} followed {} later", human(ns)),
        Some(Dwell::AtLeast(ns)) => format!("{who} followed, {} later at least", human(ns)),
        _ => format!("{who} followed"),
    }
}

fn broken(it: &Connection) -> String {
    let did = |what| did(it.closed_by, what).unwrap_or_else(|| format!("this side {what}"));
    let unread = it.totals.map_or(0, |totals| totals.unread);
    match it.reset_reason {
        Some(Reason::LingerZero) => did(
            "closed it with SO_LINGER 0: a RST instead of a FIN, and what was not delivered yet is lost",
        ),
        Some(Reason::UnreadData) => format!(
            "{}: a RST instead of a FIN; reading to the end first avoids it",
            did(&match unread {
                0 => "closed it with data unread".to_owned(),
                bytes => format!("closed it with {bytes} bytes unread"),
            })
        ),
        Some(Reason::DataAfterClose) => format!(
            "{}, and {} went on sending, which was answered by a RST",
            closed_first(it),
            peer(it)
        ),
        Some(Reason::ListenerClosed) => {
            did("closed the listener before anybody had accepted this connection: a RST")
        }
        Some(Reason::OrphanLimit) => format!(
            "{}; the kernel gave the orphan up with a RST: net.ipv4.tcp_max_orphans or tcp_mem",
            closed_first(it)
        ),
        Some(Reason::Disconnect) => did("disconnected it by connect() to AF_UNSPEC: a RST"),
        Some(Reason::Linger2) => format!(
            "{} with TCP_LINGER2 below 0, which waits for no FIN: a RST",
            closed_first(it)
        ),
        Some(Reason::OrphanTimeout) => format!(
            "{}, and {} never did: a RST after its time in FIN_WAIT2",
            closed_first(it),
            peer(it)
        ),
        Some(Reason::UnsentData) => did("broke it off before all was sent: a RST"),
        Some(Reason::InvalidSegment | Reason::NoSocket) => format!(
            "a segment of {} did not fit the connection and was answered by a RST",
            peer(it)
        ),
        _ => did("sent a RST, and nothing tells why"),
    }
}

fn reset(it: &Connection) -> String {
    let ours = it.process.map_or("this side".into(), |it| process(&it));
    let peer = peer(it);
    let when = when(it);
    match it.last {
        TcpState::SynRecv => format!("{peer} reset it during the handshake"),
        TcpState::CloseWait | TcpState::LastAck => {
            format!("{peer} had closed, and reset it{when}: what {ours} sent then was not wanted")
        }
        TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing => {
            format!("{}, and {peer} answered with a RST", closed_first(it))
        }
        _ => format!("{peer} reset it{when}: the reason is on its side"),
    }
}

fn unanswered(it: &Connection) -> String {
    let peer = peer(it);
    let again = match it.totals.and_then(|totals| totals.retransmits) {
        Some(count) if count > 0 => format!(", sent again {count} times"),
        _ => String::new(),
    };
    let limit = it.totals.and_then(|totals| totals.user_timeout_ms);
    let limit = limit.filter(|ms| *ms > 0);
    let limit = limit.map(|ms| human(u64::from(ms) * 1_000_000));
    if it.last == TcpState::SynSent {
        let waited = |word| time_in(it, TcpState::SynSent, word);
        return match it.end {
            End::Unreachable => format!("{peer} cannot be reached, said ICMP{}", waited("after")),
            _ => format!(
                "no answer to the SYN from {peer}{}{again}: host down, or a firewall drops it",
                waited("within")
            ),
        };
    }
    if it.last == TcpState::SynRecv {
        return format!("{peer} did not finish the handshake");
    }
    match (it.reset_reason, limit) {
        (Some(Reason::Keepalive), Some(limit)) => format!(
            "{peer} answered no keepalive probe for {limit} (TCP_USER_TIMEOUT): it is gone, or the path to it"
        ),
        (Some(Reason::Keepalive), None) => {
            format!("{peer} answered no keepalive probe: it is gone, or the path to it")
        }
        (Some(Reason::UserTimeout), Some(limit)) => format!(
            "{peer} acknowledged nothing for {limit} (TCP_USER_TIMEOUT){again}: it is gone, or the path to it"
        ),
        _ if it.end == End::Unreachable => {
            format!("{peer} cannot be reached any more, said ICMP{again}")
        }
        _ => format!("{peer} acknowledged nothing{again}: it is gone, or the path to it"),
    }
}

impl Connection {
    /// From its begin to the first FIN, or to its end.
    fn lifetime_until_closed(&self) -> Dwell {
        let open = self.states.iter().filter(|(state, _)| !closes(*state));
        let total = open.map(|(_, dwell)| dwell).try_fold(0, |sum: u64, dwell| {
            let (Dwell::Exact(ns) | Dwell::AtLeast(ns)) = dwell else {
                return None;
            };
            Some(sum.saturating_add(ns))
        });
        match (total, self.lifetime) {
            (None | Some(0), _) => Dwell::Unknown,
            (Some(ns), Dwell::Exact(_)) => Dwell::Exact(ns),
            // A state may have been missed altogether.
            (Some(ns), _) => Dwell::AtLeast(ns),
        }
    }
}

/// Who did it, by a call or by exiting.
fn did(closer: Option<Closer>, what: &str) -> Option<String> {
    let closer = closer?;
    let exited = match closer.call {
        Call::Exit => "exited and ",
        _ => "",
    };
    Some(format!("{} {exited}{what}", process(&closer.process)))
}

fn by(closer: Option<Closer>) -> Option<String> {
    closer.map(|closer| process(&closer.process))
}

fn process(process: &Process) -> String {
    let name = process.comm.split(|byte| *byte == 0).next();
    let name = String::from_utf8_lossy(name.unwrap_or_default());
    format!("{name} ({})", process.pid)
}

fn peer(it: &Connection) -> String {
    format!("the peer {}", end_of_peer(it))
}

fn end_of_peer(it: &Connection) -> String {
    let mut out = Vec::new();
    address::endpoint(&it.tuple.raddr, it.tuple.rport, it.family, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// After which time it was closed, and whether it had been idle for long.
fn when(it: &Connection) -> String {
    const IDLE_NS: u64 = 1_000_000_000;
    let idle = it.idle_ns.filter(|ns| *ns >= IDLE_NS);
    let (least, ns) = match it.lifetime_until_closed() {
        Dwell::Exact(ns) => ("", ns),
        Dwell::AtLeast(ns) => ("at least ", ns),
        Dwell::Unknown => return String::new(),
    };
    let open = human(ns);
    match idle {
        // All but the handshake and one request.
        Some(idle) if idle >= ns - ns / 100 => format!(" after {} idle", human(idle)),
        Some(idle) => format!(" after {least}{open}, {} of them idle", human(idle)),
        None => format!(" after {least}{open}"),
    }
}

/// How long it was in `state`, with the word that says so.
fn time_in(it: &Connection, state: TcpState, word: &str) -> String {
    match it.states.get(state) {
        Some(Dwell::Exact(ns)) => format!(" {word} {}", human(ns)),
        Some(Dwell::AtLeast(ns)) => format!(" {word} at least {}", human(ns)),
        _ => String::new(),
    }
}

fn human(ns: u64) -> String {
    let mut out = Vec::new();
    duration::human(ns, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
