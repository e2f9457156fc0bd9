//! Stacks that were made by hand.

use super::{Cache, Code, CodeMap, End, Registers, epilogue::Epilogue, walk};

/// Code without any module: what lies at an address is told by its hundreds.
struct Made;

const JIT: u64 = 0x1000;
const TRAMPOLINE: u64 = 0x2000;

impl CodeMap for Made {
    type Place = u64;

    fn at(&mut self, address: u64) -> Option<(u64, Code)> {
        let code = match address & !0xfff {
            JIT => Code::Unknown,
            TRAMPOLINE => Code::Epilogue(Epilogue {
                return_address: 8,
                frame_pointer: None,
            }),
            _ => return None,
        };
        Some((address, code))
    }
}

const SP: u64 = 0x7fff_0000_0000;

fn stack(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn walked(registers: Registers, words: &[u64]) -> (Vec<u64>, End) {
    walk(registers, &stack(words), &mut Made, &mut Cache::new())
}

fn at(ip: u64, fp: u64) -> Registers {
    Registers { ip, sp: SP, fp }
}

#[test]
fn return_addresses_lose_one_byte_and_frame_pointers_are_followed() {
    let words = [0, SP + 24, JIT + 0x20, 0, JIT + 0x30, 0];
    let (places, end) = walked(at(JIT + 0x10, SP + 8), &words);
    assert_eq!(places, [JIT + 0x10, JIT + 0x1f, JIT + 0x2f]);
    assert_eq!(end, End::Jit);
}

#[test]
fn an_epilogue_is_left_without_a_frame_pointer() {
    let words = [TRAMPOLINE + 5, 77, TRAMPOLINE + 9, 88, 0, 0];
    let registers = at(TRAMPOLINE, 0);
    let (places, end) = walk(registers, &stack(&words[1..]), &mut Made, &mut Cache::new());
    assert_eq!(places, [TRAMPOLINE, TRAMPOLINE + 8]);
    assert_eq!(end, End::Root);
}

#[test]
fn a_return_address_that_is_no_code_ends_the_walk_with_the_reason() {
    let (places, end) = walked(at(TRAMPOLINE, 0), &[0, 0x6666]);
    assert_eq!((places.len(), end), (1, End::Lost));
    let (places, end) = walked(at(JIT, 0), &[0x6666]);
    assert_eq!((places.len(), end), (1, End::Jit));
    let (places, end) = walked(at(0x6666, 0), &[0x6666]);
    assert_eq!((places.len(), end), (0, End::Lost));
}

#[test]
fn a_slice_that_was_cut_truncates_and_one_that_ends_with_the_stack_does_not() {
    let cut = walked(at(TRAMPOLINE, 0), &[0]);
    assert_eq!(cut.1, End::Truncated);
    let whole = vec![0; 4096];
    let registers = Registers {
        ip: TRAMPOLINE,
        sp: SP + 4088,
        fp: 0,
    };
    let (_, end) = walk(registers, &whole[..8], &mut Made, &mut Cache::new());
    assert_eq!(end, End::Lost);
}

#[test]
fn a_stack_that_goes_round_in_circles_ends() {
    let words: Vec<u64> = (0..4000)
        .map(|index| if index % 2 == 0 { 0 } else { TRAMPOLINE + 1 })
        .collect();
    let (places, end) = walked(at(TRAMPOLINE, 0), &words);
    assert_eq!((places.len(), end), (256, End::TooDeep));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_stack(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600),
        ip in JIT..TRAMPOLINE + 0x1000,
        fp in proptest::prelude::any::<u64>(),
        sp in proptest::prelude::any::<u64>(),
    ) {
        let registers = Registers { ip, sp, fp };
        let (places, _) = walk(registers, &bytes, &mut Made, &mut Cache::new());
        assert!(!places.is_empty() && places.len() <= 256);
    }
}
