//! The processes whose stacks were captured.

use std::collections::HashMap;

use super::{
    Cache, End, Modules, Place, Registers,
    process::{Process, ProcessCode},
    walk,
};
use crate::decode::{KtimeNs, StackEvent};

/// So many are known at the same time. Each has a descriptor open.
const MAX_PROCESSES: usize = 256;

/// One program in one process: another one after `exec`, and when the id is
/// used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// When it started, `CLOCK_BOOTTIME`, ns.
    pub start_boottime: u64,
    /// Kernel address of its memory map.
    pub mm: u64,
}

impl ProcessKey {
    /// Whose stack it is.
    #[must_use]
    pub const fn of(event: &StackEvent) -> Self {
        Self {
            pid: event.task.pid,
            start_boottime: event.start_boottime,
            mm: event.mm,
        }
    }
}

/// What is known of them.
#[derive(Debug, Default)]
pub struct Processes {
    known: Table,
    cache: Cache,
}

#[derive(Debug, Default)]
struct Table(HashMap<ProcessKey, Entry>);

#[derive(Debug)]
struct Entry {
    process: Process,
    used: KtimeNs,
}

impl Processes {
    /// Unwinds a stack that was captured just now.
    pub fn unwind(
        &mut self,
        event: &StackEvent,
        slice: &[u8],
        modules: &mut Modules,
    ) -> (Vec<Place>, End) {
        let key = ProcessKey::of(event);
        let Some(process) = self.known.get(key, event.at) else {
            return (Vec::new(), End::ProcessGone);
        };
        let registers = Registers {
            ip: event.ip,
            sp: event.sp,
            fp: event.fp,
        };
        let mut code = ProcessCode {
            process,
            modules,
            now: event.at,
        };
        walk(registers, slice, &mut code, &mut self.cache)
    }
}

impl Table {
    /// The process, opened when it is not known; `None` when it is gone.
    fn get(&mut self, key: ProcessKey, now: KtimeNs) -> Option<&mut Process> {
        if !self.0.contains_key(&key) {
            let process = Process::open(key, now).ok()?;
            if self.0.len() >= MAX_PROCESSES {
                self.forget_oldest();
            }
            self.0.insert(key, Entry { process, used: now });
        }
        let entry = self.0.get_mut(&key)?;
        entry.used = now;
        Some(&mut entry.process)
    }

    /// Its modules stay known; only its memory map is forgotten.
    fn forget_oldest(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, entry)| entry.used);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.0.remove(&key);
        }
    }
}
