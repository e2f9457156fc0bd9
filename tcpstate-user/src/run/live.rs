//! A session on the running kernel: attach, walk, read until told to stop, account.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;

use super::{
    begin::{self, Begun},
    machine::give_back_memory,
    misses::Misses,
    pipeline::Pipeline,
    refresh::Refresh,
    status::StatusLine,
    stop::Stop,
};
use crate::{
    attach::{Session, Signal, Totals},
    decode::SockAddr64,
    seed::{self, SweepReport},
    session::EndInfo,
    source::{clock::ktime_now, live::LiveRing, recording::Writer},
};

/// Records taken before signals, deadlines and the output get their turn.
const BATCH: usize = 1 << 14;

/// Sockets inspected before the ring is read again: about 2 us each.
const INSPECTIONS: usize = 1 << 11;

/// Sockets looked at in a walk before the ring is read again: their answers fit
/// into the smallest ring there is (64 KiB).
const LOOKS: usize = 1 << 8;

/// How long programs that were running while they were detached may take to
/// submit what they had begun.
const IN_FLIGHT: Duration = Duration::from_millis(100);

/// A walk over the socket tables repairs what a loss broke; while losses go
/// on there is one at most this often.
const BETWEEN_WALKS: Duration = Duration::from_secs(1);

/// A recording gets a complete frame at least this often.
const BETWEEN_FRAMES: Duration = Duration::from_secs(1);

/// The in-band loss counter is this wide (`Header::lost`): a greater loss
/// between two records could look like none.
const LOST_WRAPS: u64 = 1 << 16;

/// One session on the running kernel.
pub(super) struct Live {
    session: Session,
    ring: LiveRing,
    pipeline: Pipeline,
    tape: Option<Writer>,
    known: Totals,
    misses: Misses,
    /// Whether sockets can be looked at; else their lines go without.
    looks: bool,
    wanted: Vec<SockAddr64>,
    /// Sockets still to be inspected for a report that is due.
    inspections: Option<Vec<SockAddr64>>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// The first walk, until it is fed.
    seeds: (Vec<u8>, SweepReport),
    walked: Option<Instant>,
    framed: Instant,
    status: Option<StatusLine>,
}

impl Live {
    /// Takes over a session whose hooks are attached.
    pub(super) fn new(
        Begun {
            mut session,
            seeds,
            walk,
        }: Begun,
        pipeline: Pipeline,
        tape: Option<Writer>,
    ) -> Result<Self> {
        let ring = session.take_ring()?;
        let looks = session.report().chosen(Signal::SocketLookup).is_some();
        let known = session.counters()?;
        Ok(Self {
            ring: LiveRing::new(ring, session.sleep_teller())
                .context("cannot watch the ring buffer")?,
            known,
            misses: Misses::new(known.recursion),
            logger: session.take_logger(),
            looks,
            session,
            pipeline,
            tape,
            wanted: Vec::new(),
            inspections: None,
            seeds: (seeds, walk),
            walked: None,
            framed: Instant::now(),
            status: StatusLine::for_terminal(),
        })
    }

    /// Runs until it is told to stop, at the latest `after` this long; then
    /// drains and accounts for everything.
    pub(super) async fn run(mut self, after: Option<Duration>) -> Result<EndInfo> {
        // Before the first line: whoever has read it may tell us to stop.
        let mut stop = Stop::new()?;
        let (seeds, walk) = std::mem::take(&mut self.seeds);
        self.walked(&seeds, &walk)?;
        drop(seeds);
        self.pipeline.start()?;
        stop.after(after);
        give_back_memory();
        let mut refresh = Refresh::every(self.pipeline.interval());
        let mut more = true;
        loop {
            let mut due = false;
            tokio::select! {
                biased;
                () = stop.asked() => break,
                () = refresh.due() => due = true,
                waited = self.ring.wait(), if !more => waited.context("the ring buffer is gone")?,
                () = tokio::task::yield_now(), if more => {}
            }
            more = self.batch()?;
            if due && self.inspections.is_none() {
                self.prepare();
            }
            if self.inspect()? {
                self.pipeline.report(ktime_now())?;
                if self.pipeline.is_done() {
                    break;
                }
            }
        }
        self.prepare();
        while !self.inspect()? {}
        self.finish()
    }

    /// Begins a report: finds out which sockets it wants inspected.
    fn prepare(&mut self) {
        let mut wanted = Vec::new();
        self.pipeline.prepare(ktime_now(), &mut wanted);
        self.inspections = Some(wanted);
    }

    /// Inspects a batch of the sockets that a report wants; the answers come
    /// through the ring. Returns whether the report has all now.
    fn inspect(&mut self) -> Result<bool> {
        let Some(wanted) = &mut self.inspections else {
            return Ok(false);
        };
        if self.looks {
            let rest = wanted.len().saturating_sub(INSPECTIONS);
            for socket in wanted.drain(rest..) {
                self.session.inspect(socket)?;
            }
        } else {
            wanted.clear();
        }
        let done = wanted.is_empty();
        while self.drain()? == BATCH {}
        if done {
            self.inspections = None;
        }
        Ok(done)
    }

