//! What the threads of a few processes have on their stacks, for one report.
//!
//! Bounded, and it counts what it leaves out. Slices are unwound one by one and
//! overwritten by the next.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
};

use super::NamedStack;
use crate::{
    attach::ThreadWalker,
    decode::{self, ThreadStack},
    stack::{CallStack, Stacks},
    symbolize::Names,
};

/// So many processes are looked into for a report, the worst first.
const PROCESSES: usize = 8;
/// So many threads of each.
const THREADS: usize = 1000;
/// So much of all their stacks together: 2000 threads with slices of 16 KiB.
const BYTES: usize = 32 << 20;
/// The kernel gives at most 32 KiB for each read, and whole records:
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c>.
const CHUNK: usize = 64 << 10;
/// How often in a row a read may bring nothing. The kernel says `EAGAIN` after
/// a million tasks of other processes.
const PATIENCE: u32 = 1000;

/// By thread id: stack pointer, instruction pointer, and the stack.
pub(super) type ByThread = HashMap<u32, ((u64, u64), CallStack)>;

/// One look, and what it needs.
pub(super) struct Glance<'a> {
    /// `None` where the kernel has none.
    walker: Option<&'a mut ThreadWalker>,
    stacks: &'a mut Stacks,
    names: &'a mut Names,
    processes: usize,
    bytes: usize,
}

impl<'a> Glance<'a> {
    pub(super) const fn new(
        walker: Option<&'a mut ThreadWalker>,
        stacks: &'a mut Stacks,
        names: &'a mut Names,
    ) -> Self {
        Self {
            walker,
            stacks,
            names,
            processes: 0,
            bytes: 0,
        }
    }

    /// The stacks of the threads of a process, as many as may be looked at;
    /// `None` where no thread's can be.
    pub(super) fn at(&mut self, pid: u32) -> Option<ByThread> {
        let walker = self.walker.as_mut()?;
        let mut found = ByThread::new();
        self.processes += 1;
        if self.processes <= PROCESSES
            && let Ok(file) = walker.open(pid)
        {
            // What was read before an error is as true as without it.
            let _incomplete = self.read(pid, file, &mut found);
        }
        Some(found)
    }

    /// The stack with names.
    pub(super) fn name(&mut self, stack: &CallStack) -> NamedStack {
        let frames = self.names.frames(stack);
        NamedStack {
            advice: self.names.advice(stack, &frames),
            frames,
            end: stack.end,
        }
    }

    fn read(&mut self, pid: u32, mut file: File, found: &mut ByThread) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut patience = PATIENCE;
        while found.len() < THREADS && self.bytes < BYTES {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => {
                    self.bytes += length;
                    patience = PATIENCE;
                    self.take(pid, &chunk[..length], found);
                }
                Err(error) if patience > 0 && is_passing(&error) => patience -= 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, pid: u32, bytes: &[u8], found: &mut ByThread) {
        for record in decode::records(bytes).map_while(Result::ok) {
            let Ok((thread, slice)) = decode::thread(record) else {
                continue;
            };
            let ThreadStack { tid, sp, ip, .. } = thread;
            if thread.pid == pid {
                let stack = self.stacks.unwound(&(&thread).into(), slice);
                found.insert(tid, ((sp, ip), stack));
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
