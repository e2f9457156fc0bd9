//! Records of every kind, as bytes and decoded.

use tcpstate_common::{
    record::{self, Header, Task, Tuple, kind, words_of},
    state::TcpState,
};
use zerocopy::IntoBytes;

use crate::decode::{
    Event, How, Inspection, KtimeNs, LastLook, Minisocket, MinisocketEvent, Request, RequestEvent,
    ResetSent, Snapshot, SockAddr64, SocketKind, SweepPhase, Transition,
};

const TUPLE: Tuple = Tuple {
    laddr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
    raddr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 2],
    lport: 40_000,
    rport: 80,
};

const TASK: Task = Task {
    pid: 42,
    tid: 43,
    comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
};

const SK: SockAddr64 = SockAddr64(0xffff_8881_0000_1000);

fn header<T>(kind: u8) -> Header {
    Header {
        kind,
        words: words_of::<T>(),
        lost: 7,
        netns: 4_026_531_840,
    }
}

fn wire_transition(kind: u8, words: u8) -> record::Transition {
    record::Transition {
        header: Header {
            words,
            ..header::<record::Transition>(kind)
        },
        ktime: 99,
        sk: SK.0,
        tuple: TUPLE,
        old: 1,
        new: 4,
        how: 6,
        err: 0,
    }
}

fn wire_in_task(kind: u8) -> Vec<u8> {
    let wire = record::InTask {
        header: header::<record::InTask>(kind),
        ktime: 99,
        sk: SK.0,
        task: TASK,
    };
    wire.as_bytes().to_vec()
}

fn wire_on_socket(kind: u8) -> Vec<u8> {
    let wire = record::OnSocket {
        header: header::<record::OnSocket>(kind),
        ktime: 99,
        sk: SK.0,
    };
    wire.as_bytes().to_vec()
}

fn wire_reset_sent(sk: u64, reason: u32) -> Vec<u8> {
    let wire = record::ResetSent {
        header: header::<record::ResetSent>(kind::RESET_SENT),
        ktime: 99,
        sk,
        reason,
        active: 1,
        reserved: [0; 3],
    };
    wire.as_bytes().to_vec()
}

fn wire_snapshot(sk: u64) -> Vec<u8> {
    let wire = record::Snapshot {
        header: header::<record::Snapshot>(kind::SNAPSHOT),
        ktime: 99,
        sk,
        tuple: TUPLE,
        state: 10,
        kind: record::socket_kind::FULL,
        how: 0,
        reserved: 0,
        inode: 11,
        cookie: 12,
    };
    wire.as_bytes().to_vec()
}

pub(super) fn wire_sweep(phase: u8) -> Vec<u8> {
    let wire = record::Sweep {
        header: header::<record::Sweep>(kind::SWEEP),
        ktime: 99,
        phase,
        reserved: [0; 7],
    };
    wire.as_bytes().to_vec()
}

fn wire_inspection() -> Vec<u8> {
    let wire = record::Inspection {
        header: header::<record::Inspection>(kind::INSPECTION),
        ktime: 99,
        sk: SK.0,
        tuple: TUPLE,
        state: 8,
        how: 9,
        reserved: [0; 2],
        inode: 11,
        unread: 12,
        quiet_ms: 13,
        queue: 14,
        queue_limit: 15,
    };
    wire.as_bytes().to_vec()
}

fn inspected() -> Event {
    Event::Inspection(Inspection {
        sk: SK,
        netns: 4_026_531_840,
        tuple: TUPLE,
        state: TcpState::CloseWait,
        how: How(9),
        inode: 11,
        unread: 12,
        quiet_ms: 13,
        queue: 14,
        queue_limit: 15,
    })
}

fn wire_last_look(known: u8, flags: u8) -> Vec<u8> {
    let wire = record::LastLook {
        header: header::<record::LastLook>(kind::LAST_LOOK),
        ktime: 99,
        sk: SK.0,
        bytes_received: 1_000,
        bytes_sent: 2_000,
        bytes_retrans: 500,
        task: TASK,
        total_retrans: 3,
        unread: 12,
        user_timeout_ms: 30_000,
        sent_ms: 80_000,
        received_ms: 75_000,
        probes_out: 4,
        flags,
        known,
        reserved: 0,
    };
    wire.as_bytes().to_vec()
}

fn looked() -> Event {
    Event::LastLook(LastLook {
        sk: SK,
        bytes_received: Some(1_000),
        bytes_sent: Some(1_500),
        retransmits: Some(3),
        unread: 12,
        user_timeout_ms: Some(30_000),
        probes: Some(4),
        idle_ms: Some(75_000),
        keepalive: false,
        linger_zero: Some(true),
        no_fin_wait2: false,
        task: TASK,
        exiting: false,
    })
}

fn looked_at_an_unknown_kernel() -> Event {
    Event::LastLook(LastLook {
        sk: SK,
        bytes_received: None,
        bytes_sent: None,
        retransmits: None,
        unread: 12,
        user_timeout_ms: None,
        probes: None,
        idle_ms: None,
        keepalive: true,
        linger_zero: None,
        no_fin_wait2: true,
        task: TASK,
        exiting: true,
    })
}

fn wire_minisocket(what: u8, by: u8, sk: u64) -> Vec<u8> {
    let wire = record::Minisocket {
        header: header::<record::Minisocket>(kind::MINISOCKET),
        ktime: 99,
        tw: SK.0 + 0x100,
        sk,
        tuple: TUPLE,
        what,
        substate: 6,
        how: 0,
        by,
        pid: 42,
        left_ms: 59_999,
    };
    wire.as_bytes().to_vec()
}

