//! The processes whose stacks were captured.

use std::collections::HashMap;

use super::{
    Cache, End, Modules, Place, Registers,
    process::{Process, ProcessCode},
    walk,
};
use crate::decode::{KtimeNs, SliceStatus, StackEvent, ThreadStack};

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

/// What an unwinder is given of a task besides the slice of its stack.
#[derive(Clone, Copy, Debug)]
pub struct Captured {
    /// Whose stack it is.
    pub key: ProcessKey,
    /// When it was copied.
    pub at: KtimeNs,
    /// The task's registers.
    pub registers: Registers,
    /// Whether there is a slice.
    pub status: SliceStatus,
}

impl From<&StackEvent> for Captured {
    fn from(event: &StackEvent) -> Self {
        Self {
            key: ProcessKey {
                pid: event.task.pid,
                start_boottime: event.start_boottime,
                mm: event.mm,
            },
            at: event.at,
            registers: Registers {
                ip: event.ip,
                sp: event.sp,
                fp: event.fp,
            },
            status: event.status,
        }
    }
}

impl From<&ThreadStack> for Captured {
    fn from(thread: &ThreadStack) -> Self {
        Self {
            key: ProcessKey {
                pid: thread.pid,
                start_boottime: thread.start_boottime,
                mm: thread.mm,
            },
            at: thread.at,
            registers: Registers {
                ip: thread.ip,
                sp: thread.sp,
                fp: thread.fp,
            },
            status: thread.status,
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
        captured: &Captured,
        slice: &[u8],
        modules: &mut Modules,
    ) -> (Vec<Place>, End) {
        let Some(process) = self.known.get(captured.key, captured.at) else {
            return (Vec::new(), End::ProcessGone);
        };
        let mut code = ProcessCode {
            process,
            modules,
            now: captured.at,
        };
        walk(captured.registers, slice, &mut code, &mut self.cache)
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
