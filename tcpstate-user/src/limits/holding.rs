//! Which process has a listener: looked for once for each, and again when the
//! process is gone.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use crate::{holders::scan, ports::Limits};

/// What is known of listeners, by inode number.
#[derive(Debug, Default)]
pub(super) struct Holding {
    known: HashMap<u64, Option<u32>>,
}

impl Holding {
    /// Fills in the processes. The second of each pair has the inode numbers of
    /// [`Limits::bound`].
    pub(super) fn name(&mut self, namespaces: &mut [(Limits, Vec<u64>)]) {
        let there = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
        let listening: HashSet<u64> = listeners(namespaces).collect();
        self.known
            .retain(|inode, pid| listening.contains(inode) && pid.is_none_or(there));
        let known = &mut self.known;
        let new = listening.iter().filter(|inode| !known.contains_key(inode));
        let new: HashSet<u64> = new.copied().collect();
        if !new.is_empty() {
            let found = scan(&new).unwrap_or_default();
            for inode in new {
                let pid = found.of(inode).first().map(|it| it.pid);
                known.insert(inode, pid);
            }
        }
        for (limits, inodes) in namespaces {
            let bound = limits.bound.iter_mut().flatten();
            for (bound, inode) in bound.zip(inodes) {
                bound.pid = known.get(inode).copied().flatten();
            }
        }
    }
}

fn listeners(namespaces: &[(Limits, Vec<u64>)]) -> impl Iterator<Item = u64> {
    namespaces.iter().flat_map(|(limits, inodes)| {
        let bound = limits.bound.iter().flatten();
        let both = bound.zip(inodes);
        both.filter_map(|(bound, inode)| bound.queue.map(|_listens| *inode))
    })
}
