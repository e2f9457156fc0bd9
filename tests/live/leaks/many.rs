//! Many sockets of one cause, and many descriptors around a few.

use std::{collections::HashSet, time::Instant};

use super::{Leaks, fds, lines, visit};
use crate::{
    clock::{in_vm, patience},
    ns::Netns,
    zoo::Leaking,
};

#[test]
fn thousands_of_one_cause_are_one_group_and_no_record_is_lost() {
    let count = if in_vm() { 200 } else { 10_000 };
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let server = inside.enter(|| {
        let server = Leaking::server("never-closed");
        visit(&server, count, b"");
        server
    });
    let group = leaks.until("never_closed", count as u64);
    let captured = !leaks.hooks()["accept_stack"].is_null();
    assert_eq!(group["pid"], server.pid());
    assert_eq!(fds(&group), count);
    let (last, done) = leaks.stop();
    assert_eq!(last.len(), 1, "{last:#?}");
    assert_eq!(last[0]["count"], count);
    // More than the process's share of stacks: the others' are taken for the same.
    let seen = last[0]["origin"]["seen"].as_u64().unwrap();
    assert_eq!(seen > 0, captured, "{seen}");
    assert!(in_vm() || seen < count as u64, "{seen}");
    let end = lines(&done.stdout, "end").pop().unwrap();
    let lost = end["lost"].as_object().unwrap();
    assert!(lost.values().all(|it| it == 0), "{end}");
}

#[test]
fn descriptors_behind_as_many_others_as_the_machine_allows_are_found() {
    // Up to 100,000, where the hard limit is none to root (CAP_SYS_RESOURCE).
    let least = 10_000;
    let inside = Netns::new();
    let mut leaks = Leaks::start(&inside, &["--min-age", "100ms"]);
    let server = inside.enter(|| {
        let server = Leaking::server("behind-many");
        visit(&server, 3, b"");
        server
    });
    let group = leaks.until("never_closed", 3);
    assert_eq!(group["pid"], server.pid());
    let numbers = group["fds"].as_array().unwrap();
    assert_eq!(numbers.len(), 3);
    assert!(numbers.iter().all(|fd| fd.as_u64() > Some(least)));
    leaks.stop();
    let began = Instant::now();
    tcpstate::holders::scan(&HashSet::from([1])).unwrap();
    let took = began.elapsed();
    {
        println!(
            "{} and all other descriptors of this machine: {took:?}",
            numbers[0]
        );
    }
    assert!(took < patience(), "{took:?}");
}
