//! Connections of this host with itself: what one end did, for the other.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tcpstate_common::{record::Tuple, state::TcpState};

use super::underway::Underway;
use crate::track::{Change, Closer};

/// The FIN crosses a loopback within microseconds, so nobody waits for long.
const WAITING: usize = 1 << 12;

type Key = (u32, Tuple);

/// Who has closed, until the other end notices.
#[derive(Debug, Default)]
pub(super) struct OtherEnds {
    closers: HashMap<Key, Closer, RandomState>,
    order: VecDeque<Key>,
}

impl OtherEnds {
    /// Notes that `change` is one end's FIN, or tells of the other's.
    pub(super) fn tell(&mut self, change: &Change, underway: &mut Underway) {
        if !is_of_this_host(&change.tuple) {
            return;
        }
        let key = (change.netns, change.tuple);
        match (change.old, change.new, change.closer) {
            (_, TcpState::FinWait1, Some(closer)) => self.note(key, closer),
            (_, TcpState::CloseWait, _) => {
                let closer = self.closers.remove(&(change.netns, reverse(&change.tuple)));
                if let Some(closer) = closer {
                    underway.closed_by_other(closer);
                }
            }
            // Another connection of these ports.
            (TcpState::Close | TcpState::SynSent | TcpState::SynRecv, ..) => {
                self.closers.remove(&key);
            }
            _ => {}
        }
    }

    fn note(&mut self, key: Key, closer: Closer) {
        if self.order.len() >= WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            self.closers.remove(&oldest);
        }
        self.order.push_back(key);
        self.closers.insert(key, closer);
    }
}

const fn reverse(tuple: &Tuple) -> Tuple {
    Tuple {
        laddr: tuple.raddr,
        raddr: tuple.laddr,
        lport: tuple.rport,
        rport: tuple.lport,
    }
}

/// 127.0.0.0/8 and `::1`, or one address at both ends.
fn is_of_this_host(tuple: &Tuple) -> bool {
    const LOOPBACK4: [u8; 13] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127];
    const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    tuple.raddr.starts_with(&LOOPBACK4) || tuple.raddr == LOOPBACK6 || tuple.laddr == tuple.raddr
}
