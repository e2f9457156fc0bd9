//! The stacks of tasks that connect, accept and read end-of-file: captured,
//! unwound and named, through the library.

mod capture;

use std::net::TcpStream;

use rustix::thread::gettid;
use tcpstate::decode::Why;

use self::capture::Capture;
use crate::net::Listener;

/// What this thread does in functions of its own, which the optimiser would
/// otherwise make one.
#[inline(never)]
fn outer(listener: &Listener) -> TcpStream {
    let stream = middle(listener);
    std::hint::black_box(stream)
}

#[inline(never)]
fn middle(listener: &Listener) -> TcpStream {
    let stream = innermost(listener);
    std::hint::black_box(stream)
}

#[inline(never)]
fn innermost(listener: &Listener) -> TcpStream {
    let stream = TcpStream::connect(listener.side.local).unwrap();
    std::hint::black_box(stream)
}

#[test]
fn the_functions_that_led_to_a_connect_are_named_in_order_with_their_lines() {
    let mut capture = Capture::start();
    let listener = Listener::on("127.0.0.1:0");
    let _client = outer(&listener);
    let me = u32::try_from(gettid().as_raw_nonzero().get()).unwrap();
    let (_, id) = capture.until("our connect", |event| {
        event.task.tid == me && event.why == Why::Connect
    });
    let stack = capture.stacks.get(id);
    assert_eq!(stack.end, tcpstate::unwind::End::Root, "{stack:#?}");
}
