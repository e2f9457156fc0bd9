//! Long records: a stack, and kinds that are not known yet.

use tcpstate_common::record::{self, Header, LONG, Stack, Task, kind};
use zerocopy::IntoBytes as _;

use crate::decode::{
    DecodeError, Event, KtimeNs, Record, SliceStatus, SockAddr64, StackEvent, Why, decode, records,
    slice,
};

const TASK: Task = Task {
    pid: 42,
    tid: 43,
    comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
};

fn wire(why: u8, status: u8, slice: &[u8]) -> Vec<u8> {
    let length = size_of::<Stack>() + slice.len();
    let head = Stack {
        header: Header {
            kind: kind::STACK,
            words: LONG,
            lost: 7,
            netns: 0,
        },
        bytes: u32::try_from(length).unwrap(),
        why,
        slice: status,
        reserved: [0; 2],
        ktime: 99,
        sk: 5,
        task: TASK,
        start_boottime: 98,
        mm: 6,
        ip: 1,
        sp: 2,
        fp: 3,
    };
    [head.as_bytes(), slice].concat()
}

fn event(why: Why, status: SliceStatus) -> StackEvent {
    StackEvent {
        at: KtimeNs(99),
        sk: SockAddr64(5),
        why,
        task: TASK,
        start_boottime: 98,
        mm: 6,
        ip: 1,
        sp: 2,
        fp: 3,
        status,
    }
}

fn copied() -> Vec<u8> {
    wire(record::why::ACCEPT, record::slice::COPIED, &[9; 4000])
}

#[test]
fn a_stack_is_read_and_its_slice_lies_behind_it() {
    let bytes = copied();
    let event = Event::Stack(event(Why::Accept, SliceStatus::Copied));
    let record = Record {
        at: KtimeNs(99),
        lost: 7,
        event,
    };
    assert_eq!(decode(&bytes), Ok(record));
    assert_eq!(slice(&bytes), [9; 4000]);
}

#[test]
fn a_stack_without_a_slice_says_why() {
    let statuses = [
        (record::slice::NO_REGISTERS, SliceStatus::NoRegisters),
        (record::slice::COMPAT, SliceStatus::Compat),
        (record::slice::UNREADABLE, SliceStatus::Unreadable),
    ];
    for (number, status) in statuses {
        let bytes = wire(record::why::END_OF_FILE, number, &[]);
        let found = decode(&bytes).unwrap().event;
        assert_eq!(found, Event::Stack(event(Why::EndOfFile, status)));
        assert_eq!(slice(&bytes), [0; 0]);
    }
}

#[test]
fn a_slice_and_a_status_that_contradict_each_other_are_refused() {
    let wrong = Err(DecodeError::WrongLength {
        kind: kind::STACK,
        words: LONG,
    });
    for (status, slice) in [
        (record::slice::COPIED, &[][..]),
        (record::slice::COMPAT, &[0; 8][..]),
    ] {
        assert_eq!(decode(&wire(record::why::CONNECT, status, slice)), wrong);
    }
}

#[test]
fn values_that_are_none_are_refused_and_kept() {
    for (offset, value) in [(12, 0), (12, 4), (13, 4), (13, 255)] {
        let mut bytes = copied();
        bytes[offset] = value;
        let kind = kind::STACK;
        assert_eq!(
            decode(&bytes),
            Err(DecodeError::UnknownValue { kind, value })
        );
    }
}

#[test]
fn every_prefix_and_every_other_length_of_a_stack_is_refused() {
    let bytes = copied();
    for have in 0..bytes.len() {
        assert!(
            matches!(
                decode(&bytes[..have]),
                Err(DecodeError::Truncated { have: found, .. }) if found == have
            ),
            "{have}"
        );
    }
    for length in 0..bytes.len() {
        let mut other = bytes.clone();
        other[8..12].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        assert!(decode(&other).is_err(), "{length}");
    }
    for words in 1..=255 {
        let mut other = bytes.clone();
        other[1] = words;
        assert!(decode(&other).is_err(), "{words}");
    }
}

#[test]
fn long_records_are_stepped_over_known_or_not() {
    let mut unknown = copied();
    unknown[0] = 200;
    let frame = [unknown, copied(), wire(1, record::slice::COMPAT, &[])].concat();
    let found: Vec<_> = records(&frame)
        .map(|record| decode(record?).map(|record| record.at))
        .collect();
    let stepped = Err(DecodeError::UnknownKind(200));
    assert_eq!(found, [stepped, Ok(KtimeNs(99)), Ok(KtimeNs(99))]);
}
