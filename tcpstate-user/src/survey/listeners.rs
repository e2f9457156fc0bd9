//! Listeners, by what comes through them.

use std::collections::HashMap;

use super::Candidate;
use crate::{decode::Inspection, holders::Holders, leak::Listener, track::Open};
use tcpstate_common::state::TcpState;

/// `::` and `::ffff:0.0.0.0`, which listen on every address.
const ANY: [[u8; 16]; 2] = [
    [0; 16],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0],
];

/// The listeners of the host.
pub(super) struct Listeners {
    /// By network namespace, port and address.
    map: HashMap<(u32, u16, [u8; 16]), Listener>,
}

impl Listeners {
    pub(super) fn new(known: &[(&Candidate, &Inspection)], holders: &Holders) -> Self {
        let listening = known
            .iter()
            .filter(|(it, _)| it.open.state == TcpState::Listen);
        let mut map: HashMap<_, Listener> = HashMap::new();
        for (candidate, now) in listening {
            let open = &candidate.open;
            let origin = open.origin.map(|process| process.pid);
            let holding = holders.of(now.inode).iter().map(|it| it.pid);
            let mut pids: Vec<u32> = Vec::new();
            for pid in origin
                .filter(|pid| holding.clone().any(|holder| holder == *pid))
                .into_iter()
                .chain(holding)
            {
                if !pids.contains(&pid) {
                    pids.push(pid);
                }
            }
            let key = (open.netns, now.tuple.lport, now.tuple.laddr);
            // Several may share one address (SO_REUSEPORT): one queue in sum.
            let listener = map.entry(key).or_insert_with(|| Listener {
                addr: now.tuple.laddr,
                port: now.tuple.lport,
                queue: 0,
                limit: 0,
                pids: Vec::new(),
            });
            listener.queue += now.queue;
            listener.limit += now.queue_limit;
            listener.pids.append(&mut pids);
        }
        Self { map }
    }

    /// The listener through which `open` came, if it is still there.
    pub(super) fn of(&self, open: &Open) -> Option<&Listener> {
        let tuple = &open.tuple;
        std::iter::once(tuple.laddr)
            .chain(ANY)
            .find_map(|addr| self.map.get(&(open.netns, tuple.lport, addr)))
    }
}
