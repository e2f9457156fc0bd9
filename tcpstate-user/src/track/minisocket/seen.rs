//! What a walk over the socket tables sees of minisockets, and does not see.

use super::{Minisocket, entry::Origins, is_substate};
use crate::{
    decode::{KtimeNs, Snapshot, SockAddr64},
    track::{
        Change, Tracker,
        entry::{Generation, leads_to},
        sweep::Walk,
    },
};

impl Tracker {
    pub(in crate::track) fn minisocket_seen(&mut self, at: KtimeNs, seen: &Snapshot) {
        if !is_substate(seen.state) {
            return;
        }
        let map = &self.minisockets.map;
        let Some(walk) = &mut self.walk else { return };
        let vouched = walk.generation;
        let here = seen.sk.or_else(|| walk.minisocket_at(map, seen));
        let suspect = |tw: &SockAddr64| map.get(tw).is_some_and(|it| it.is_suspect(vouched));
        let in_doubt = self.follows.looks && seen.sk.is_none() && seen.cookie != 0;
        match here {
            Some(tw) if in_doubt && suspect(&tw) => walk.claim(at, seen, &[tw]),
            Some(tw) => self.minisocket_seen_at(at, tw, seen, vouched),
            None => self.minisocket_seen_somewhere(at, seen, vouched),
        }
    }

    /// If a walk has seen the minisocket that a look found at `tw`: that is where
    /// it is. Memory that was given back looks like one still, but for the cookie.
    pub(in crate::track) fn identify_minisocket(
        &mut self,
        at: KtimeNs,
        tw: SockAddr64,
        seen: &Snapshot,
    ) {
        let Some(walk) = &mut self.walk else { return };
        let vouched = walk.generation;
        if walk.answer(seen).is_some() && self.minisockets.map.contains_key(&tw) {
            self.minisocket_seen_at(at, tw, seen, vouched);
        }
    }

    /// Brings up to what was seen whoever has that tuple.
    pub(in crate::track) fn minisocket_seen_by_tuple(
        &mut self,
        at: KtimeNs,
        seen: &Snapshot,
        vouched: Generation,
    ) {
        let map = &self.minisockets.map;
        let walk = self.walk.as_mut();
        if let Some(tw) = walk.and_then(|walk| walk.minisocket_at(map, seen)) {
            self.minisocket_seen_at(at, tw, seen, vouched);
        }
    }

    fn minisocket_seen_at(
        &mut self,
        at: KtimeNs,
        tw: SockAddr64,
        seen: &Snapshot,
        vouched: Generation,
    ) {
        if !self.minisockets.map.contains_key(&tw) {
            self.minisockets.adopt(at, tw, (seen.netns, seen.tuple));
        }
        let full = self.is_full();
        let Some(known) = self.minisockets.map.get_mut(&tw) else {
            if full {
                self.counters.refused += 1;
                self.minisockets.over.give_up((seen.netns, seen.tuple));
            } else {
                let seeded = Minisocket::seeded(at, seen, vouched);
                self.minisockets.map.insert(tw, seeded);
            }
            return;
        };
        if at > known.heard
            && known.is_suspect(vouched)
            && !repair(known, at, seen, vouched)
            && let Some(walk) = &mut self.walk
        {
            walk.note_other_minisocket(tw, Minisocket::seeded(at, seen, vouched));
        }
    }

    pub(in crate::track) fn minisocket_seen_somewhere(
        &mut self,
        at: KtimeNs,
        seen: &Snapshot,
        vouched: Generation,
    ) {
        let full = self.is_full();
        let key = (seen.netns, seen.tuple);
        let seeded = Minisocket::seeded(at, seen, vouched);
        if let Some(known) = self.minisockets.nameless.get_mut(&key) {
            if at > known.heard && known.is_suspect(vouched) && !repair(known, at, seen, vouched) {
                self.counters.connections += u64::from(known.take_count());
                self.counters.ended_unseen += 1;
                *known = seeded;
            }
        } else if full {
            self.counters.refused += 1;
            self.minisockets.over.give_up(key);
        } else {
            self.minisockets.nameless.insert(key, seeded);
        }
    }

    /// Ends the minisockets that a complete walk did not see.
    pub(in crate::track) fn drop_missed_minisockets(&mut self, walk: &Walk, out: &mut Vec<Change>) {
        let counters = &mut self.counters;
        let stops = &mut self.minisockets.stops;
        let over = &mut self.minisockets.over;
        let mut end = |tw: Option<&SockAddr64>, known: &mut Minisocket| {
            let missed = known.origins != Origins::Awaited
                && walk.missed_since(known.heard)
                && known.is_suspect(walk.generation);
            if !missed {
                return false;
            }
            if let Some(tw) = tw {
                stops.remove(tw);
            }
            over.give_up((known.netns, known.tuple));
            counters.ended_unseen += 1;
            counters.connections += u64::from(known.take_count());
            out.push(known.unseen(walk.over()));
            let other = tw.and_then(|tw| walk.other_minisocket(*tw));
            if let Some(other) = other {
                *known = other;
            }
            other.is_none()
        };
        let table = &mut self.minisockets.map;
        table.retain(|tw, known| !end(Some(tw), known));
        let table = &mut self.minisockets.nameless;
        table.retain(|_, known| !end(None, known));
    }

    /// Counts the connections of which nothing but minisockets was seen and
    /// that are still there at the end.
    pub(in crate::track) fn count_minisockets(&mut self) {
        let minisockets = &mut self.minisockets;
        let all = minisockets.map.values_mut();
        let all = all.chain(minisockets.nameless.values_mut());
        let counted: u64 = all.map(|known| u64::from(known.take_count())).sum();
        self.counters.connections += counted;
    }
}

/// Brings a suspect up to what was seen of it. `false` when that is another.
fn repair(known: &mut Minisocket, at: KtimeNs, seen: &Snapshot, vouched: Generation) -> bool {
    let same =
        (known.netns, known.tuple) == (seen.netns, seen.tuple) && leads_to(known.state, seen.state);
    if same && known.origins == Origins::Awaited && known.state == seen.state {
        // Its begin was seen, if that is what it was; its claim will tell.
        known.vouched_up_to(vouched);
    } else if same {
        known.confirm(at, seen, vouched);
    }
    same
}
