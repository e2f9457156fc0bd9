use std::{fs, io, thread};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{Absent, Counter, Counters, Gauge, Reading, Wanted, text};
use crate::decode::KtimeNs;

const SNMP: &str = "\
Ip: Forwarding DefaultTTL
Ip: 1 64
Tcp: RtoAlgorithm MaxConn ActiveOpens PassiveOpens
Tcp: 1 -1 474497 18446744073709551615
";

#[test]
fn a_counter_is_found_by_its_name_wherever_it_stands() {
    assert_eq!(text::paired(SNMP, "Tcp", "ActiveOpens"), Ok(474_497));
    assert_eq!(text::paired(SNMP, "Tcp", "PassiveOpens"), Ok(u64::MAX));
    assert_eq!(text::paired(SNMP, "Ip", "DefaultTTL"), Ok(64));
}

#[test]
fn a_field_that_is_not_there_is_told_from_one_that_is_no_number() {
    let no_field = Err(Absent::NoField);
    let no_number = Err(Absent::NoNumber);
    assert_eq!(text::paired(SNMP, "Tcp", "InCsumErrors"), no_field);
    assert_eq!(text::paired(SNMP, "TcpExt", "ListenDrops"), no_field);
    assert_eq!(text::paired("", "Tcp", "InSegs"), no_field);
    assert_eq!(text::paired(SNMP, "Tcp", "MaxConn"), no_number);
    for garbage in [
        "Tcp: InSegs",
        "Tcp: InSegs\nTcp:",
        "Tcp: InSegs\nTcp: many",
        "Tcp: InSegs OutSegs\nTcp: 1",
        "Tcp: InSegs\nTcp: 1 2",
        "Tcp: InSegs\nTcp: 18446744073709551616",
        "Tcp: InSegs\nTcp: \u{fffd}1",
    ] {
        assert_eq!(
            text::paired(garbage, "Tcp", "InSegs"),
            no_number,
            "{garbage}"
        );
    }
}

#[test]
fn sockstat_has_its_names_between_the_numbers() {
    let sockstat = "sockets: used 14\nTCP: inuse 2 orphan 3 tw 5 alloc 7 mem\n";
    assert_eq!(text::named(sockstat, "TCP", "orphan"), Ok(3));
    assert_eq!(text::named(sockstat, "TCP", "tw"), Ok(5));
    assert_eq!(
        text::named(sockstat, "TCP", "mem"),
        Err(Absent::NoNumber),
        "cut off"
    );
    assert_eq!(text::named(sockstat, "TCP", "2"), Err(Absent::NoField));
    assert_eq!(text::named(sockstat, "UDP", "mem"), Err(Absent::NoField));
    assert_eq!(text::number("1\t2\t3\n", 1), Ok(2));
    assert_eq!(text::number("1\t2\t3\n", 3), Err(Absent::NoNumber));
}

#[test]
fn a_counter_that_went_back_counts_nothing() {
    let mut before = Reading::absent(KtimeNs(0), Absent::NoField);
    let mut after = before;
    before.set_counter(Counter::InSegs, Ok(u64::from(u32::MAX)));
    after.set_counter(Counter::InSegs, Ok(3));
    assert_eq!(after.since(&before, Counter::InSegs), Err(Absent::WentBack));
    assert_eq!(before.since(&after, Counter::InSegs), Ok(0xffff_fffc));
    after.set_counter(Counter::InSegs, Err(Absent::Gone));
    assert_eq!(after.since(&before, Counter::InSegs), Err(Absent::Gone));
    after.set_gauge(Gauge::Orphans, Ok(u64::MAX));
    assert_eq!(after.gauge(Gauge::Orphans), Err(Absent::NoNumber));
}

#[test]
fn this_kernel_has_every_counter_of_its_first_namespace() {
    let own = Counters::open(&Wanted::Own).unwrap();
    let (first, second) = (own.read(), own.read());
    assert!(first.at <= second.at);
    for counter in Counter::ALL {
        let counted = second.since(&first, counter);
        assert!(counted.is_ok(), "{counter:?}: {counted:?}");
    }
    for gauge in Gauge::ALL {
        let value = first.gauge(gauge);
        assert!(value.is_ok(), "{gauge:?}: {value:?}");
    }
}

#[test]
fn a_namespace_that_nobody_is_in_cannot_be_opened() {
    let nobody = Counters::open(&Wanted::Inode(1)).unwrap_err();
    assert_eq!(nobody.kind(), io::ErrorKind::NotFound);
    let file = Wanted::File("/proc/self/status".into());
    assert!(Counters::open(&file).is_err());
}

/// Needs the privilege to make a namespace, and says so where there is none.
#[test]
fn a_namespace_is_not_kept_by_being_read_and_its_end_is_noticed() {
    let (tell, inode) = std::sync::mpsc::channel();
    let (stay, leave) = std::sync::mpsc::channel::<()>();
    let inside = thread::spawn(move || {
        // SAFETY: a network namespace of its own changes nothing that another
        // thread uses.
        let made = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
        let link = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let number = link
            .to_str()
            .unwrap()
            .trim_matches(|c: char| !c.is_ascii_digit());
        tell.send(made.map(|()| number.parse().unwrap())).unwrap();
        let _ = leave.recv();
    });
    let Ok(inode) = inode.recv().unwrap() else {
        println!("not run: no privilege to make a network namespace");
        return;
    };
    let there = Counters::open(&Wanted::Inode(inode)).unwrap();
    let reading = there.read();
    assert_eq!(reading.counter(Counter::ActiveOpens), Ok(0));
    assert_eq!(reading.gauge(Gauge::TimeWait), Ok(0));
    assert!(reading.gauge(Gauge::MaxTimeWait).is_ok());
    assert!(reading.gauge(Gauge::MaxOrphans).is_ok());
    drop(stay);
    inside.join().unwrap();
    // The kernel takes it down in a worker, `cleanup_net`.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let is_gone = |reading: &Reading| {
        reading.counter(Counter::ActiveOpens) == Err(Absent::Gone)
            && reading.gauge(Gauge::MaxTimeWait) == Err(Absent::Gone)
    };
    while !is_gone(&there.read()) {
        assert!(std::time::Instant::now() < deadline, "{:?}", there.read());
        thread::yield_now();
    }
    let gone = there.read();
    for counter in Counter::ALL {
        assert_eq!(gone.counter(counter), Err(Absent::Gone), "{counter:?}");
    }
    // Those of the whole host stay.
    assert!(gone.gauge(Gauge::MaxOrphans).is_ok());
}
