//! The thread beside the reader of the ring that unwinds stacks as they come
//! and makes surveys when asked, so that neither keeps the ring waiting.

use std::{
    collections::HashMap,
    io,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel},
    thread::{self, JoinHandle},
};

use super::{
    Asked, Candidate, Survey,
    alike::{Mixed, first_of_each},
    glance::Glance,
    survey, unnamed,
};
use crate::{
    attach::ThreadWalker,
    decode::{Inspection, KtimeNs, SockAddr64, StackEvent, Why},
    stack::{StackId, Stacks},
    symbolize::{Frame, Names, memory_of},
    track::Open,
    unwind::End,
};

/// So much may wait for the thread: with 28 KiB in each, 57 MB. At 500 stacks a
/// second it may fall behind by four seconds, as when it names the frames of a
/// large program for the first time.
const WAITING: usize = 2048;

/// What a survey is made from.
#[derive(Clone, Debug)]
pub struct Question {
    /// Sockets that may be suspects, and listeners.
    pub open: Vec<Open>,
    /// What the kernel says of those that have an address.
    pub seen: HashMap<SockAddr64, Inspection>,
    /// Sockets with stacks that have been destroyed, and when.
    pub gone: Vec<(SockAddr64, KtimeNs)>,
    /// What is asked for.
    pub asked: Asked,
    /// When, by the records' clock.
    pub at: KtimeNs,
    /// Whether no other follows.
    pub last: bool,
}

/// A call stack, innermost frame first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedStack {
    /// Its frames.
    pub frames: Vec<Frame>,
    /// How it ended.
    pub end: End,
    /// What would make it say more.
    pub advice: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Answer {
    /// The suspects, and who they are.
    pub survey: Survey,
    /// The stacks that it names.
    pub stacks: HashMap<StackId, NamedStack>,
    /// When it was asked.
    pub at: KtimeNs,
    /// For how long the trace had been running, ns.
    pub traced_ns: u64,
    /// Whether no other follows.
    pub last: bool,
}

enum Work {
    Stack(StackEvent, Box<[u8]>),
    Survey(Box<Question>),
}

/// The thread, as its user sees it.
#[derive(Debug)]
pub struct Surveyor {
    /// `None` once it has been told to end.
    work: Option<SyncSender<Work>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Asked and not answered yet.
    open: usize,
    dropped: u64,
}

impl Surveyor {
    /// Starts the thread, which looks at what other threads do by `walker`.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(walker: Option<ThreadWalker>) -> io::Result<Self> {
        let (work, tasks) = sync_channel(WAITING);
        let (answer, answers) = channel();
        let thread = thread::Builder::new()
            .name("tcpstate-survey".to_owned())
            .spawn(move || {
                let mut desk = Desk {
                    walker,
                    ..Desk::default()
                };
                for task in tasks {
                    match task {
                        Work::Stack(event, slice) => desk.captured(&event, &slice),
                        Work::Survey(question) => {
                            if answer.send(desk.answer(&question)).is_err() {
                                return;
                            }
                        }
                    }
                }
            })?;
        Ok(Self {
            work: Some(work),
            answers,
            thread: Some(thread),
            open: 0,
            dropped: 0,
        })
    }

    /// Hands over a stack that was captured just now. When the thread is too far
    /// behind, the stack is dropped and counted.
    pub fn captured(&mut self, event: &StackEvent, slice: &[u8]) {
        let task = Work::Stack(*event, slice.into());
        let sent = self.work.as_ref().map(|work| work.try_send(task));
        if !matches!(sent, Some(Ok(()))) {
            self.dropped += 1;
        }
    }

    /// Whether it is still at the survey before.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.open > 0
    }

    /// Asks for a survey.
    ///
    /// # Errors
    ///
    /// The question, when the thread is too far behind. For the last one there
    /// is always room, in time.
    pub fn ask(&mut self, question: Box<Question>) -> Result<(), Box<Question>> {
        let Some(work) = &self.work else {
            return Err(question);
        };
        let sent = if question.last {
            let task = Work::Survey(question);
            work.send(task).map_err(|refused| refused.0)
        } else {
            let sent = work.try_send(Work::Survey(question));
            sent.map_err(|refused| match refused {
                TrySendError::Full(task) | TrySendError::Disconnected(task) => task,
            })
        };
        match sent {
            Err(Work::Survey(question)) => return Err(question),
            Err(Work::Stack(..)) | Ok(()) => self.open += 1,
        }
        Ok(())
    }

    /// A survey that has become ready.
    pub fn answer(&mut self) -> Option<Answer> {
        match self.answers.try_recv() {
            Ok(answer) => {
                self.open -= 1;
                Some(answer)
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => None,
        }
    }

    /// The next survey; `None` when none was asked for, or the thread is gone.
    pub fn wait(&mut self) -> Option<Answer> {
        if self.open == 0 {
            return None;
        }
        self.open -= 1;
        self.answers.recv().ok()
    }

    /// Stacks that were dropped because the thread was too far behind.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for Surveyor {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // It ends at the end of its work; a panic has been told.
            let _ended = thread.join();
        }
    }
}