    /// Takes what the ring has, at most a batch; returns whether there is more.
    fn batch(&mut self) -> Result<bool> {
        let before = ktime_now();
        let records = self.drain()?;
        let more = records == BATCH;
        self.notice_gaps(records)?;
        if self.look()? {
            self.drain()?;
        }
        // With more in the ring, what would complete a line may still be there.
        if !more {
            self.pipeline.settle(before);
        }
        if self.pipeline.wants_sweep() && self.walked.is_none_or(|at| at.elapsed() > BETWEEN_WALKS)
        {
            self.walk()?;
        }
        self.pipeline.flush()?;
        self.report();
        Ok(more)
    }

    fn drain(&mut self) -> Result<usize> {
        let Self {
            ring,
            pipeline,
            tape,
            framed,
            ..
        } = self;
        let mut taped = Ok(());
        let count = ring.drain(BATCH, |record| {
            if let (Some(tape), Ok(())) = (tape.as_mut(), &taped) {
                taped = tape.push(record);
            }
            pipeline.delivered(record);
        });
        pipeline.drained();
        taped?;
        if let Some(tape) = tape
            && framed.elapsed() > BETWEEN_FRAMES
        {
            tape.flush()?;
            *framed = Instant::now();
        }
        Ok(count)
    }

    /// Losses mark the records that follow them; but there may be more than the
    /// `records` of a batch, or none, and the mark may look like the one before.
    /// Recursion leaves none.
    fn notice_gaps(&mut self, records: usize) -> Result<()> {
        let now = Instant::now();
        if self.misses.is_due(now, records) {
            let recursion = self.session.counters()?.recursion;
            self.known.recursion = recursion;
            if self.misses.read(now, recursion) {
                self.pipeline.gap();
            }
        }
        let ring_full = self.session.ring_full();
        if ring_full - self.known.ring_full >= LOST_WRAPS {
            self.pipeline.gap();
        }
        if records < BATCH {
            self.pipeline.note_lost(ring_full);
        }
        self.known.ring_full = ring_full;
        Ok(())
    }

    /// Looks at sockets whose lines lack something; the answers come through
    /// the ring. Returns whether there were any.
    fn look(&mut self) -> Result<bool> {
        self.wanted.clear();
        if !self.looks {
            return Ok(false);
        }
        self.pipeline.wanted(&mut self.wanted);
        for &socket in &self.wanted {
            self.session.peek(socket)?;
        }
        Ok(!self.wanted.is_empty())
    }

    /// Walks over all socket tables and feeds what is there.
    fn walk(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        let report = seed::sweep(self.session.filter(), &mut bytes);
        begin::complain_of(&report);
        self.walked(&bytes, &report)
    }

    /// Feeds a walk but for its end, has the sockets looked at of which it does
    /// not know whether it saw them, and ends it.
    fn walked(&mut self, bytes: &[u8], report: &SweepReport) -> Result<()> {
        self.fed(bytes)?;
        let mut doubted = Vec::new();
        if self.looks {
            self.pipeline.doubted(&mut doubted);
        }
        for some in doubted.chunks(LOOKS) {
            for &socket in some {
                self.session.peek(socket)?;
            }
            while self.drain()? == BATCH {}
        }
        // What was lost of the answers must be known before the end.
        self.notice_gaps(0)?;
        let mut end = Vec::new();
        seed::end(report, &mut end);
        self.fed(&end)?;
        self.walked = Some(Instant::now());
        Ok(())
    }

    /// Records that did not come through the ring.
    fn fed(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(tape) = &mut self.tape {
            tape.push(bytes)?;
        }
        self.pipeline.walked(bytes);
        Ok(())
    }

    fn report(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let now = Instant::now();
        if let Some(status) = &mut self.status
            && status.is_due(now)
        {
            let lost = self.known.ring_full + self.known.recursion;
            status.show(now, self.pipeline.count(), lost);
        }
    }

    /// Detaches, takes what is left, and accounts for every record.
    fn finish(mut self) -> Result<EndInfo> {
        self.session.detach();
        let now = ktime_now();
        let deadline = Instant::now() + IN_FLIGHT;
        loop {
            let drained = self.drain()?;
            self.known = self.session.counters()?;
            let arrived = self.pipeline.count() + self.known.ring_full;
            if arrived >= self.known.seen || (drained == 0 && Instant::now() > deadline) {
                break;
            }
        }
        let missing = self
            .known
            .seen
            .saturating_sub(self.pipeline.count() + self.known.ring_full);
        let lost = [
            ("ring_full", self.known.ring_full),
            ("recursion", self.known.recursion),
            ("in_flight", missing),
        ];
        let lost = lost.into_iter().filter(|(_, count)| *count > 0);
        let mut end = EndInfo {
            seen: Some(self.known.seen + self.known.recursion),
            delivered: Some(self.pipeline.count()),
            lost: Some(lost.map(|(why, count)| (why.to_owned(), count)).collect()),
            complete: true,
            ..EndInfo::default()
        };
        drop(self.status.take());
        self.pipeline.finish(now, &mut end)?;
        if let Some(tape) = self.tape {
            tape.finish(&end)?;
        }
        Ok(end)
    }
}
