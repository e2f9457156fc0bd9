//! Verdicts and groups, from facts.

use tcpstate_common::record::how;

use super::*;
use crate::decode::{KtimeNs, SockAddr64};

const S: u64 = 1_000_000_000;
const MIN_AGE: u64 = 10 * S;

fn process(pid: u32) -> Process {
    let mut comm = [0; 16];
    comm[..3].copy_from_slice(b"srv");
    Process { pid, comm }
}

/// Accepted and held by process 7, end-of-file read, for 20 s.
fn socket(n: u64) -> Socket {
    Socket {
        conn: ConnId {
            birth: KtimeNs(n),
            sk: SockAddr64(n << 6),
        },
        netns: 1,
        family: Family::Inet,
        tuple: Tuple {
            laddr: [1; 16],
            raddr: [2; 16],
            lport: 80,
            rport: 40_000 + u16::try_from(n).unwrap(),
        },
        state: TcpState::CloseWait,
        age_ns: 20 * S,
        age_exact: true,
        opened: Opened::Accept,
        origin: Some(process(7)),
        origin_stack: None,
        eof_stack: None,
        reset: false,
        how: How(0),
        inode: 100 + n,
        unread: 0,
        holders: vec![Descriptor {
            pid: 7,
            fd: u32::try_from(n).unwrap(),
        }],
        listener: None,
    }
}

fn class(socket: &Socket) -> Option<Class> {
    judge(socket, MIN_AGE).map(|(class, _)| class)
}

#[test]
fn the_evidence_decides_the_class() {
    let base = socket(1);
    let elsewhere = vec![Descriptor { pid: 8, fd: 3 }];
    let queued = How(how::NO_SOCKET);
    let orphan = How(how::NO_SOCKET | how::ORPHAN);
    let cases: [(Option<Class>, Socket); 14] = [
        (Some(Class::NeverClosed), base.clone()),
        (
            Some(Class::EofNotRead),
            Socket {
                unread: 1,
                ..base.clone()
            },
        ),
        (
            Some(Class::UnreadData),
            Socket {
                unread: 9,
                ..base.clone()
            },
        ),
        (
            Some(Class::IdlePool),
            Socket {
                unread: 1,
                opened: Opened::Connect,
                ..base.clone()
            },
        ),
        (
            Some(Class::NeverAccepted),
            Socket {
                inode: 0,
                how: queued,
                origin: None,
                holders: vec![],
                unread: 1,
                ..base.clone()
            },
        ),
        (
            None,
            Socket {
                inode: 0,
                how: orphan,
                ..base.clone()
            },
        ),
        (
            Some(Class::HeldElsewhere),
            Socket {
                holders: elsewhere.clone(),
                ..base.clone()
            },
        ),
        (
            // Nobody saw who opened it: the holder is as good as the opener.
            Some(Class::NeverClosed),
            Socket {
                holders: elsewhere,
                origin: None,
                ..base.clone()
            },
        ),
        (
            Some(Class::HalfClosed),
            Socket {
                state: TcpState::FinWait2,
                ..base.clone()
            },
        ),
        (
            None,
            Socket {
                state: TcpState::FinWait2,
                how: orphan,
                inode: 0,
                ..base.clone()
            },
        ),
        (
            Some(Class::ResetButOpen),
            Socket {
                state: TcpState::Close,
                reset: true,
                ..base.clone()
            },
        ),
        (
            None,
            Socket {
                state: TcpState::Close,
                ..base.clone()
            },
        ),
        (
            None,
            Socket {
                state: TcpState::Close,
                reset: true,
                holders: vec![],
                ..base.clone()
            },
        ),
        (
            None,
            Socket {
                state: TcpState::Established,
                ..base
            },
        ),
    ];
    for (expected, socket) in cases {
        assert_eq!(class(&socket), expected, "{socket:#?}");
    }
}

#[test]
fn a_young_one_is_too_early_to_say_and_only_counted() {
    let young = Socket {
        age_ns: MIN_AGE - 1,
        ..socket(1)
    };
    assert_eq!(
        judge(&young, MIN_AGE),
        Some((Class::NeverClosed, Verdict::TooEarly))
    );
    let report = group(&[young], MIN_AGE, 60 * S);
    assert_eq!((report.groups.len(), report.too_early), (0, 1));
}

