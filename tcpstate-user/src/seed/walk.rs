//! The socket tables of one network namespace after the other, read in the
//! calling thread: by the iterator, else by `sock_diag`.
//!
//! The thread is moved from namespace to namespace and must end afterwards.

use std::{
    fs::File,
    io::{self, Read as _},
};

use rustix::{
    fd::AsFd as _,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tcpstate_common::record::{Snapshot, kind, words_of};

use super::{
    OpenIterator, SweepReport,
    namespaces::{self, Namespace},
    sock_diag,
};

const RECORD: usize = size_of::<Snapshot>();
/// The kernel gives at most 32 KiB for each read of an iterator: eight pages,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c>.
const CHUNK: usize = 64 << 10;
/// How often in a row a read may bring nothing. The kernel says `EAGAIN` after
/// a million sockets of other namespaces.
const PATIENCE: u32 = 1000;

/// Appends a snapshot for each socket of each network namespace to `out`.
pub(super) fn walk(mut iterator: Option<&mut OpenIterator<'_>>, out: &mut Vec<u8>) -> SweepReport {
    let mut report = SweepReport::default();
    let begin = out.len();
    let mut here = None;
    let unreachable = namespaces::visit(&mut |namespace| {
        let inode = namespace.inode;
        let entered = enter(&namespace, &mut here);
        let read = entered.and_then(|()| read(&mut iterator, inode, out, &mut report));
        match read {
            Ok(()) => report.namespaces += 1,
            Err(error) => report.failed.push((inode, error.to_string())),
        }
    });
    report.failed.extend(unreachable);
    report.sockets = (out.len() - begin) / RECORD;
    report
}

/// Calls `visit` in each network namespace, with its inode number, and returns
/// those that could not be entered. The calling thread must end afterwards.
pub(crate) fn each_namespace(visit: &mut dyn FnMut(u64)) -> Vec<(u64, String)> {
    let mut here = None;
    let mut failed = Vec::new();
    let unreachable = namespaces::visit(&mut |namespace| {
        let inode = namespace.inode;
        match enter(&namespace, &mut here) {
            Ok(()) => visit(inode),
            Err(error) => failed.push((inode, error.to_string())),
        }
    });
    failed.extend(unreachable);
    failed
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

/// Reads the tables of the namespace in which the thread is.
fn read(
    iterator: &mut Option<&mut OpenIterator<'_>>,
    inode: u64,
    out: &mut Vec<u8>,
    report: &mut SweepReport,
) -> io::Result<()> {
    if let Some(open) = iterator {
        match open().and_then(|file| drain(file, out)) {
            Ok(()) => {
                report.by_iterator += 1;
                return Ok(());
            }
            Err(error) => {
                report.refusal.get_or_insert_with(|| error.to_string());
            }
        }
    }
    let netns = u32::try_from(inode).map_err(io::Error::other)?;
    sock_diag::dump(netns, out)
}

/// Appends what an iterator has to say, or nothing when it breaks off or says
/// something else than whole snapshots.
fn drain(file: File, out: &mut Vec<u8>) -> io::Result<()> {
    let begin = out.len();
    let result = read_all(file, out).and_then(|()| check(&out[begin..]));
    if result.is_err() {
        out.truncate(begin);
    }
    result
}

fn read_all(mut file: File, out: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut patience = PATIENCE;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(len) => {
                out.extend_from_slice(&chunk[..len]);
                patience = PATIENCE;
            }
            Err(error)
                if patience > 0
                    && matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) =>
            {
                patience -= 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The records' content is `decode`'s; here only that they end where they must.
fn check(bytes: &[u8]) -> io::Result<()> {
    let (records, rest) = bytes.as_chunks::<RECORD>();
    let expected = [kind::SNAPSHOT, words_of::<Snapshot>()];
    if let Some(other) = records.iter().find(|record| record[..2] != expected) {
        let reason = format!("the iterator wrote a record of kind {}", other[0]);
        return Err(io::Error::other(reason));
    }
    if !rest.is_empty() {
        let reason = format!(
            "the iterator ended within a record, after {} bytes",
            rest.len()
        );
        return Err(io::Error::other(reason));
    }
    Ok(())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
