//! What the threads of a process wait for, those that wait for the same
//! together.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use tcpstate_common::{record::Tuple, settings::Filter};

use super::{
    NamedStack,
    glance::{ByThread, Glance},
};
use crate::{
    decode::{Event, decode, records},
    holders::{Thread, threads},
    seed,
    stack::CallStack,
    unwind::End,
};

/// At most so many kinds of waiting are told of a process.
const MOST: usize = 32;

/// Threads that wait for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: usize,
    /// Their name; what they have in common, when they have different ones.
    pub comm: Vec<u8>,
    /// Whether their names go on differently behind `comm`.
    pub various: bool,
    /// The kernel function in which they sleep; `None`: they run, or the kernel
    /// does not tell.
    pub wait_channel: Option<String>,
    /// Whether they run, for all that is known.
    pub running: bool,
    /// The connection that their system call is about.
    pub connection: Option<Tuple>,
    /// The stack that all of them have; `None` where it was not looked at.
    pub stack: Option<NamedStack>,
}

/// What the threads of a process do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doings {
    /// The most frequent first.
    pub kinds: Vec<Waiting>,
    /// Threads that do something else, or were not looked at: too many.
    pub not_told: usize,
    /// Threads whose stacks were not looked at, though that is possible here: too
    /// many, or just begun.
    pub without_stack: usize,
}

/// What the threads of each process do now. The sockets that they wait for are
/// looked up in the tables of all network namespaces, once.
pub(super) fn of(pids: &[u32], glance: &mut Glance<'_>) -> HashMap<u32, Doings> {
    let threads: Vec<_> = pids
        .iter()
        .map(|&pid| (pid, glance.at(pid), threads(pid)))
        .collect();
    let all = threads.iter().flat_map(|(_, _, (threads, _))| threads);
    let wanted: HashSet<u64> = all.filter_map(|it| it.socket).collect();
    let tuples = match wanted.is_empty() {
        true => HashMap::new(),
        false => tuples(&wanted),
    };
    let processes = threads.into_iter();
    processes
        .map(|(pid, stacks, (threads, more))| {
            let kinds = group(&threads, stacks.as_ref(), &tuples);
            let mut doings = told(kinds, |stack| glance.name(stack));
            doings.not_told += more;
            doings.without_stack = stacks.map_or(0, |stacks| {
                let seen = threads.iter().filter(|it| stacks.contains_key(&it.tid));
                threads.len() - seen.count()
            });
            (pid, doings)
        })
        .collect()
}

/// The connections of the sockets with these inode numbers.
fn tuples(wanted: &HashSet<u64>) -> HashMap<u64, Tuple> {
    let mut bytes = Vec::new();
    seed::sweep(&Filter::default(), &mut bytes);
    let decoded = records(&bytes).filter_map(|bytes| decode(bytes.ok()?).ok());
    decoded
        .filter_map(|record| match record.event {
            Event::Snapshot(seen) if wanted.contains(&seen.inode) => Some((seen.inode, seen.tuple)),
            _ => None,
        })
        .collect()
}

/// What threads have in common that wait for the same.
#[derive(PartialEq, Eq, Hash)]
struct Kind<'a> {
    wait_channel: Option<&'a str>,
    running: bool,
    peer: Option<([u8; 16], u16)>,
    stack: Option<&'a CallStack>,
}

/// A thread that has moved on between the two looks at it.
static MOVED: CallStack = CallStack {
    places: Vec::new(),
    end: End::Running,
};

fn group<'a>(
    threads: &'a [Thread],
    stacks: Option<&'a ByThread>,
    tuples: &HashMap<u64, Tuple>,
) -> Vec<(Kind<'a>, Waiting)> {
    let mut kinds: HashMap<Kind<'_>, (usize, Waiting)> = HashMap::new();
    for (n, thread) in threads.iter().enumerate() {
        let connection = thread.socket.and_then(|socket| tuples.get(&socket));
        let kind = Kind {
            wait_channel: thread.wait_channel.as_deref(),
            running: runs(thread),
            peer: connection.map(|tuple| (tuple.raddr, tuple.rport)),
            stack: stacks.and_then(|stacks| stack_of(thread, stacks)),
        };
        match kinds.entry(kind) {
            Entry::Occupied(mut known) => known.get_mut().1.take(thread),
            Entry::Vacant(new) => {
                new.insert((n, Waiting::new(thread, connection)));
            }
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, (first, it))| (std::cmp::Reverse(it.count), *first));
    let kinds = kinds.into_iter();
    kinds.map(|(kind, (_, waiting))| (kind, waiting)).collect()
}

/// Whether nothing says that it sleeps.
const fn runs(thread: &Thread) -> bool {
    thread.wait_channel.is_none() && thread.at.is_none()
}

/// What it had on its stack, if it still has that.
fn stack_of<'a>(thread: &Thread, stacks: &'a ByThread) -> Option<&'a CallStack> {
    let (then, stack) = stacks.get(&thread.tid)?;
    let moved = thread.at.is_some_and(|now| now != *then);
    Some(if moved { &MOVED } else { stack })
}