#[test]
fn ten_thousand_of_one_cause_are_one_group() {
    let sockets: Vec<_> = (0..10_000)
        .map(|n| Socket {
            age_ns: (11 + n) * S,
            ..socket(n)
        })
        .collect();
    let report = group(&sockets, MIN_AGE, 120 * S);
    assert_eq!(report.groups.len(), 1);
    let group = &report.groups[0];
    assert_eq!((group.class, group.count), (Class::NeverClosed, 10_000));
    assert_eq!(group.owner, Owner::Opener(7));
    assert_eq!(group.ages.oldest, 10_010 * S);
    assert!((group.growth_per_min - 5_000.0).abs() < 1e-6);
    assert_eq!(group.held.len(), 10_000);
    // Clients' ports differ; the peer is one.
    assert_eq!(group.peers.len(), 1);
    assert_eq!(group.peers[0].1, 10_000);
}

#[test]
fn another_stack_is_another_group_and_the_worst_is_first() {
    let at = |n, stack| Socket {
        origin_stack: Some(StackId(stack)),
        ..socket(n)
    };
    let report = group(&[at(1, 1), at(2, 2), at(3, 2)], MIN_AGE, 60 * S);
    let found: Vec<_> = report
        .groups
        .iter()
        .map(|it| (it.origin_stack, it.count))
        .collect();
    assert_eq!(found, [(Some(StackId(2)), 2), (Some(StackId(1)), 1)]);
}

#[test]
fn what_was_not_sampled_belongs_to_the_only_place_that_the_sample_has() {
    let at = |n, stack: Option<u32>| Socket {
        origin_stack: stack.map(StackId),
        ..socket(n)
    };
    let groups = |all: &[Socket]| {
        let groups = group(all, MIN_AGE, 60 * S).groups;
        let told = groups.iter();
        told.map(|it| (it.origin_stack.map(|id| id.0), it.count, it.origin_seen))
            .collect::<Vec<_>>()
    };
    let one = [at(1, Some(1)), at(2, None), at(3, None)];
    assert_eq!(groups(&one), [(Some(1), 3, 1)]);
    let two = [at(1, Some(1)), at(2, None), at(3, Some(2))];
    assert_eq!(groups(&two).len(), 3);
    // Older than the trace: whose it was is not known.
    let older = Socket {
        origin: None,
        ..at(2, None)
    };
    assert_eq!(groups(&[at(1, Some(1)), older]).len(), 2);
}

#[test]
fn an_idle_pool_is_a_notice_until_it_is_too_large_for_one() {
    let pool = |count| {
        let idle = |n| Socket {
            unread: 1,
            opened: Opened::Connect,
            ..socket(n)
        };
        let sockets: Vec<_> = (0..count).map(idle).collect();
        let report = group(&sockets, MIN_AGE, 60 * S);
        (report.groups[0].class, report.groups[0].verdict)
    };
    assert_eq!(pool(100), (Class::IdlePool, Verdict::Notice));
    assert_eq!(pool(101), (Class::EofNotRead, Verdict::Suspect));
}

#[test]
fn what_nobody_accepts_is_its_listeners_fault() {
    let listener = Listener {
        addr: [0; 16],
        port: 80,
        queue: 5,
        limit: 128,
        pids: vec![9],
    };
    let queued = Socket {
        inode: 0,
        how: How(how::NO_SOCKET),
        origin: None,
        holders: vec![],
        listener: Some(listener),
        ..socket(1)
    };
    let report = group(&[queued], MIN_AGE, 60 * S);
    let group = &report.groups[0];
    assert_eq!(group.owner, Owner::Holder(9));
    let said = message(group, "srv[9]");
    assert!(
        said.contains("srv[9] has not accepted 1 connection"),
        "{said}"
    );
    assert!(said.contains("5 of at most 128"), "{said}");
}

#[test]
fn what_one_process_let_go_astray_is_one_group_whoever_has_it_now() {
    let astray = |n, pid| Socket {
        holders: vec![Descriptor { pid, fd: 4 }],
        ..socket(n)
    };
    let report = group(&[astray(1, 8), astray(2, 9)], MIN_AGE, 60 * S);
    assert_eq!(report.groups.len(), 1);
    let group = &report.groups[0];
    assert_eq!(
        (group.class, group.owner),
        (Class::HeldElsewhere, Owner::Opener(7))
    );
    let said = message(group, "srv[7]");
    assert_eq!(
        said,
        "srv[7] opened 2 sockets that only 2 other processes have now"
    );
}

#[test]
fn where_end_of_file_was_read_is_told_only_when_it_is_one_place() {
    let read = |n, stack| Socket {
        eof_stack: stack,
        ..socket(n)
    };
    let stack = |all: &[Socket]| group(all, MIN_AGE, 60 * S).groups[0].eof_stack;
    let here = Some(StackId(4));
    assert_eq!(stack(&[read(1, here), read(2, here)]), here);
    assert_eq!(stack(&[read(1, here), read(2, Some(StackId(5)))]), None);
    // Where was not captured of all, one of which may do for them.
    assert_eq!(stack(&[read(1, here), read(2, None)]), here);
}
