//! A session of our own that captures stacks.

use aya::maps::{MapData, RingBuf};
use tcpstate::{
    attach::{self, Rate, Request, Session, Signal},
    decode::{Event, StackEvent, decode, slice},
    stack::{StackId, Stacks},
    symbolize::{Frame, Names},
    unwind::End,
};

use crate::{clock::wait_for, process::own_files};

/// Captures what happens from now on.
pub(super) struct Capture {
    pub(super) session: Session,
    ring: RingBuf<MapData>,
    pub(super) stacks: Stacks,
    names: Names,
    pub(super) seen: Vec<(StackEvent, StackId)>,
    /// Nanoseconds that each took to unwind.
    pub(super) took: Vec<u64>,
    /// The length of each slice, in bytes.
    pub(super) lengths: Vec<usize>,
}

impl Capture {
    pub(super) fn start() -> Self {
        // Other tests connect meanwhile, and the tokens are the process's.
        let many = Rate {
            burst: 2000,
            per_second: 2000,
        };
        Self::with(attach::Capture {
            per_process: many,
            overall: many,
            ..attach::Capture::default()
        })
    }

    pub(super) fn with(capture: attach::Capture) -> Self {
        own_files();
        let request = Request {
            capture: Some(capture),
            accept_by_syscall: true,
            ring_bytes: 64 << 20,
            ..Request::default()
        };
        let mut session = Session::open(&request).unwrap();
        let ring = session.take_ring().unwrap();
        Self {
            session,
            ring,
            stacks: Stacks::new(),
            names: Names::new(),
            seen: Vec::new(),
            took: Vec::new(),
            lengths: Vec::new(),
        }
    }

    /// Takes what the ring has.
    pub(super) fn drain(&mut self) {
        while let Some(bytes) = self.ring.next() {
            if let Event::Stack(event) = decode(&bytes).unwrap().event {
                let began = std::time::Instant::now();
                let id = self.stacks.captured(&event, slice(&bytes));
                let took = began.elapsed().as_nanos();
                self.took.push(u64::try_from(took).unwrap());
                self.lengths.push(slice(&bytes).len());
                self.seen.push((event, id));
            }
        }
    }

    /// The hook that gives a signal.
    pub(super) fn chosen(&self, signal: Signal) -> Option<&'static str> {
        self.session.report().chosen(signal)
    }

    /// How a stack ended, and its frames.
    pub(super) fn named(&mut self, id: StackId) -> (End, Vec<Frame>) {
        let stack = self.stacks.get(id);
        (stack.end, self.names.frames(stack))
    }

    /// The first `count` stacks that are `wanted`, now or soon.
    pub(super) fn until_count(
        &mut self,
        what: &str,
        count: usize,
        wanted: impl Fn(&StackEvent) -> bool,
    ) -> Vec<(StackEvent, StackId)> {
        let (found, _) = wait_for(what, || {
            self.drain();
            let seen = self.seen.iter().filter(|(event, _)| wanted(event));
            let found: Vec<_> = seen.take(count).copied().collect();
            (found.len() == count).then_some(found)
        });
        found
    }

    /// As [`Self::until`], of something that is done again and again: other
    /// tests of this process use up tokens.
    pub(super) fn repeat(
        &mut self,
        what: &str,
        mut action: impl FnMut(),
        wanted: impl Fn(&StackEvent) -> bool,
    ) -> (StackEvent, StackId) {
        let (found, _) = wait_for(what, || {
            action();
            self.drain();
            self.seen.iter().find(|(event, _)| wanted(event)).copied()
        });
        found
    }

    /// The first stack that is `wanted`, now or soon.
    pub(super) fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&StackEvent) -> bool,
    ) -> (StackEvent, StackId) {
        self.until_count(what, 1, wanted)[0]
    }
}
