//! The stacks of tasks that connect, accept and read end-of-file: captured,
//! unwound and named, through the library.

mod capture;
mod programs;

use std::{
    collections::BTreeSet,
    io::Read as _,
    net::{TcpListener, TcpStream},
};

use rustix::thread::gettid;
use tcpstate::{
    attach::{self, Rate, Signal},
    decode::{StackEvent, Why},
    symbolize::{Frame, sight},
    unwind::End,
};

use self::capture::Capture;
use crate::clock::{in_vm, now};

// Each does something behind the call, so that none is a jump to the next, and
// none is inlined into another.

#[inline(never)]
fn outer(listener: &TcpListener) -> TcpStream {
    std::hint::black_box(middle(listener))
}

#[inline(never)]
fn middle(listener: &TcpListener) -> TcpStream {
    std::hint::black_box(innermost(listener))
}

#[inline(never)]
fn innermost(listener: &TcpListener) -> TcpStream {
    let address = listener.local_addr().unwrap();
    std::hint::black_box(TcpStream::connect(address).unwrap())
}

#[inline(never)]
fn accepts(listener: &TcpListener) -> TcpStream {
    std::hint::black_box(listener.accept().unwrap().0)
}

#[inline(never)]
fn reads_the_end(stream: &mut TcpStream) -> usize {
    std::hint::black_box(stream.read(&mut [0; 8]).unwrap())
}

/// Whether a stack is of the thread that asks now.
fn by_this_thread(why: Why) -> impl Fn(&StackEvent) -> bool {
    let me = u32::try_from(gettid().as_raw_nonzero().get()).unwrap();
    move |event| event.task.tid == me && event.why == why
}

/// Whether `wanted` are among the frames' functions in this order, innermost
/// first; each name is the end of a path.
fn has_in_order(frames: &[Frame], wanted: &[&str]) -> bool {
    let mut functions = frames.iter().filter_map(|frame| frame.function.as_deref());
    wanted.iter().all(|wanted| {
        functions.any(|found| found == *wanted || found.ends_with(&format!("::{wanted}")))
    })
}

#[test]
fn the_functions_that_led_to_a_connect_are_named_in_order_with_their_lines() {
    let mut capture = Capture::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connects = by_this_thread(Why::Connect);
    let (event, id) = capture.repeat("our connect", || drop(outer(&listener)), connects);
    assert_eq!(event.task.pid, std::process::id());
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    let chain = ["innermost", "middle", "outer"];
    assert!(has_in_order(&frames, &chain), "{frames:#?}");
    if in_vm() {
        // There the tests have symbols, but no debug information.
        return;
    }
    let first = &frames[sight(&frames).application.unwrap()];
    let function = first.function.as_ref().unwrap();
    assert!(function.ends_with("innermost"), "{first:?}");
    let file = first.file.as_ref().unwrap();
    assert!(file.ends_with("tests/live/stacks.rs"), "{file}");
    let source = include_str!("stacks.rs").lines();
    let before = source.take_while(|line| !line.contains("TcpStream::connect("));
    assert_eq!(first.line, u32::try_from(before.count() + 1).ok());
}

#[test]
fn a_slice_ends_where_the_stack_of_its_thread_does() {
    let mut capture = Capture::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connects = by_this_thread(Why::Connect);
    let (event, id) = capture.repeat("our connect", || drop(outer(&listener)), connects);
    let at = capture.seen.iter().position(|(seen, _)| *seen == event);
    let length = capture.lengths[at.unwrap()];
    let end = (event.sp & !7) + u64::try_from(length).unwrap();
    // SAFETY: it has no precondition.
    let control_block = unsafe { libc::pthread_self() };
    // On x86-64 glibc and musl call a thread by the address of its control block.
    assert_eq!(end, control_block, "{event:x?}");
    assert_eq!(capture.named(id).0, End::Root);
}

#[test]
fn a_stack_has_one_number_and_another_stack_another() {
    let mut capture = Capture::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ids = Vec::new();
    for connect in [outer, middle] {
        capture.seen.clear();
        let three = || (0..3).for_each(|_| drop(connect(&listener)));
        capture.repeat("our connects", three, by_this_thread(Why::Connect));
        let mine = by_this_thread(Why::Connect);
        let seen = capture.seen.iter().filter(|(event, _)| mine(event));
        ids.push(seen.map(|(_, id)| *id).collect::<BTreeSet<_>>());
    }
    assert!(ids[0].is_disjoint(&ids[1]));
    // Three calls in a loop, which may have been unrolled.
    assert!(ids.iter().all(|ids| ids.len() <= 3), "{ids:?}");
}

#[test]
fn the_reader_of_end_of_file_is_captured_and_a_peek_is_not() {
    let mut capture = Capture::start();
    if capture.chosen(Signal::EndOfFileStack).is_none() {
        // The session says so: neither fexit nor the tracepoint of Linux 6.12.
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ends = 0;
    let read = || {
        let mut client = outer(&listener);
        drop(accepts(&listener));
        for _ in 0..3 {
            while client.peek(&mut [0; 8]).unwrap() != 0 {}
        }
        assert_eq!(reads_the_end(&mut client), 0);
        ends += 1;
    };
    let (_, id) = capture.repeat("our read", read, by_this_thread(Why::EndOfFile));
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &["reads_the_end"]), "{frames:#?}");
    let mine = by_this_thread(Why::EndOfFile);
    let seen = capture.seen.iter().filter(|(event, _)| mine(event)).count();
    assert!(seen <= ends, "{seen} of {ends}");
}

#[test]
fn the_thread_that_accepts_is_captured() {
    let mut capture = Capture::start();
    assert!(capture.chosen(Signal::AcceptStack).is_some());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = || {
        let _client = outer(&listener);
        drop(accepts(&listener));
    };
    let (event, id) = capture.repeat("our accept", accept, by_this_thread(Why::Accept));
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &["accepts"]), "{frames:#?}");
    assert_ne!(event.start_boottime, 0);
    assert_ne!(event.mm, 0);
}

#[test]
fn a_process_without_tokens_is_sampled_and_the_rest_counted() {
    let few = Rate {
        burst: 3,
        per_second: 1,
    };
    let mut capture = Capture::with(attach::Capture {
        per_process: few,
        ..attach::Capture::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let before = now();
    for _ in 0..40 {
        drop(outer(&listener));
    }
    capture.drain();
    let seconds = usize::try_from((now() - before) / 1_000_000_000).unwrap();
    let mine = |event: &StackEvent| {
        event.task.pid == std::process::id() && event.why == Why::Connect && event.at.0 >= before
    };
    let seen = capture.seen.iter().filter(|(event, _)| mine(event)).count();
    assert!(seen <= 3 + seconds + 1, "{seen} in {seconds} s");
    assert!(capture.session.counters().unwrap().sampled_out >= 40 - seen as u64);
}

#[test]
fn a_slice_that_is_too_short_says_so_and_has_the_innermost_frames() {
    let mut capture = Capture::with(attach::Capture {
        slice_bytes: 512,
        ..attach::Capture::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connects = by_this_thread(Why::Connect);
    let (_, id) = capture.repeat("our connect", || drop(outer(&listener)), connects);
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Truncated, "{frames:#?}");
    assert!(!frames.is_empty());
}
