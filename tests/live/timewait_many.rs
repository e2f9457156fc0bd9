//! More minisockets at the same time than a busy server has, and what they cost:
//! every begin and every end is there, although the ends come in bursts of a
//! whole slot of the timer wheel.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
};

use rustix::{
    io::read,
    net::{Shutdown, SocketFlags, accept_with, connect, shutdown},
    thread::disable_transparent_huge_pages,
};

use crate::{
    clock::{in_vm, now, wait_for},
    facts::tell,
    families::{Families, Family},
    flood::spacious,
    lines::Transition,
    net::{Listener, bound, socket},
    ns::Netns,
    timewait::{SECOND, SLOT, counters, minisockets},
    trace::Finished,
};

/// How many: they have to be there before the first one's minute is over, so
/// the emulated machine has a hundredth. A machine that is busy otherwise may
/// not make so many in time, but has to make a tenth.
fn full() -> u64 {
    if in_vm() { 2_000 } else { 200_000 }
}

/// A remote address has 28,232 local ports; the fuller it is, the longer the
/// kernel looks for one that is free.
const PER_ADDRESS: u64 = 2_000;

/// The tool may be so far behind: the test wants to know what a lasting number
/// costs, not which rate is too much.
fn behind() -> u64 {
    full() / 20
}

fn address(number: u64, port: u16) -> SocketAddr {
    let first = u32::from(Ipv4Addr::new(127, 0, 1, 1));
    let next = u32::try_from(number / PER_ADDRESS).unwrap();
    SocketAddr::from((Ipv4Addr::from(first + next), port))
}

/// Leaves one end in `TIME_WAIT` and nothing of the other. No step takes more
/// system calls than it must.
fn open_and_close(listener: &Listener, remote: SocketAddr) {
    let client = socket(remote);
    connect(&client, &remote).unwrap();
    let server = accept_with(listener, SocketFlags::CLOEXEC).unwrap();
    shutdown(&client, Shutdown::Write).unwrap();
    assert_eq!(read(&server, &mut [0_u8; 1][..]), Ok(0));
    drop(server);
    assert_eq!(read(&client, &mut [0_u8; 1][..]), Ok(0));
}

/// A number of `/proc/PID/status`, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap() * 1024
}

/// The kernel's own count of the minisockets of the thread's namespace.
fn waiting() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/sockstat").unwrap();
    let line = text.lines().find(|line| line.starts_with("TCP:")).unwrap();
    let mut words = line.split_whitespace();
    words.find(|&word| word == "tw").unwrap();
    words.next().unwrap().parse().unwrap()
}

/// Makes them until the kernel has so many at once, and gives how many it took
/// and how many it has.
fn make(families: &mut Families) -> (u64, u64) {
    let (fd, own) = bound("0.0.0.0:0".parse().unwrap());
    let listener = Listener::from_bound(fd, own);
    let mut made = 0;
    let begun = now();
    let (at_once, _) = wait_for("so many at once", || {
        let more = behind() / 2;
        for number in made..made + more {
            open_and_close(&listener, address(number, own.port()));
        }
        made += more;
        // One line each so far: that of its begin.
        let told = made.saturating_sub(behind());
        families.until("their begins", |seen| seen.len() as u64 >= told);
        let late = now() - begun > 55 * SECOND;
        Some(waiting()).filter(|&at_once| at_once >= full() || late)
    });
    assert!(at_once >= full() / 10, "only {at_once} at once");
    families.until("all begins", |seen| seen.len() as u64 >= made);
    (made, at_once)
}

/// Pairs the begin and the end of every connection.
fn assert_paired(family: Family, run: &Finished, made: u64) {
    let mut begun = HashMap::new();
    let mut ended = 0;
    for line in run.select(|_| true) {
        match (line.old.as_str(), line.new.as_str()) {
            ("FIN_WAIT2", "TIME_WAIT") => {
                let before = begun.insert(&line.conn, line.mono_ns);
                assert_eq!(before, None, "{family}: {line:?}");
            }
            ("TIME_WAIT", "CLOSE") => {
                let begin = begun.remove(&line.conn);
                let begin = begin.unwrap_or_else(|| panic!("{family}: no begin: {line:?}"));
                assert_minute(family, line, begin);
                ended += 1;
            }
            _ => panic!("{family}: {line:?}"),
        }
    }
    assert_eq!((begun.len(), ended), (0, made), "{family}: no end, ended");
}

fn assert_minute(family: Family, line: &Transition, begin: u64) {
    let dwell = line.mono_ns - begin;
    let told = (line.dwell.as_str(), line.dwell_ns, line.cause.as_deref());
    assert_eq!(
        told,
        ("exact", Some(dwell), Some("expired")),
        "{family}: {line:?}"
    );
    // Such a FIN starts the minute again.
    let again = if line.rearmed == Some(0) { 0 } else { SECOND };
    let minute = 60 * SECOND - SECOND / 100..=60 * SECOND + SLOT + again;
    assert!(minute.contains(&dwell), "{family}: {line:?}");
}

/// The most ends within 10 ms.
fn burst(run: &Finished) -> usize {
    let ends = run.select(|line| line.old == "TIME_WAIT");
    let mut counts = HashMap::<u64, usize>::new();
    for line in ends {
        *counts.entry(line.mono_ns / (SECOND / 100)).or_default() += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

#[test]
fn two_hundred_thousand_at_once_all_have_their_begin_and_their_end() {
    let inside: Netns = spacious();
    // A FIN that is repeated because its answer is late gets another one, which
    // meets nobody but the listener: without this, its RST is the end.
    inside.set("tcp_rfc1337", "1");
    // After a second a port in TIME_WAIT would be given again.
    inside.set("tcp_tw_reuse", "0");
    if in_vm() {
        // Debian's kernels give huge pages to everybody (`enabled=always`), when
        // they have time: so few sockets weigh less than two of those. The tool
        // inherits this.
        disable_transparent_huge_pages(true).unwrap();
    }
    let only = inside.inode.to_string();
    let mut families = Families::start(&["--netns", &only, "--state", "time-wait"]);
    let idle: Vec<_> = families
        .pids()
        .iter()
        .map(|(_, pid)| memory(*pid))
        .collect();
    let (counted, made) = inside.enter(|| {
        let (made, at_once) = make(&mut families);
        tell("memory", "minisockets at once", at_once);
        for ((family, pid), idle) in families.pids().into_iter().zip(idle) {
            let each = memory(pid).saturating_sub(idle) / made;
            let key = format!("bytes per tracked minisocket/{family}");
            // A few pages are no measure: the emulated machine has too few.
            if !in_vm() {
                tell("memory", &key, each);
            }
            // An entry has 120 bytes, and a table that has just grown is half
            // empty: then it still has the old one beside it.
            assert!(each < 1_000, "{family}: {each} bytes per minisocket");
        }
        wait_for("the end of the last one", || (waiting() == 0).then_some(()));
        (counters(), made)
    });
    let runs = families.stop();
    assert_eq!(minisockets(&counted), made, "{counted:#?}");
    for (family, run) in &runs.whole {
        assert_paired(*family, run, made);
        tell("burst", &format!("ends in 10 ms/{family}"), burst(run));
    }
}
