//! `tcpstate leaks` as a report of the pipeline.
//!
//! A report begins with the sockets that may be suspects, has each of them
//! inspected, and asks the surveyor's thread; it is written when that answers.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    exit::complain,
    view::{Moment, Report},
};
use crate::{
    decode::{Event, Inspection, KtimeNs, Record, SockAddr64, SocketKind, slice},
    session::EndInfo,
    sink::{Heading, Reports, folded, leaks::Told},
    survey::{Answer, Asked, Question, Surveyor, concerns, has_address},
    track::{Change, Open},
};

/// Where else the last report goes.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    folded: Option<File>,
    flame_graph: Option<File>,
}

/// What is known of open sockets besides what the tracker knows, and where
/// reports go.
pub(super) struct LeaksReport<W: Write> {
    pub(super) asked: Asked,
    pub(super) surveyor: Surveyor,
    pub(super) sink: Reports<W>,
    pub(super) graphs: Graphs,
    pub(super) next: Gathered,
}

/// What the next report is made from.
#[derive(Default)]
pub(super) struct Gathered {
    open: Vec<Open>,
    seen: HashMap<SockAddr64, Inspection>,
    /// Sockets of which there is a stack.
    with_stack: HashSet<SockAddr64>,
    /// Of these, the ones that have been destroyed, and when.
    gone: Vec<(SockAddr64, KtimeNs)>,
}

impl<W: Write> Report for LeaksReport<W> {
    fn start(&mut self) -> io::Result<()> {
        self.sink.start()
    }

    fn change(&mut self, _change: &Change) {}

    fn record(&mut self, record: &Record, bytes: &[u8]) {
        let next = &mut self.next;
        match &record.event {
            Event::Stack(event) => {
                next.with_stack.insert(event.sk);
                self.surveyor.captured(event, slice(bytes));
            }
            Event::Destroyed(sk) if next.with_stack.remove(sk) => {
                next.gone.push((*sk, record.at));
            }
            Event::Inspection(seen) => {
                next.seen.insert(seen.sk, *seen);
            }
            _ => {}
        }
    }

    fn prepare(&mut self, now: &Moment<'_>, wanted: &mut Vec<SockAddr64>) {
        let next = &mut self.next;
        next.open.clear();
        next.seen.clear();
        now.tracker.open(now.at, |open| {
            let concerns = open.kind == SocketKind::Full && concerns(open.state);
            if concerns && now.filter.admits(open) {
                next.open.push(*open);
            }
        });
        let named = next.open.iter().filter(|open| has_address(open));
        wanted.extend(named.map(|open| open.conn.sk));
    }

    fn report(&mut self, now: &Moment<'_>) -> io::Result<()> {
        if self.surveyor.is_busy() && !now.last {
            return self.flush();
        }
        let next = &mut self.next;
        let question = Box::new(Question {
            open: std::mem::take(&mut next.open),
            seen: std::mem::take(&mut next.seen),
            gone: std::mem::take(&mut next.gone),
            asked: Asked {
                traced_ns: now.at.since(now.began),
                ..self.asked.clone()
            },
            at: now.at,
            last: now.last,
        });
        if let Err(question) = self.surveyor.ask(question) {
            next.gone = question.gone;
        }
        if now.last {
            while let Some(answer) = self.surveyor.wait() {
                self.write(&answer)?;
            }
            return Ok(());
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.surveyor.answer() {
            Some(answer) => self.write(&answer),
            None => Ok(()),
        }
    }

    fn end(&mut self, end: &EndInfo) -> io::Result<()> {
        if self.surveyor.dropped() > 0 {
            complain(&format!(
                "{} stacks were not unwound: too many at once",
                self.surveyor.dropped()
            ));
        }
        self.sink.end(end)
    }
}

impl<W: Write> LeaksReport<W> {
    fn write(&mut self, answer: &Answer) -> io::Result<()> {
        let told = Told {
            survey: &answer.survey,
            stacks: &answer.stacks,
            traced_ns: answer.traced_ns,
            is_final: answer.last,
        };
        let heading = Heading {
            at: answer.at,
            after_ns: answer.traced_ns,
            last: answer.last,
        };
        self.sink.leaks(&heading, &told)?;
        if answer.last {
            self.graphs.write(&told)?;
        }
        Ok(())
    }
}

impl Graphs {
    /// Creates the files, so that what is wrong with them is said at once.
    pub(super) fn create(folded: Option<&Path>, flame_graph: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        Ok(Self {
            folded: folded.map(create).transpose()?,
            flame_graph: flame_graph.map(create).transpose()?,
        })
    }

    fn write(&mut self, told: &Told<'_>) -> io::Result<()> {
        let stacks = told.weighted();
        if let Some(file) = &mut self.folded {
            file.write_all(&folded::folded(&stacks))?;
        }
        if let Some(file) = &mut self.flame_graph {
            let title = "sockets that nobody closes, by where they were opened";
            file.write_all(&folded::flame_graph(&stacks, title))?;
        }
        Ok(())
    }
}
