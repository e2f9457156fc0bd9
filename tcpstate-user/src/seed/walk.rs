//! The socket tables of one network namespace after the other, read in the
//! calling thread.
//!
//! The thread is moved from namespace to namespace and must end afterwards.

use std::io;

use rustix::{
    fd::AsFd as _,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use super::namespaces::{self, Failure, Namespace};

/// Calls `read` in each network namespace, or in the one that is `wanted` (0:
/// all), with its inode number. Returns how many were read, and those that were
/// not, with the reason.
pub(super) fn each_namespace(
    wanted: u32,
    read: &mut dyn FnMut(u32) -> io::Result<()>,
) -> (usize, Vec<Failure>) {
    let mut count = 0;
    let mut failed = Vec::new();
    let mut here = None;
    let asked_for = |inode: u64| wanted == 0 || inode == 0 || inode == u64::from(wanted);
    let unreachable = namespaces::visit(&mut |namespace| {
        let inode = namespace.inode;
        // All are entered: where the thread has been is how others are known.
        let entered = enter(&namespace, &mut here);
        if !asked_for(inode) {
            return;
        }
        let number = entered.and_then(|()| u32::try_from(inode).map_err(io::Error::other));
        match number.and_then(&mut *read) {
            Ok(()) => count += 1,
            Err(error) => failed.push((inode, error.to_string())),
        }
    });
    failed.extend(
        unreachable
            .into_iter()
            .filter(|(inode, _)| asked_for(*inode)),
    );
    (count, failed)
}

/// The first namespace is the thread's own: no privilege is needed to stay.
fn enter(namespace: &Namespace, here: &mut Option<u64>) -> io::Result<()> {
    if here.is_some_and(|here| here != namespace.inode) {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.file.as_fd(), kind)?;
    }
    *here = Some(namespace.inode);
    Ok(())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
