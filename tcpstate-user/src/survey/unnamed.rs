//! What the kernel says of sockets whose addresses are not known: those that were
//! there before the session and have not told of themselves since.
//!
//! They are found by tuple and cookie, all with one walk.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    decode::{Inspection, SockAddr64},
    seed,
    track::{Open, stand_in},
};

/// Whether a socket is known by its kernel address, which has the highest bit
/// set.
#[must_use]
pub const fn has_address(open: &Open) -> bool {
    open.conn.sk.0 >> 63 == 1
}

/// `seen`, and the same of those of `open` that have no address.
pub(super) fn seen<'a>(
    open: &[Open],
    seen: &'a HashMap<SockAddr64, Inspection>,
) -> Cow<'a, HashMap<SockAddr64, Inspection>> {
    if open.iter().all(has_address) {
        return Cow::Borrowed(seen);
    }
    let mut all = seen.clone();
    for it in seed::inspect() {
        let inspection = it.inspection;
        let sk = stand_in(&(inspection.netns, inspection.tuple), it.cookie);
        all.insert(sk, Inspection { sk, ..inspection });
    }
    Cow::Owned(all)
}
