//! Names out of files that are whole, and out of files that are not.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    sync::Arc,
};

use super::{Frame, Names};
use crate::{
    stack::CallStack,
    unwind::{End, Module, Modules, Place},
};

fn frames(module: &Arc<Module>, addresses: &[u64]) -> Vec<Frame> {
    let places = addresses
        .iter()
        .map(|at| Place::Module(Arc::clone(module), *at));
    let stack = CallStack {
        places: places.collect(),
        end: End::Root,
    };
    Names::new().frames(&stack)
}

/// A library that every test program has, and where in it a function begins.
fn library() -> (Vec<u8>, u64) {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut lines = maps.lines().filter(|line| line.contains("libgcc_s"));
    let first = lines.next().unwrap();
    let base = u64::from_str_radix(first.split('-').next().unwrap(), 16).unwrap();
    unsafe extern "C" {
        fn _Unwind_GetIP();
    }
    let function = _Unwind_GetIP as *const () as u64;
    let path = first.split_whitespace().last().unwrap();
    (fs::read(path).unwrap(), function - base)
}

fn module(bytes: &[u8]) -> Option<Arc<Module>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let name = OsStr::new("/lib/some.so");
    Modules::default()
        .of(File::open(file.path()).unwrap(), name, true)
        .unwrap()
}

#[test]
fn a_function_of_a_library_without_debug_information_is_named() {
    let (bytes, at) = library();
    let module = module(&bytes).unwrap();
    let [named, unnamed] = &frames(&module, &[at + 1, 1])[..] else {
        panic!("two places, two frames");
    };
    assert_eq!(named.function.as_deref(), Some("_Unwind_GetIP"));
    assert_eq!(named.module.as_deref(), Some("/lib/some.so"));
    assert_eq!(named.reason, None);
    assert_eq!(unnamed.function, None);
    assert!(unnamed.reason.is_some() && unnamed.build_id.is_some());
}

#[test]
fn of_a_file_that_is_cut_or_damaged_there_are_reasons_or_names_but_no_panic() {
    let (whole, at) = library();
    let mut reasons = 0;
    for step in 1..40 {
        let mut bytes = whole.clone();
        if step % 2 == 0 {
            bytes.truncate(whole.len() * step / 40);
        } else {
            let place = whole.len() * step / 40;
            bytes[place..place + 64].fill(0xff);
        }
        if let Some(module) = module(&bytes) {
            let frames = frames(&module, &[at, 1, 1 << 62]);
            assert_eq!(frames.len(), 3);
            reasons += frames.iter().filter(|frame| frame.reason.is_some()).count();
        }
    }
    assert!(reasons > 0);
}