fn told(
    mut kinds: Vec<(Kind<'_>, Waiting)>,
    mut name: impl FnMut(&CallStack) -> NamedStack,
) -> Doings {
    let rest = kinds.split_off(kinds.len().min(MOST));
    let kinds = kinds.into_iter().map(|(kind, waiting)| Waiting {
        stack: kind.stack.map(&mut name),
        ..waiting
    });
    Doings {
        kinds: kinds.collect(),
        not_told: rest.iter().map(|(_, waiting)| waiting.count).sum(),
        without_stack: 0,
    }
}

impl Waiting {
    fn new(thread: &Thread, connection: Option<&Tuple>) -> Self {
        Self {
            count: 1,
            comm: thread.comm.clone(),
            various: false,
            wait_channel: thread.wait_channel.clone(),
            running: runs(thread),
            connection: connection.copied(),
            stack: None,
        }
    }

    fn take(&mut self, thread: &Thread) {
        self.count += 1;
        let common = self.comm.iter().zip(&thread.comm);
        let common = common.take_while(|(a, b)| a == b).count();
        self.various |= common < self.comm.len() || common < thread.comm.len();
        self.comm.truncate(common);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (u64, u64) = (0x7ffd_0000, 0x40_0000);

    fn thread(tid: u32, comm: &str, channel: &str, socket: Option<u64>) -> Thread {
        Thread {
            tid,
            comm: comm.as_bytes().to_vec(),
            wait_channel: Some(channel.to_owned()),
            fd: socket.map(|_| 5),
            socket,
            at: Some(HERE),
        }
    }

    fn stack(end: End) -> CallStack {
        let places = Vec::new();
        CallStack { places, end }
    }

    fn doings(
        threads: &[Thread],
        stacks: Option<&ByThread>,
        tuples: &HashMap<u64, Tuple>,
    ) -> Doings {
        told(group(threads, stacks, tuples), |stack| NamedStack {
            frames: Vec::new(),
            end: stack.end,
            advice: None,
        })
    }

    #[test]
    fn threads_that_wait_for_the_same_are_told_together_most_first() {
        let tuple = Tuple {
            laddr: [1; 16],
            raddr: [2; 16],
            lport: 1,
            rport: 7001,
        };
        let all = [
            thread(1, "http-nio-8080-e", "futex_do_wait", None),
            thread(2, "http-nio-8080-A", "futex_do_wait", None),
            thread(3, "http-nio-8080-e", "wait_woken", Some(9)),
            thread(4, "http-nio-8080-e", "futex_do_wait", None),
        ];
        let Doings { kinds, .. } = doings(&all, None, &HashMap::from([(9, tuple)]));
        assert_eq!(kinds.len(), 2);
        assert_eq!((kinds[0].count, kinds[0].various), (3, true));
        assert_eq!(kinds[0].comm, b"http-nio-8080-");
        assert_eq!((kinds[1].count, kinds[1].various), (1, false));
        assert_eq!(kinds[1].connection, Some(tuple));
        assert_eq!(kinds[1].stack, None);
    }

    #[test]
    fn threads_with_different_stacks_wait_for_different_things() {
        let all = [1, 2, 3, 4, 5].map(|tid| thread(tid, "worker", "futex_do_wait", None));
        let elsewhere = (HERE.0, 0x50_0000);
        let stacks = ByThread::from([
            (1, (HERE, stack(End::Root))),
            (2, (HERE, stack(End::Jit))),
            (3, (HERE, stack(End::Root))),
            // It slept there, and sleeps somewhere else now.
            (4, (elsewhere, stack(End::Root))),
        ]);
        let Doings { kinds, .. } = doings(&all, Some(&stacks), &HashMap::new());
        let ends: Vec<_> = kinds
            .iter()
            .map(|it| (it.count, it.stack.as_ref().map(|stack| stack.end)))
            .collect();
        assert_eq!(
            ends,
            [
                (2, Some(End::Root)),
                (1, Some(End::Jit)),
                (1, Some(End::Running)),
                (1, None)
            ]
        );
    }

    #[test]
    fn a_thread_of_whose_sleep_the_kernel_tells_no_place_is_not_said_to_run() {
        let all = [(1, Some(HERE)), (2, None)].map(|(tid, at)| Thread {
            wait_channel: None,
            at,
            ..thread(tid, "worker", "", None)
        });
        let Doings { kinds, .. } = doings(&all, None, &HashMap::new());
        let runs: Vec<_> = kinds.iter().map(|it| it.running).collect();
        assert_eq!(runs, [false, true]);
    }

    #[test]
    fn of_many_kinds_the_rest_is_counted() {
        let all: Vec<_> = (0..40)
            .map(|n| thread(n, "worker", &format!("function_{n}"), None))
            .collect();
        let doings = doings(&all, None, &HashMap::new());
        assert_eq!((doings.kinds.len(), doings.not_told), (MOST, 40 - MOST));
    }
}
