//! Orphans that are reset because there are too many of them.
//!
//! The limit is the whole machine's (`tcp_max_orphans`): it is lowered only
//! where the machine is the tests' own.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    thread::sleep,
    time::Duration,
};

use super::{
    Connections,
    expected::{Expected, own},
};
use crate::{
    clock::in_vm,
    closing::deafen,
    expect::step,
    facts::tell,
    net::{Conn, Listener},
    ns::Netns,
    tables::wait_gone,
};

/// Held by whoever lowers the limit, and by a test with an orphan of its own.
pub(super) static ORPHANS: Mutex<()> = Mutex::new(());

const LIMIT: &str = "/proc/sys/net/ipv4/tcp_max_orphans";

/// Lowers the limit while the value lives.
struct Lowered(String);

impl Lowered {
    fn to(limit: &str) -> Self {
        let before = fs::read_to_string(LIMIT).unwrap();
        fs::write(LIMIT, limit).unwrap();
        Self(before)
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        let _ = fs::write(LIMIT, &self.0);
    }
}

/// An orphan that stays one: its FIN is not heard.
fn orphan(listener: &Listener) -> Conn {
    let (client, server) = listener.pair();
    deafen(&server);
    client.close();
    server
}

#[test]
fn an_orphan_too_many_is_reset_and_told_so() {
    if !in_vm() {
        tell(
            "not run",
            "tcp_max_orphans",
            "the machine is not the tests' own",
        );
        return;
    }
    let _alone = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    let inside = Netns::new();
    let watching = Connections::inside(&inside);
    let (listener, _before) = inside.enter(|| {
        let listener = Listener::on("127.0.0.1:0");
        let before = orphan(&listener);
        (listener, before)
    });
    // Only the first network namespace has the file.
    let lowered = Lowered::to("0");
    // The kernel counts them anew every 100 ms.
    sleep(Duration::from_millis(200));
    let (expected, _deaf) = inside.enter(|| {
        let (client, server) = listener.pair();
        // Else the FIN is acknowledged before the orphans are counted, and a
        // minisocket is none.
        deafen(&server);
        let (expected, side) = (Expected::client(&client), client.side);
        let closed = client.close();
        let gone = closed.until(wait_gone(&side));
        let expected = expected
            .then([
                step("ESTABLISHED", "FIN_WAIT1", None, closed),
                step("FIN_WAIT1", "CLOSE", None, gone),
            ])
            .active("reset_sent", own("close"))
            .because("orphan_limit");
        (expected, server)
    });
    drop(lowered);
    watching.judge(&[expected]);
}
