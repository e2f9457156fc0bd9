//! What the threads of a process wait for, those that wait for the same
//! together.

use std::collections::{BTreeMap, HashMap, HashSet};

use tcpstate_common::record::Tuple;

use crate::{
    decode::{Event, decode, records},
    holders::{Thread, threads},
    seed,
};

/// At most so many kinds of waiting are told of a process.
const MOST: usize = 6;

/// Threads that wait for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub count: usize,
    /// Their name; what they have in common, when they have different ones.
    pub comm: Vec<u8>,
    /// Whether their names go on differently behind `comm`.
    pub various: bool,
    /// The kernel function in which they sleep; `None`: they run.
    pub wait_channel: Option<String>,
    /// The connection that their system call is about.
    pub connection: Option<Tuple>,
}

/// What the threads of each process do now. The sockets that they wait for are
/// looked up in the tables of all network namespaces, once.
pub(super) fn of(pids: &HashSet<u32>) -> HashMap<u32, Vec<Waiting>> {
    let threads: HashMap<u32, Vec<Thread>> = pids.iter().map(|&pid| (pid, threads(pid))).collect();
    let wanted: HashSet<u64> = threads
        .values()
        .flatten()
        .filter_map(|it| it.socket)
        .collect();
    let tuples = match wanted.is_empty() {
        true => HashMap::new(),
        false => tuples(&wanted),
    };
    let groups = threads.into_iter();
    groups
        .map(|(pid, threads)| (pid, group(&threads, &tuples)))
        .collect()
}

/// The connections of the sockets with these inode numbers.
fn tuples(wanted: &HashSet<u64>) -> HashMap<u64, Tuple> {
    let mut bytes = Vec::new();
    seed::sweep(None, &mut bytes);
    let decoded = records(&bytes).filter_map(|bytes| decode(bytes.ok()?).ok());
    decoded
        .filter_map(|record| match record.event {
            Event::Snapshot(seen) if wanted.contains(&seen.inode) => Some((seen.inode, seen.tuple)),
            _ => None,
        })
        .collect()
}

fn group(threads: &[Thread], tuples: &HashMap<u64, Tuple>) -> Vec<Waiting> {
    type Peer = Option<([u8; 16], u16)>;
    let mut groups: BTreeMap<(&Option<String>, Peer), Waiting> = BTreeMap::new();
    for thread in threads {
        let connection = thread.socket.and_then(|socket| tuples.get(&socket));
        let peer = connection.map(|tuple| (tuple.raddr, tuple.rport));
        groups
            .entry((&thread.wait_channel, peer))
            .and_modify(|group| group.take(thread))
            .or_insert_with(|| Waiting {
                count: 1,
                comm: thread.comm.clone(),
                various: false,
                wait_channel: thread.wait_channel.clone(),
                connection: connection.copied(),
            });
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups.truncate(MOST);
    groups
}

impl Waiting {
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

    fn thread(tid: u32, comm: &str, channel: &str, socket: Option<u64>) -> Thread {
        Thread {
            tid,
            comm: comm.as_bytes().to_vec(),
            wait_channel: Some(channel.to_owned()),
            fd: socket.map(|_| 5),
            socket,
        }
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
        let groups = group(&all, &HashMap::from([(9, tuple)]));
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].count, groups[0].various), (3, true));
        assert_eq!(groups[0].comm, b"http-nio-8080-");
        assert_eq!((groups[1].count, groups[1].various), (1, false));
        assert_eq!(groups[1].connection, Some(tuple));
    }
}
