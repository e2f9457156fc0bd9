//! The stacks of tasks that connect, accept and read end-of-file: captured,
//! unwound and named, through the library.

mod capture;
mod programs;

use std::{
    io::Read as _,
    net::{TcpListener, TcpStream},
};

use rustix::thread::gettid;
use tcpstate::{
    attach::{self, Rate, Signal},
    decode::Why,
    symbolize::{Frame, sight},
    unwind::End,
};

use self::capture::Capture;

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

fn own_thread() -> u32 {
    u32::try_from(gettid().as_raw_nonzero().get()).unwrap()
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
    let _client = outer(&listener);
    let me = own_thread();
    let (event, id) = capture.until("our connect", |event| {
        event.task.tid == me && event.why == Why::Connect
    });
    assert_eq!(event.task.pid, std::process::id());
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(
        has_in_order(&frames, &["innermost", "middle", "outer"]),
        "{frames:#?}"
    );
    let first = &frames[sight(&frames).application.unwrap()];
    assert!(
        first.function.as_ref().unwrap().ends_with("innermost"),
        "{first:?}"
    );
    let file = first.file.as_ref().unwrap();
    assert!(file.ends_with("tests/live/stacks.rs"), "{file}");
    let source = include_str!("stacks.rs").lines();
    let line = source
        .take_while(|line| !line.contains("TcpStream::connect("))
        .count()
        + 1;
    assert_eq!(first.line, u32::try_from(line).ok());
}

#[test]
fn the_same_stack_has_the_same_number_and_another_another() {
    let mut capture = Capture::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let me = own_thread();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(outer(&listener));
    }
    clients.push(middle(&listener));
    let mine = capture.until_count("our connects", 4, |event| {
        event.task.tid == me && event.why == Why::Connect
    });
    let ids: Vec<_> = mine.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[1], ids[2]);
    assert_ne!(ids[2], ids[3]);
}

#[test]
fn the_reader_of_end_of_file_is_captured_and_a_peek_is_not() {
    let mut capture = Capture::start();
    if capture.chosen(Signal::EndOfFileStack).is_none() {
        // Said in the session's report: no kernel below 6.12 without fexit.
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = outer(&listener);
    let server = accepts(&listener);
    drop(server);
    let me = own_thread();
    while client.peek(&mut [0; 8]).unwrap() != 0 {}
    assert_eq!(reads_the_end(&mut client), 0);
    let wanted =
        |event: &tcpstate::decode::StackEvent| event.task.tid == me && event.why == Why::EndOfFile;
    let (_, id) = capture.until("our read", wanted);
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &["reads_the_end"]), "{frames:#?}");
    let count = capture
        .seen
        .iter()
        .filter(|(event, _)| wanted(event))
        .count();
    assert_eq!(count, 1);
}

#[test]
fn the_thread_that_accepts_is_captured() {
    let mut capture = Capture::start();
    assert!(capture.chosen(Signal::AcceptStack).is_some());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = outer(&listener);
    let _server = accepts(&listener);
    let me = own_thread();
    let (event, id) = capture.until("our accept", |event| {
        event.task.tid == me && event.why == Why::Accept
    });
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Root, "{frames:#?}");
    assert!(has_in_order(&frames, &["accepts"]), "{frames:#?}");
    // The connect's stack is another socket's, on the same connection.
    let connect = capture.until("our connect", |event| {
        event.task.tid == me && event.why == Why::Connect
    });
    assert_ne!(connect.0.sk, event.sk);
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
    let me = own_thread();
    let before = crate::clock::now();
    let clients: Vec<_> = (0..40).map(|_| outer(&listener)).collect();
    let seconds = usize::try_from((crate::clock::now() - before) / 1_000_000_000).unwrap();
    capture.drain();
    let mine = |event: &tcpstate::decode::StackEvent| {
        event.task.pid == std::process::id() && event.why == Why::Connect
    };
    let count = capture.seen.iter().filter(|(event, _)| mine(event)).count();
    assert!(count >= 1 && count <= 3 + seconds + 1, "{count}");
    assert!(capture.session.counters().unwrap().sampled_out > 0);
    assert!(
        capture
            .seen
            .iter()
            .any(|(event, _)| event.task.tid == me || mine(event))
    );
    drop(clients);
}

#[test]
fn a_slice_that_is_too_short_says_so_and_has_the_innermost_frames() {
    let mut capture = Capture::with(attach::Capture {
        slice_bytes: 512,
        ..attach::Capture::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = outer(&listener);
    let me = own_thread();
    let (_, id) = capture.until("our connect", |event| {
        event.task.tid == me && event.why == Why::Connect
    });
    let (end, frames) = capture.named(id);
    assert_eq!(end, End::Truncated, "{frames:#?}");
    assert!(!frames.is_empty());
}
