//! Connects that nobody answers, and what is known of them meanwhile.

use std::{net::SocketAddr, os::fd::AsFd};

use rustix::net::sockopt::socket_error;

use crate::{
    clock::{Interval, MS, Noise, now},
    expect::{First, check, step},
    net::{begin_connect, wait_readable},
    ns::Cable,
    trace::Trace,
};

/// Lines appear within this time of their event.
const PROMPT: u64 = 100 * MS;

#[test]
fn a_connect_that_hangs_is_shown_at_once_with_its_local_port_and_ends_as_unreachable() {
    let cable = Cable::new();
    let mut trace = Trace::start(&["--netns", &cable.left.inode.to_string()]);
    let noise = Noise::start();
    // Nobody has this address: the kernel asks for it on the cable, three
    // times a second apart, and then gives up with EHOSTUNREACH.
    let nobody: SocketAddr = "10.99.0.77:7777".parse().unwrap();
    let (fd, began) = cable.left.enter(|| begin_connect(nobody));
    let local = rustix::net::getsockname(&fd).unwrap();
    let local = SocketAddr::try_from(local).unwrap();
    let ours = |line: &crate::lines::Transition| {
        line.netns == cable.left.inode && line.rport == Some(nobody.port())
    };
    let first = trace.until("the line of the SYN", |seen| {
        seen.iter().find(|seen| ours(&seen.line)).cloned()
    });
    let late = noise.stop();
    assert_eq!(first.line.new, "SYN_SENT");
    assert_eq!(first.line.lport, Some(local.port()), "{first:?}");
    assert_eq!(first.line.laddr, Some(local.ip()), "{first:?}");
    // Tool, reader and pipe each wait for a CPU once.
    let took = first.arrived.saturating_sub(first.line.mono_ns);
    assert!(
        took <= PROMPT + 3 * late,
        "{took} ns, scheduler up to {late} ns late"
    );
    wait_readable(fd.as_fd());
    // The error wakes the application before the state changes (seen on Linux
    // 6.1 and 6.12): one that is quicker takes the error away, and with it the
    // line's cause.
    trace.until("the end of the attempt", |seen| {
        let ended = |line: &crate::lines::Transition| ours(line) && line.new == "CLOSE";
        seen.iter().any(|seen| ended(&seen.line)).then_some(())
    });
    let ended = Interval {
        from: began.to,
        to: now(),
    };
    let error = socket_error(&fd).unwrap().unwrap_err();
    assert_eq!(error, rustix::io::Errno::HOSTUNREACH);
    let run = trace.stop();
    run.assert_sound();
    let steps = [
        step("CLOSE", "SYN_SENT", None, began),
        step("SYN_SENT", "CLOSE", "unreachable", ended),
    ];
    let lines = run.select(ours);
    check(&lines, First::Born, &steps).unwrap_or_else(|wrong| panic!("{wrong}: {lines:#?}"));
    assert_eq!(lines[1].lport, Some(local.port()));
}

#[test]
fn a_connect_that_is_given_up_by_its_process_ends_with_close() {
    let cable = Cable::new();
    let trace = Trace::start(&["--netns", &cable.left.inode.to_string()]);
    let nobody: SocketAddr = "10.99.0.78:7778".parse().unwrap();
    let (fd, began) = cable.left.enter(|| begin_connect(nobody));
    let ((), closed) = crate::clock::timed(|| drop(fd));
    let run = trace.stop();
    run.assert_sound();
    let steps = [
        step("CLOSE", "SYN_SENT", None, began),
        step("SYN_SENT", "CLOSE", "close", closed),
    ];
    let lines =
        run.select(|line| line.netns == cable.left.inode && line.rport == Some(nobody.port()));
    check(&lines, First::Born, &steps).unwrap_or_else(|wrong| panic!("{wrong}: {lines:#?}"));
}
