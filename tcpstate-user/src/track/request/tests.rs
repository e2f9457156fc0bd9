//! Very many requests at the same time.

use super::table::{QUEUED, WAITING};
use crate::{
    decode::{Event, How, KtimeNs, Record, Request, RequestEvent, SockAddr64, SweepPhase},
    track::{Cause, Follows, Limits, Tracker},
};
use tcpstate_common::{
    record::{Tuple, caller},
    state::TcpState,
};

fn expired(number: u32) -> Event {
    let mut raddr = [0; 16];
    raddr[12..].copy_from_slice(&number.to_be_bytes());
    Event::Request(Request {
        req: SockAddr64(u64::from(number) + 1),
        listener: SockAddr64(1),
        listener_state: TcpState::Listen,
        netns: 1,
        tuple: Tuple {
            laddr: [1; 16],
            raddr,
            lport: 80,
            rport: 80,
        },
        how: How(0),
        begun: KtimeNs(1_000),
        by: caller::UNKNOWN,
        what: RequestEvent::Expired,
    })
}

#[test]
fn handshakes_that_succeed_at_any_rate_are_remembered_in_so_much_and_no_more() {
    let follows = Follows {
        requests: true,
        ..Follows::default()
    };
    let mut tracker = Tracker::new(Limits::default(), follows);
    let mut out = Vec::new();
    // All within the second for which a begin is kept for its child. The first
    // stays for so long, each other one is taken out by the next of its tuple.
    for number in 0..5 * u32::try_from(WAITING).unwrap() {
        let Event::Request(died) = expired(number) else {
            unreachable!()
        };
        let both = [RequestEvent::Cloned, RequestEvent::Armed];
        for &what in &both[..if number == 0 { 1 } else { 2 }] {
            let event = Event::Request(Request { what, ..died });
            let at = KtimeNs(3_000_000_000 + u64::from(number));
            tracker.apply(&Record { at, lost: 0, event }, &mut out);
        }
        assert!(tracker.requests.queued() <= QUEUED);
    }
    assert_eq!((out.len(), tracker.counters().refused), (0, 0));
}

#[test]
fn a_flood_that_ends_at_once_is_told_as_far_as_there_is_room_and_the_rest_counted() {
    let follows = Follows {
        requests: true,
        ..Follows::default()
    };
    let mut tracker = Tracker::new(Limits::default(), follows);
    let mut out = Vec::new();
    let mut apply = |at: u64, event| {
        let at = KtimeNs(at);
        tracker.apply(&Record { at, lost: 0, event }, &mut out);
    };
    apply(10, Event::Sweep(SweepPhase::Begin));
    apply(20, Event::Sweep(SweepPhase::End));
    let many = u32::try_from(WAITING).unwrap() + 10;
    for number in 0..many {
        apply(3_000_000_000, expired(number));
    }
    tracker.finish(&mut out);
    let told = out.iter().filter(|line| line.new == TcpState::Close);
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), WAITING);
    assert!(told.iter().all(|line| line.cause == Some(Cause::Timeout)));
    assert_eq!(tracker.counters().refused, 10);
    assert!(tracker.is_empty());
}