/// The last stacks of a socket, and when they were captured: an address may be
/// another socket's by now.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    origin: Option<(KtimeNs, StackId)>,
    end_of_file: Option<(KtimeNs, StackId)>,
}

/// What the thread keeps.
#[derive(Default)]
struct Desk {
    stacks: Stacks,
    places: HashMap<SockAddr64, Places>,
    names: Names,
    named: HashMap<StackId, NamedStack>,
    walker: Option<ThreadWalker>,
}

impl Desk {
    fn captured(&mut self, event: &StackEvent, slice: &[u8]) {
        let id = self.stacks.captured(event, slice);
        let places = self.places.entry(event.sk).or_default();
        let place = Some((event.at, id));
        match event.why {
            Why::Connect => {
                *places = Places {
                    origin: place,
                    end_of_file: None,
                };
            }
            Why::Accept => places.origin = place,
            Why::EndOfFile => places.end_of_file = place,
        }
    }

    fn answer(&mut self, question: &Question) -> Answer {
        self.forget(&question.gone);
        let mut candidates: Vec<_> = question.open.iter().map(|it| self.candidate(it)).collect();
        self.unite(&mut candidates);
        let seen = unnamed::seen(&question.open, &question.seen);
        let walker = self.walker.as_mut();
        let mut glance = Glance::new(walker, &mut self.stacks, &mut self.names);
        let survey = survey(&candidates, &seen, &question.asked, &mut glance);
        Answer {
            stacks: self.name(&survey),
            survey,
            at: question.at,
            traced_ns: question.asked.traced_ns,
            last: question.last,
        }
    }

    fn candidate(&self, open: &Open) -> Candidate {
        let places = self.places.get(&open.conn.sk).copied().unwrap_or_default();
        let of_this = |place: Option<(KtimeNs, StackId)>| {
            let (at, id) = place?;
            (at >= open.conn.birth).then_some(id)
        };
        Candidate {
            open: *open,
            origin_stack: of_this(places.origin),
            eof_stack: of_this(places.end_of_file),
        }
    }

    /// A socket that is destroyed has no use for its stacks. What was captured
    /// later is of another one.
    fn forget(&mut self, gone: &[(SockAddr64, KtimeNs)]) {
        for (sk, at) in gone {
            let Some(places) = self.places.get_mut(sk) else {
                continue;
            };
            let later = |place: &(KtimeNs, StackId)| place.0 > *at;
            places.origin = places.origin.filter(later);
            places.end_of_file = places.end_of_file.filter(later);
            if places.origin.is_none() && places.end_of_file.is_none() {
                self.places.remove(sk);
            }
        }
    }

    /// Gives stacks that tell the same one number.
    fn unite(&mut self, candidates: &mut [Candidate]) {
        if self.names.have_changed() {
            let is_file = |frame: &Frame| !frame.jit;
            self.named.retain(|_, it| it.frames.iter().all(is_file));
        }
        let stacks = candidates.iter_mut();
        let stacks = stacks.flat_map(|it| [&mut it.origin_stack, &mut it.eof_stack]);
        let ids: Vec<&mut StackId> = stacks.flatten().collect();
        let mut mixed = HashMap::new();
        for id in &ids {
            if let Some(process) = memory_of(self.stacks.get(**id)) {
                self.named(**id);
                mixed.insert(**id, process);
            }
        }
        let mixed = mixed.iter().map(|(id, process)| Mixed {
            id: *id,
            process: *process,
            frames: &self.named[id].frames,
        });
        let firsts = first_of_each(&mut mixed.collect::<Vec<_>>());
        for id in ids {
            *id = firsts.get(id).copied().unwrap_or(*id);
        }
    }

    fn named(&mut self, id: StackId) -> &NamedStack {
        self.named.entry(id).or_insert_with(|| {
            let stack = self.stacks.get(id);
            let frames = self.names.frames(stack);
            NamedStack {
                advice: self.names.advice(stack, &frames),
                frames,
                end: stack.end,
            }
        })
    }

    fn name(&mut self, survey: &Survey) -> HashMap<StackId, NamedStack> {
        let groups = survey.report.groups.iter();
        let ids = groups.flat_map(|it| [it.origin_stack, it.eof_stack]);
        ids.flatten()
            .map(|id| (id, self.named(id).clone()))
            .collect()
    }
}
