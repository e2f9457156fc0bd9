//! A recording of sockets that were never there: as many as wanted are born,
//! then change their state at random, and all of them live at the end.
//!
//! Which changes their state next is uniformly random: the worst locality there
//! can be.

use std::path::Path;

use anyhow::Result;
use tcpstate::{
    session::{EndInfo, SessionInfo},
    source::recording::Output,
};
use tcpstate_common::record::{Header, SCHEMA, Transition, Tuple, how, kind, words_of};
use zerocopy::IntoBytes as _;

// Numbers of enum tcp_state, fixed by
// https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h
const ESTABLISHED: u8 = 1;
const SYN_RECV: u8 = 3;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Writes about `records` of `sockets`, and says how many.
pub(crate) fn write(path: &Path, sockets: u64, records: u64) -> Result<u64> {
    let info = SessionInfo {
        schema: SCHEMA,
        ..SessionInfo::default()
    };
    let mut writer = Output::create(path)?.begin(&info)?;
    let mut clock = 1_000_000_000;
    let mut put = |socket: u64, old: u8, new: u8| {
        clock += 100;
        writer.push(transition(clock, socket, old, new).as_bytes())
    };
    let mut written = 2 * sockets;
    for socket in 0..sockets {
        put(socket, LISTEN, SYN_RECV)?;
        put(socket, SYN_RECV, ESTABLISHED)?;
    }
    let mut random = Random(1);
    while written < records {
        let socket = random.next() % sockets;
        // A life ends and the next begins at the same address.
        put(socket, ESTABLISHED, CLOSE)?;
        put(socket, LISTEN, SYN_RECV)?;
        put(socket, SYN_RECV, ESTABLISHED)?;
        written += 3;
    }
    writer.finish(&EndInfo {
        seen: Some(written),
        delivered: Some(written),
        lost: Some(std::collections::BTreeMap::new()),
        transitions: written,
        complete: true,
        ..EndInfo::default()
    })?;
    Ok(written)
}

fn transition(ktime: u64, socket: u64, old: u8, new: u8) -> Transition {
    let [.., a, b, c] = socket.to_be_bytes();
    let mut laddr = [0; 16];
    laddr[10..].copy_from_slice(&[0xff, 0xff, 127, a, b, c]);
    Transition {
        header: Header {
            kind: kind::TRANSITION,
            words: words_of::<Transition>(),
            lost: 0,
            netns: 4_026_531_840,
        },
        ktime,
        // Slabs of `TCP`, 2,432 bytes each on Linux 6.18.
        sk: 0xffff_8880_0000_0000 + socket * 2_432,
        tuple: Tuple {
            laddr,
            raddr: laddr,
            lport: 80,
            rport: 40_000,
        },
        old,
        new,
        how: if new == CLOSE { how::FILE_RELEASED } else { 0 },
        err: 0,
    }
}

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcpstate::source::recording::Reader;

    #[test]
    fn what_is_written_is_a_recording_of_that_many_records() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        let written = write(&path, 100, 1_000).unwrap();
        assert_eq!(written, 1_001 - 1 + (1_001 - 1 - 200) % 3);
        assert!(Reader::open(&path).is_ok());
    }
}
