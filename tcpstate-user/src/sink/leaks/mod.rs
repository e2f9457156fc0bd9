//! A report on leaked sockets, written.
//!
//! It is given what was found and who that is; it decides nothing.

mod json;
mod table;

#[cfg(test)]
mod golden;

use std::collections::HashMap;

use serde::Serialize;

use super::{Untrusted, folded::Weighted};
use crate::{
    leak::{Group, Owner, Verdict},
    stack::StackId,
    survey::Survey,
    track::Process,
};

pub use json::json;
pub use table::table;

/// One frame of a call stack, named as far as possible.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Frame {
    /// The function, demangled.
    pub function: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Line there.
    pub line: Option<u32>,
    /// Path of the program or library.
    pub module: Option<String>,
    /// Offset of the instruction in that file.
    pub offset: u64,
    /// Identity of that file, hexadecimal.
    pub build_id: Option<String>,
    /// Why there is no function.
    pub reason: Option<String>,
    /// Whether it belongs to the system's libraries rather than to the application.
    pub system: bool,
}

impl Frame {
    /// The function, or the place in the file.
    fn name(&self) -> String {
        match (&self.function, &self.module) {
            (Some(function), _) => function.clone(),
            (None, Some(module)) => {
                let name = module.rsplit('/').next().unwrap_or(module);
                format!("{name}+{:#x}", self.offset)
            }
            (None, None) => format!("{:#x}", self.offset),
        }
    }
}

/// A call stack, innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Its frames.
    pub frames: Vec<Frame>,
    /// How it ended: `root`, `truncated`, ….
    pub end: String,
}

/// What there is to write.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What was found.
    pub survey: &'a Survey,
    /// The stacks that it names.
    pub stacks: &'a HashMap<StackId, Stack>,
    /// For how long the trace had been running, ns.
    pub traced_ns: u64,
    /// Whether it is the last report of the session.
    pub is_final: bool,
}

impl Told<'_> {
    /// `name[pid]` for a sentence, or what stands for nobody.
    fn who(&self, group: &Group) -> String {
        match group.owner {
            Owner::Opener(pid) | Owner::Holder(pid) => {
                match (self.survey.processes.get(&pid), group.origin) {
                    // It has exited; its thread's name is known.
                    (None, Some(origin)) if origin.pid == pid => {
                        format!("{}[{pid}] (gone)", comm(&origin))
                    }
                    _ => self.named(pid),
                }
            }
            Owner::Nobody => match (&group.listener, group.origin) {
                (Some(listener), _) => format!("the listener on port {}", listener.port),
                (None, Some(origin)) => self.named(origin.pid),
                (None, None) => "nobody known".to_owned(),
            },
        }
    }

    fn named(&self, pid: u32) -> String {
        match self.survey.processes.get(&pid) {
            Some(facts) => format!("{}[{pid}]", printable(&facts.comm)),
            None => format!("process {pid}"),
        }
    }

    /// How many sockets this is thought of.
    fn count(&self, verdict: Verdict) -> usize {
        let groups = self.survey.report.groups.iter();
        let of = groups.filter(|it| it.verdict == verdict);
        of.map(|it| it.count).sum()
    }

    /// Where the sockets of all groups were opened, outermost frame first. The
    /// process is the outermost.
    #[must_use]
    pub fn weighted(&self) -> Vec<Weighted> {
        let groups = self.survey.report.groups.iter();
        groups
            .map(|group| {
                let mut frames = vec![self.who(group)];
                match self.stack(group.origin_stack) {
                    Some(stack) => {
                        frames.extend(stack.frames.iter().rev().map(Frame::name));
                    }
                    None => frames.push("[opened where is not known]".to_owned()),
                }
                Weighted {
                    frames,
                    count: group.count as u64,
                }
            })
            .collect()
    }

    fn stack(&self, id: Option<StackId>) -> Option<&Stack> {
        self.stacks.get(&id?)
    }
}

fn comm(process: &Process) -> String {
    let mut text = Vec::new();
    Untrusted::comm(&process.comm).term(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Somebody else's bytes as text that a terminal shows as it is.
fn printable(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    Untrusted::new(bytes).term(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The descriptors of each process, processes in order.
fn by_process(group: &Group) -> Vec<(u32, Vec<u32>)> {
    let mut all: Vec<(u32, Vec<u32>)> = Vec::new();
    for held in &group.held {
        match all.last_mut() {
            Some((pid, fds)) if *pid == held.pid => fds.push(held.fd),
            _ => all.push((held.pid, vec![held.fd])),
        }
    }
    all
}
