//! A report on leaked sockets, written.
//!
//! It is given what was found and who that is; it decides nothing.

mod json;
mod table;
mod words;

#[cfg(test)]
mod golden;

use std::collections::HashMap;

use super::{Untrusted, folded::Weighted};
use crate::{
    leak::{Group, Owner, Verdict},
    stack::StackId,
    survey::{NamedStack, Survey},
    symbolize::Frame,
    track::Process,
};

pub use json::json;
pub use table::table;

/// The function, or the place in the file.
fn name(frame: &Frame) -> String {
    let offset = frame.offset.unwrap_or_default();
    match (&frame.function, &frame.module) {
        (Some(function), _) => function.clone(),
        // Another address each time that it is compiled.
        _ if frame.jit => "[jit]".to_owned(),
        (None, Some(module)) => {
            let name = module.rsplit('/').next().unwrap_or(module);
            format!("{name}+{offset:#x}")
        }
        (None, None) => format!("{offset:#x}"),
    }
}

/// What there is to write.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What was found.
    pub survey: &'a Survey,
    /// The stacks that it names.
    pub stacks: &'a HashMap<StackId, NamedStack>,
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
                (None, None) => "somebody unknown".to_owned(),
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
                        frames.extend(stack.frames.iter().rev().map(name));
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

    fn stack(&self, id: Option<StackId>) -> Option<&NamedStack> {
        self.stacks.get(&id?)
    }

    /// What would make its stacks say more.
    fn advice(&self, group: &Group) -> Option<&str> {
        let stacks = [group.origin_stack, group.eof_stack];
        let mut told = stacks.iter().filter_map(|id| self.stack(*id));
        told.find_map(|stack| stack.advice.as_deref())
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
