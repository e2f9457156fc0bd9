mod fixture;
mod stack;

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use tcpstate_common::state::TcpState;

use super::{DecodeError, Event, KtimeNs, Record, decode, records};
use fixture::{every_kind, wire_sweep};

#[test]
fn every_kind_is_read_as_it_was_written() {
    for (bytes, event) in every_kind() {
        let record = Record {
            at: KtimeNs(99),
            lost: 7,
            event,
        };
        assert_eq!(decode(&bytes), Ok(record));
    }
}

#[test]
fn every_prefix_of_every_kind_is_truncated() {
    for (bytes, _) in every_kind() {
        for have in 0..bytes.len() {
            let need = if have < 8 { 8 } else { bytes.len() };
            let truncated = DecodeError::Truncated { have, need };
            assert_eq!(decode(&bytes[..have]), Err(truncated));
        }
    }
}

#[test]
fn bytes_behind_the_record_are_refused() {
    for (mut bytes, _) in every_kind() {
        let (kind, words) = (bytes[0], bytes[1]);
        bytes.push(0);
        assert_eq!(
            decode(&bytes),
            Err(DecodeError::WrongLength { kind, words })
        );
    }
}

#[test]
fn a_length_of_another_kind_is_refused() {
    for (mut bytes, _) in every_kind() {
        let (kind, own) = (bytes[0], bytes[1]);
        bytes.resize(255 * 8, 0);
        for words in (0..=255).filter(|words| *words != own) {
            bytes[1] = words;
            let wrong = Err(DecodeError::WrongLength { kind, words });
            assert_eq!(decode(&bytes), wrong, "{kind} {words}");
        }
    }
}

#[test]
fn an_unknown_kind_is_named() {
    for kind in [0, 14, 77, 255] {
        let bytes = [kind, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(decode(&bytes), Err(DecodeError::UnknownKind(kind)));
    }
}

#[test]
fn a_state_that_is_none_is_refused_and_kept() {
    // Offsets of old and new in a transition, of the state in a snapshot, in a
    // minisocket, of a request's listener and of a socket inspected.
    let states = [
        (0, 60),
        (0, 61),
        (1, 60),
        (1, 61),
        (8, 60),
        (9, 60),
        (13, 69),
        (19, 69),
        (20, 79),
        (24, 79),
        (25, 60),
    ];
    for (kind, offset) in states {
        for number in [0, 12, 13, 255] {
            let mut bytes = every_kind().swap_remove(kind).0;
            bytes[offset] = number;
            assert_eq!(decode(&bytes), Err(DecodeError::UnknownState(number)));
        }
    }
}

#[test]
fn a_choice_that_is_none_is_refused_and_kept() {
    // A reset's `active`, a snapshot's kind, a sweep's phase, what happened to
    // a minisocket or a request.
    let choices = [
        (4, 28, 2),
        (8, 61, 0),
        (8, 61, 4),
        (10, 16, 0),
        (10, 16, 4),
        (13, 68, 0),
        (13, 68, 8),
        (19, 68, 255),
        (20, 76, 0),
        (24, 76, 6),
    ];
    for (index, offset, value) in choices {
        let mut bytes = every_kind().swap_remove(index).0;
        bytes[offset] = value;
        let kind = bytes[0];
        assert_eq!(
            decode(&bytes),
            Err(DecodeError::UnknownValue { kind, value })
        );
    }
}

#[test]
fn records_are_found_one_behind_the_other_and_unknown_ones_stepped_over() {
    let mut frame = Vec::new();
    for (bytes, _) in every_kind() {
        frame.extend_from_slice(&bytes);
        frame.extend_from_slice(&[200, 2, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let found: Vec<_> = records(&frame).map(|record| decode(record?)).collect();
    assert_eq!(found.len(), 2 * every_kind().len());
    for (pair, (_, event)) in found.chunks(2).zip(every_kind()) {
        assert_eq!(pair[0].map(|record| record.event), Ok(event));
        assert_eq!(pair[1], Err(DecodeError::UnknownKind(200)));
    }
}

#[test]
fn a_frame_that_breaks_off_says_so_once() {
    let mut frame = wire_sweep(1);
    frame.extend_from_slice(&wire_sweep(2)[..20]);
    let ends: Vec<_> = records(&frame)
        .map(|found| found.map(<[u8]>::len))
        .collect();
    let broken = DecodeError::Truncated { have: 20, need: 24 };
    assert_eq!(ends, [Ok(24), Err(broken)]);
}

#[test]
fn a_record_of_no_length_does_not_hold_up_the_walk() {
    for length in [0, 8, 12, 17] {
        let none = DecodeError::WrongLength { kind: 1, words: 0 };
        let frame = [1, 0, 0, 0, 0, 0, 0, 0, length, 0, 0, 0, 9];
        let found: Vec<_> = records(&frame).collect();
        assert_eq!(found, [Err(none)]);
    }
}

fn known_kind() -> impl Strategy<Value = Vec<u8>> {
    let kinds = every_kind().len();
    (0..kinds).prop_map(|index| every_kind().swap_remove(index).0)
}

fn damaged() -> impl Strategy<Value = (Vec<u8>, usize, u8)> {
    (known_kind(), any::<usize>(), any::<u8>()).prop_map(|(mut bytes, place, value)| {
        let place = place % bytes.len();
        bytes[place] = value;
        (bytes, place, value)
    })
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..256);
    let framed = (bytes.clone(), 0..12_u8, 0..12_u8).prop_map(|(mut bytes, kind, words)| {
        bytes.resize(usize::from(words) * 8, 0);
        if let [first, second, ..] = bytes.as_mut_slice() {
            (*first, *second) = (kind, words);
        }
        bytes
    });
    prop_oneof![bytes, framed, Just(Vec::new())]
}

/// The state numbers that a record says it has, as they lie in its bytes.
fn states_in(bytes: &[u8], record: &Record) -> Vec<(u8, TcpState)> {
    match record.event {
        Event::Transition(it) => vec![(bytes[60], it.old), (bytes[61], it.new)],
        Event::Snapshot(it) => vec![(bytes[60], it.state)],
        Event::Inspection(it) => vec![(bytes[60], it.state)],
        Event::Minisocket(it) => vec![(bytes[69], it.substate)],
        Event::Request(it) => vec![(bytes[79], it.listener_state)],
        _ => Vec::new(),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in soup()) {
        if let Ok(record) = decode(&bytes) {
            let long = bytes[1] == 0;
            prop_assert!(long || bytes.len() == usize::from(bytes[1]) * 8);
            for (number, state) in states_in(&bytes, &record) {
                prop_assert_eq!(number, state as u8);
            }
        }
        let walked: usize = records(&bytes).filter_map(Result::ok).map(<[u8]>::len).sum();
        prop_assert!(walked <= bytes.len());
    }

    #[test]
    fn a_damaged_record_never_shows_a_state_that_its_bytes_do_not_have(
        (bytes, place, value) in damaged(),
    ) {
        match decode(&bytes) {
            Ok(record) => {
                for (number, state) in states_in(&bytes, &record) {
                    prop_assert_eq!(number, state as u8);
                }
            }
            Err(DecodeError::UnknownState(number)) => {
                prop_assert_eq!(number, value);
                prop_assert!(matches!(place, 60 | 61 | 69 | 79));
            }
            Err(DecodeError::UnknownValue { value: kept, .. }) => prop_assert_eq!(kept, value),
            Err(DecodeError::UnknownKind(kind)) => prop_assert_eq!((place, kind), (0, value)),
            Err(_) => prop_assert!(place < 2),
        }
    }
}
