//! Very many requests at the same time.

use super::table::WAITING;
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
