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

/// All code is of one module, at the addresses of its file.
struct Of(std::sync::Arc<super::Module>);

impl CodeMap for Of {
    type Place = u64;

    fn at(&mut self, address: u64) -> Option<(u64, Code)> {
        (address < 1 << 40).then(|| (address, Code::Module(std::sync::Arc::clone(&self.0), 0)))
    }
}

/// Numbers that are the same in every run: xorshift64.
fn next(number: &mut u64) -> u64 {
    *number ^= *number << 13;
    *number ^= *number >> 7;
    *number ^= *number << 17;
    *number
}

/// Every address is one of code, and every word of the stack an address.
#[test]
fn damaged_unwind_information_leads_somewhere_or_nowhere_in_bounded_time() {
    use std::{ffi::OsStr, fs, io::Write as _, time::Instant};

    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("libgcc_s"));
    let whole = fs::read(line.unwrap().split_whitespace().last().unwrap()).unwrap();
    let mut number = 0x9e37_79b9_7f4a_7c15;
    let mut below = |end: usize| usize::try_from(next(&mut number) % end as u64).unwrap();
    let (mut modules, mut cache) = (super::Modules::default(), Cache::new());
    let (mut vetted, mut walked) = (0, 0);
    for round in 0..60 {
        let mut bytes = whole.clone();
        for _ in 0..round {
            let place = below(bytes.len());
            bytes[place] = below(256).to_le_bytes()[0];
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let module = modules.of(file, OsStr::new("x"), false).unwrap();
        let Some(module) = module else { continue };
        vetted += u32::from(module.has_unwind_info());
        let began = Instant::now();
        for _ in 0..200 {
            let mut word = || below(whole.len()) as u64;
            let words: Vec<_> = (0..64).map(|_| word()).collect();
            let sp = [SP, 0, 8, !7, 1 << 63][round % 5];
            let registers = Registers {
                ip: word(),
                sp,
                fp: sp.wrapping_add(64),
            };
            let map = &mut Of(std::sync::Arc::clone(&module));
            let (places, _) = walk(registers, &stack(&words), map, &mut cache);
            walked += places.len();
        }
        let took = began.elapsed();
        assert!(took.as_secs() < 20, "{took:?}");
    }
    assert!(vetted > 5 && walked > 5_000, "{vetted} {walked}");
}