fn minisocket(what: MinisocketEvent, sk: Option<SockAddr64>) -> Event {
    Event::Minisocket(Minisocket {
        tw: SockAddr64(SK.0 + 0x100),
        sk,
        netns: 4_026_531_840,
        tuple: TUPLE,
        how: How(0),
        substate: TcpState::TimeWait,
        pid: 42,
        left_ms: 59_999,
        what,
    })
}

/// What a minisocket's record says, by `what`, and the same checked. `by` is
/// 17 in each.
const OF_A_MINISOCKET: [(u8, MinisocketEvent); 7] = [
    (record::minisocket::BEGUN, MinisocketEvent::Begun),
    (record::minisocket::ARMED, MinisocketEvent::Armed),
    (
        record::minisocket::HANDLED,
        MinisocketEvent::Handled { flags: 17 },
    ),
    (
        record::minisocket::STOPPED,
        MinisocketEvent::Stopped { caller: 17 },
    ),
    (record::minisocket::EXPIRED, MinisocketEvent::Expired),
    (
        record::minisocket::ENDED,
        MinisocketEvent::Ended { caller: 17 },
    ),
    (
        record::minisocket::DESTROYED,
        MinisocketEvent::Destroyed { caller: 17 },
    ),
];

fn wire_request(what: u8) -> Vec<u8> {
    let wire = record::Request {
        header: header::<record::Request>(kind::REQUEST),
        ktime: 99,
        req: SK.0 + 0x200,
        listener: SK.0,
        synack_us: 77,
        tuple: TUPLE,
        what,
        by: 8,
        how: 0,
        listener_state: 10,
    };
    wire.as_bytes().to_vec()
}

fn request(what: RequestEvent) -> Event {
    Event::Request(Request {
        req: SockAddr64(SK.0 + 0x200),
        listener: SK,
        listener_state: TcpState::Listen,
        netns: 4_026_531_840,
        tuple: TUPLE,
        how: How(0),
        begun: KtimeNs(77_000),
        by: 8,
        what,
    })
}

/// What a request's record says, by `what`, and the same checked.
const OF_A_REQUEST: [(u8, RequestEvent); 5] = [
    (record::request::CLONED, RequestEvent::Cloned),
    (record::request::STOPPED, RequestEvent::Stopped),
    (record::request::EXPIRED, RequestEvent::Expired),
    (record::request::ARMED, RequestEvent::Armed),
    (record::request::ENDED, RequestEvent::Ended),
];

fn transition_in(task: Option<Task>) -> Event {
    Event::Transition(Transition {
        sk: SK,
        netns: 4_026_531_840,
        tuple: TUPLE,
        old: TcpState::Established,
        new: TcpState::FinWait1,
        how: How(6),
        err: 0,
        task,
    })
}

fn reset(sk: Option<SockAddr64>, reason: Option<u32>) -> Event {
    Event::ResetSent(ResetSent {
        sk,
        reason,
        active: true,
    })
}

fn seen(sk: Option<SockAddr64>) -> Event {
    Event::Snapshot(Snapshot {
        sk,
        netns: 4_026_531_840,
        tuple: TUPLE,
        state: TcpState::Listen,
        kind: SocketKind::Full,
        how: How(0),
        inode: 11,
        cookie: 12,
    })
}

/// Bytes of every kind, and what they mean.
pub(super) fn every_kind() -> Vec<(Vec<u8>, Event)> {
    let in_task = record::TransitionInTask {
        transition: wire_transition(kind::TRANSITION_IN_TASK, 11),
        task: TASK,
    };
    let alone = wire_transition(kind::TRANSITION, 8).as_bytes().to_vec();
    let none = record::ResetSent::NO_REASON;
    let minisockets = OF_A_MINISOCKET.into_iter().map(|(what, event)| {
        let sk = (what == record::minisocket::BEGUN).then_some(SK);
        let bytes = wire_minisocket(what, 17, sk.map_or(0, |sk| sk.0));
        (bytes, minisocket(event, sk))
    });
    let mut kinds = vec![
        (alone, transition_in(None)),
        (in_task.as_bytes().to_vec(), transition_in(Some(TASK))),
        (wire_in_task(kind::ACCEPTED), Event::Accepted(SK, TASK)),
        (
            wire_in_task(kind::CLOSE_CALLED),
            Event::CloseCalled(SK, TASK),
        ),
        (wire_reset_sent(SK.0, 14), reset(Some(SK), Some(14))),
        (wire_reset_sent(0, none), reset(None, None)),
        (
            wire_on_socket(kind::RESET_RECEIVED),
            Event::ResetReceived(SK),
        ),
        (wire_on_socket(kind::DESTROYED), Event::Destroyed(SK)),
        (wire_snapshot(SK.0), seen(Some(SK))),
        (wire_snapshot(0), seen(None)),
        (wire_sweep(1), Event::Sweep(SweepPhase::Begin)),
        (wire_sweep(2), Event::Sweep(SweepPhase::End)),
        (wire_sweep(3), Event::Sweep(SweepPhase::Failed)),
    ];
    kinds.extend(minisockets);
    kinds.extend(OF_A_REQUEST.map(|(what, event)| (wire_request(what), request(event))));
    kinds.push((wire_inspection(), inspected()));
    kinds.push((wire_last_look(0b111_1111, 0b110), looked()));
    kinds.push((wire_last_look(0, 0b1_1011), looked_at_an_unknown_kernel()));
    kinds
}
