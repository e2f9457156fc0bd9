//! A listener that a peer, played by hand, connects to, and what the tool says of
//! their handshakes.

use std::os::fd::AsFd;

use rustix::net::{SocketFlags, accept_with};

use crate::{
    clock::{Interval, timed},
    expect::{First, Step, assert_lines, check, step},
    net::{Listener, Side, wait_readable},
    ns::Netns,
    peer::{Attempt, HOST, Peer},
    tables::wait_gone,
    trace::{Finished, Trace},
};

/// A listener that a peer, played by hand, connects to, and the trace of both.
pub(crate) struct Stage {
    /// Where it is.
    pub inside: Netns,
    peer: Peer,
    /// `tcpstate trace` of it.
    pub trace: Trace,
    /// On the host's end of the device.
    pub listener: Listener,
}

impl Stage {
    /// Sets it up.
    pub(crate) fn new() -> Self {
        Self::traced(&[])
    }

    /// As [`Self::new`], with more arguments for the tool. A SYN-ACK is sent
    /// again once.
    pub(crate) fn traced(arguments: &[&str]) -> Self {
        let inside = Netns::new();
        let peer = Peer::beside(&inside);
        inside.set("tcp_synack_retries", "1");
        let netns = inside.inode.to_string();
        let trace = Trace::start(&[&["--netns", &netns], arguments].concat());
        let listener = inside.enter(|| Listener::on(&format!("{HOST}:0")));
        Self {
            inside,
            peer,
            trace,
            listener,
        }
    }

    /// A SYN from this port, answered.
    pub(crate) fn attempt(&self, port: u16) -> (Attempt, Side) {
        let attempt = self.peer.syn(port, self.listener.side.local);
        let side = Side {
            remote: attempt.remote,
            ..self.listener.side
        };
        (attempt, side)
    }

    /// Takes the next connection from the queue.
    pub(crate) fn accept(&self) -> Interval {
        wait_readable(self.listener.as_fd());
        let (accepted, when) = timed(|| accept_with(&self.listener, SocketFlags::CLOEXEC));
        drop(accepted.unwrap());
        when
    }

    /// Waits until the request of `side` is gone.
    pub(crate) fn gone(&self, side: &Side) -> Interval {
        self.inside.enter(|| wait_gone(side))
    }
}

/// The lines of a request that began, and died then.
pub(crate) fn dies(begun: Interval, cause: &'static str, died: Interval) -> [Step; 2] {
    [
        step("LISTEN", "SYN_RECV", None, begun),
        step("SYN_RECV", "CLOSE", cause, died),
    ]
}

/// Stops once the end of the request has its line, and judges all of them.
pub(crate) fn judge(mut trace: Trace, side: &Side, steps: &[Step]) -> Finished {
    let last = steps.last().unwrap().new;
    trace.until_enters(side, last);
    let run = trace.stop();
    run.assert_sound();
    assert_lines(&run, side, steps);
    run
}

/// Judges the first two lines of a connection that was accepted.
pub(crate) fn assert_accepted(run: &Finished, side: &Side, begun: Interval, established: Interval) {
    let steps = [
        step("LISTEN", "SYN_RECV", None, begun),
        step("SYN_RECV", "ESTABLISHED", None, established),
    ];
    let lines = run.of(side);
    let opening = &lines[..lines.len().min(2)];
    check(opening, First::Born, &steps).unwrap_or_else(|why| panic!("{why}: {lines:#?}"));
}

/// Demands that the connection was never more than a request.
pub(crate) fn assert_requests(run: &Finished, side: &Side) {
    let kinds: Vec<_> = run.of(side).iter().map(|line| line.kind.clone()).collect();
    assert_eq!(kinds, ["request", "request"]);
}
