//! A thread's stack, as a walk over the threads of a process gives it.
//!
//! It is no event, and comes neither from the ring nor from a recording. As of
//! a captured stack, what lies in the slice is for `unwind` to say.

use tcpstate_common::record::{LONG, Thread, kind};
use zerocopy::FromBytes as _;

use super::{DecodeError, KtimeNs, SliceStatus, header_of, unknown_value, wrong_length};

/// What a thread has on its user stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadStack {
    /// When it was looked at.
    pub at: KtimeNs,
    /// Process id, in the initial pid namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// When the process started, `CLOCK_BOOTTIME`, ns.
    pub start_boottime: u64,
    /// Kernel address of its memory map: another one after `exec`.
    pub mm: u64,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Whether there is a slice.
    pub status: SliceStatus,
}

/// Decodes exactly one record of a [`Thread`], an item of [`super::records`]: what
/// it says, and the slice behind it.
///
/// # Errors
///
/// As [`super::decode`].
pub fn thread(bytes: &[u8]) -> Result<(ThreadStack, &[u8]), DecodeError> {
    let (header, _) = header_of(bytes)?;
    if header.kind != kind::THREAD {
        return Err(DecodeError::UnknownKind(header.kind));
    }
    let (wire, slice) = Thread::read_from_prefix(bytes).map_err(|_size| wrong_length(header))?;
    if header.words != LONG || usize::try_from(wire.bytes) != Ok(bytes.len()) {
        return Err(wrong_length(header));
    }
    let Some(status) = SliceStatus::of(wire.slice) else {
        return Err(unknown_value(header, wire.slice));
    };
    if (status == SliceStatus::Copied) == slice.is_empty() {
        return Err(wrong_length(header));
    }
    let stack = ThreadStack {
        at: KtimeNs(wire.ktime),
        pid: wire.pid,
        tid: wire.tid,
        start_boottime: wire.start_boottime,
        mm: wire.mm,
        ip: wire.ip,
        sp: wire.sp,
        fp: wire.fp,
        status,
    };
    Ok((stack, slice))
}

#[cfg(test)]
mod tests {
    use tcpstate_common::record::{Header, slice};
    use zerocopy::IntoBytes as _;

    use super::*;

    fn bytes(status: u8, slice: &[u8]) -> Vec<u8> {
        let wire = Thread {
            header: Header {
                kind: kind::THREAD,
                words: LONG,
                lost: 0,
                netns: 0,
            },
            bytes: u32::try_from(size_of::<Thread>() + slice.len()).unwrap(),
            slice: status,
            reserved: [0; 3],
            ktime: 5,
            pid: 7,
            tid: 8,
            start_boottime: 3,
            mm: 4,
            ip: 0x1000,
            sp: 0x2000,
            fp: 0x3000,
        };
        [wire.as_bytes(), slice].concat()
    }

    #[test]
    fn a_thread_that_sleeps_has_a_slice_and_one_that_runs_has_none() {
        let asleep = bytes(slice::COPIED, b"8 bytes!");
        let (stack, rest) = thread(&asleep).unwrap();
        assert_eq!((stack.tid, stack.status), (8, SliceStatus::Copied));
        assert_eq!(rest, b"8 bytes!");
        let runs = bytes(slice::RUNNING, b"");
        assert_eq!(thread(&runs).unwrap().0.status, SliceStatus::Running);
        for wrong in [
            bytes(slice::RUNNING, b"8 bytes!"),
            bytes(slice::COPIED, b""),
            bytes(99, b""),
            asleep[..asleep.len() - 8].to_vec(),
            Vec::new(),
        ] {
            assert!(thread(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_walk_gives_one_behind_the_other_and_a_recording_has_none() {
        let two = [
            bytes(slice::COPIED, b"8 bytes!"),
            bytes(slice::RUNNING, b""),
        ]
        .concat();
        let found: Vec<_> = super::super::records(&two).map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        let refused = super::super::decode(found[0]);
        assert_eq!(refused, Err(DecodeError::UnknownKind(kind::THREAD)));
    }
}
