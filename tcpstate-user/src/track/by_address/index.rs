//! Hashes to places, as many as there are, without a pause when there are more.
//!
//! It grows by a second table of cells, into which the first is poured a little
//! with each place that is put in or taken out: to move a million at once takes 50 ms, most of
//! it for memory that was never touched before.

use super::cells::Cells;

/// Cells to begin with.
const LEAST: usize = 1 << 4;

/// Cells that are poured at least with each place that comes or goes. Of the first
/// table all are, long before the second one, of twice the size, is full.
const POURED: usize = 16;

/// The places, by their hash.
#[derive(Clone, Debug)]
pub(super) struct Index {
    cells: Cells,
    /// In both tables.
    used: usize,
    smaller: Option<Smaller>,
}

/// The table that was too small.
#[derive(Clone, Debug)]
struct Smaller {
    cells: Cells,
    /// The next cell to be poured. Before it, back to where it began, all are
    /// empty; and it is the first of those that follow each other without a gap,
    /// so whatever is left is found.
    next: usize,
    left: usize,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            cells: Cells::new(LEAST),
            used: 0,
            smaller: None,
        }
    }
}

impl Index {
    /// The place of `hash` for which `is_it`.
    pub(super) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let found = self.cells.find(hash, &mut is_it);
        if found.is_some() {
            return found;
        }
        self.smaller.as_ref()?.cells.find(hash, is_it)
    }

    /// Has the memory read ahead that [`Self::find`] begins with.
    pub(super) fn prefetch(&self, hash: u32) {
        self.cells.prefetch(hash);
        if let Some(smaller) = &self.smaller {
            smaller.cells.prefetch(hash);
        }
    }

    /// Puts in a place that is not there.
    pub(super) fn put(&mut self, hash: u32, place: u32) {
        self.pour();
        // Up to this part a search reads two and a half cells on average, and
        // eight and a half for what is not there.
        if (self.used + 1) * 4 > self.cells.count() * 3 {
            self.begin_to_grow();
        }
        self.cells.put(hash, place);
        self.used += 1;
    }

    /// Takes out the place of `hash` for which `is_it`.
    pub(super) fn take(&mut self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.pour();
        let mut taken = self.cells.take(hash, &mut is_it);
        if taken.is_none()
            && let Some(smaller) = &mut self.smaller
        {
            taken = smaller.cells.take(hash, is_it);
        }
        self.used -= usize::from(taken.is_some());
        taken
    }

    fn begin_to_grow(&mut self) {
        while self.smaller.is_some() {
            self.pour();
        }
        let larger = Cells::new(self.cells.count() * 2);
        let cells = std::mem::replace(&mut self.cells, larger);
        self.smaller = Some(Smaller {
            next: cells.behind_a_gap(),
            left: cells.count(),
            cells,
        });
    }

    /// Pours some cells, and on to the next gap.
    fn pour(&mut self) {
        let Some(smaller) = &mut self.smaller else {
            return;
        };
        let mut poured = 0;
        while smaller.left > 0 {
            let at = smaller.next;
            smaller.next += 1;
            smaller.left -= 1;
            poured += 1;
            if !smaller.cells.pour(at, &mut self.cells) && poured >= POURED {
                return;
            }
        }
        self.smaller = None;
    }

    /// Cells of both tables.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let smaller = self.smaller.as_ref();
        self.cells.count() + smaller.map_or(0, |smaller| smaller.cells.count())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Index;

    #[test]
    fn places_with_the_same_hash_are_told_apart_by_who_asks() {
        let mut index = Index::default();
        (0..10).for_each(|place| index.put(u32::MAX, place));
        for wanted in 0..10 {
            assert_eq!(index.find(u32::MAX, |it| it == wanted), Some(wanted));
        }
        assert_eq!(index.find(u32::MAX - 1, |_| true), None);
        assert_eq!(index.take(u32::MAX, |it| it == 4), Some(4));
        assert_eq!(index.find(u32::MAX, |it| it == 4), None);
        assert_eq!(index.find(u32::MAX, |it| it == 9), Some(9));
    }

    #[test]
    fn what_is_poured_is_found_at_every_step_and_the_smaller_table_goes() {
        let hash = |place: u32| place.wrapping_mul(0x9e37_79b9);
        let mut index = Index::default();
        let mut grew = 0;
        for place in 0..20_000 {
            let before = index.count();
            index.put(hash(place), place);
            grew += u32::from(index.count() > before);
            // Those that were put in last, and some of all.
            for wanted in (0..=place).rev().step_by(1 + place as usize / 16) {
                let found = index.find(hash(wanted), |it| it == wanted);
                assert_eq!(found, Some(wanted), "of {place}");
            }
        }
        assert!(grew >= 10, "{grew}");
        assert_eq!(index.count(), 1 << 15);
        assert!((0..20_000).all(|place| index.take(hash(place), |it| it == place) == Some(place)));
        assert_eq!(index.used, 0);
    }

    proptest! {
        /// Few hashes, next to each other and around the end, so that many want
        /// the same cells.
        #[test]
        fn it_holds_what_was_put_in_and_not_taken_out(
            steps in prop::collection::vec((any::<bool>(), 0u32..24, 0u32..60), 0..400)
        ) {
            let mut index = Index::default();
            let mut model = BTreeMap::new();
            for (puts, slope, place) in steps {
                let hash = slope.wrapping_sub(12) << 26;
                if puts && !model.contains_key(&place) {
                    index.put(hash, place);
                    model.insert(place, hash);
                } else if let Some(hash) = model.remove(&place) {
                    prop_assert_eq!(index.take(hash, |it| it == place), Some(place));
                }
                for (place, hash) in &model {
                    prop_assert_eq!(index.find(*hash, |it| it == *place), Some(*place));
                }
                for gone in (0..60).filter(|place| !model.contains_key(place)) {
                    prop_assert_eq!(index.find(hash, |it| it == gone), None);
                }
                prop_assert_eq!(index.used, model.len());
            }
        }
    }
}
