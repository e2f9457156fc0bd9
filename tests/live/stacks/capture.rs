//! A session of our own that captures stacks.

use aya::maps::{MapData, RingBuf};
use tcpstate::{
    attach::{self, Request, Session},
    decode::{Event, StackEvent, decode, slice},
    stack::{StackId, Stacks},
};

use crate::{clock::wait_for, process::own_files};

/// Captures what happens from now on.
pub(super) struct Capture {
    pub(super) session: Session,
    ring: RingBuf<MapData>,
    pub(super) stacks: Stacks,
    pub(super) seen: Vec<(StackEvent, StackId)>,
    /// Nanoseconds that each took to unwind.
    pub(super) took: Vec<u64>,
}

impl Capture {
    pub(super) fn start() -> Self {
        Self::with(attach::Capture::default())
    }

    pub(super) fn with(capture: attach::Capture) -> Self {
        own_files();
        let request = Request {
            capture: Some(capture),
            accept_by_syscall: true,
            ring_bytes: 16 << 20,
            ..Request::default()
        };
        let mut session = Session::open(&request).unwrap();
        let ring = session.take_ring().unwrap();
        Self {
            session,
            ring,
            stacks: Stacks::new(),
            seen: Vec::new(),
            took: Vec::new(),
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
                self.seen.push((event, id));
            }
        }
    }

    /// The first stack that is `wanted`, now or soon.
    pub(super) fn until(
        &mut self,
        what: &str,
        wanted: impl Fn(&StackEvent) -> bool,
    ) -> (StackEvent, StackId) {
        let (found, _) = wait_for(what, || {
            self.drain();
            self.seen.iter().find(|(event, _)| wanted(event)).copied()
        });
        found
    }
}
