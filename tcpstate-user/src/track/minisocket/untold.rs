//! The end of a minisocket that nobody has told of before.
//!
//! It was there before the session, and the walk over the kernel's tables passed
//! over it, as it may when a bucket changes between two reads. Or all that told
//! of it was lost.

use super::{Minisocket, end::is_called_by_a_process};
use crate::{
    decode::{KtimeNs, Minisocket as Event, MinisocketEvent as What},
    track::{Cause, Change, Tracker},
};

impl Tracker {
    /// Writes the end of a minisocket that is not known, if `event` is one, and
    /// for certain.
    pub(super) fn untold(&mut self, at: KtimeNs, event: &Event, out: &mut Vec<Change>) {
        let key = (event.netns, event.tuple);
        if !self.keeps_minisockets() {
            return;
        }
        if let What::Destroyed { .. } = event.what {
            // Its end is a word that was before this one.
            self.minisockets.over.end(at, key);
            return;
        }
        if !self.is_certain_end(at, event)
            || !self.minisockets.over.is_news(at, &key)
            || !self.minisockets.is_watched(at)
            || self.minisockets.nameless.contains_key(&key)
        {
            return;
        }
        let it = Minisocket::untold(at, event, self.generation);
        self.minisockets.map.insert(event.tw, it);
        match event.what {
            What::Stopped { caller } => self.stopped(at, event, caller, out),
            What::Expired => self.expired(at, event, out),
            What::Ended { caller } => self.ended(at, event, caller, out),
            What::Begun | What::Armed | What::Handled { .. } | What::Destroyed { .. } => {}
        }
    }

    /// Whether the minisocket of `event` ends by it, whatever follows.
    pub(super) fn is_certain_end(&self, at: KtimeNs, event: &Event) -> bool {
        match event.what {
            What::Expired | What::Ended { .. } => true,
            What::Stopped { caller } => {
                let reset = self.minisockets.resets.of(at, event.tw);
                let answered = matches!(reset, Some((Cause::ResetSent, _)));
                event.left_ms > 0 && (answered || is_called_by_a_process(caller))
            }
            _ => false,
        }
    }
}
