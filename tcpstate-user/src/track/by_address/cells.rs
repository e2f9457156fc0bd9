//! Hashes to places: one table of cells of eight bytes, so that a search mostly
//! reads one cache line.
//!
//! It knows neither keys nor values: whoever asks says which of the places with
//! the same hash is meant. Of a hash 32 bits are kept, and the upper ones of them
//! say where the search begins; whatever else is done needs no look at a value.

use super::pages;

/// 0 is empty; otherwise the hash in the upper half, and in the lower one the
/// place and 1.
type Cell = u64;

fn cell(hash: u32, place: u32) -> Cell {
    u64::from(hash) << 32 | (u64::from(place) + 1)
}

const fn hash_of(cell: Cell) -> u32 {
    (cell >> 32) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn place_of(cell: Cell) -> u32 {
    (cell as u32).wrapping_sub(1)
}

/// The cells, as many as a power of two. One at least must stay empty.
#[derive(Clone, Debug)]
pub(super) struct Cells(Vec<Cell>);

impl Cells {
    pub(super) fn new(count: usize) -> Self {
        Self(pages::zeros(count.next_power_of_two()))
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    const fn mask(&self) -> usize {
        self.0.len() - 1
    }

    /// Where the search for a hash begins.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.0.len() as u64) >> 32) as usize & self.mask()
    }

    /// Has the cell read ahead where the search for a hash begins.
    pub(super) fn prefetch(&self, hash: u32) {
        pages::prefetch(&self.0[self.home(hash)]);
    }

    /// The cell of `hash` for whose place `is_it`.
    fn search(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut at = self.home(hash);
        loop {
            let cell = self.0[at];
            if cell == 0 {
                return None;
            }
            if hash_of(cell) == hash && is_it(place_of(cell)) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// The place of `hash` for which `is_it`.
    pub(super) fn find(&self, hash: u32, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.search(hash, is_it).map(|at| place_of(self.0[at]))
    }

    /// Puts in a place that is not there.
    pub(super) fn put(&mut self, hash: u32, place: u32) {
        let mut at = self.home(hash);
        while self.0[at] != 0 {
            at = (at + 1) & self.mask();
        }
        self.0[at] = cell(hash, place);
    }

    /// Takes out the place of `hash` for which `is_it`. What would not be found
    /// any more moves up, so that no marks are left of what was taken out.
    pub(super) fn take(&mut self, hash: u32, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut hole = self.search(hash, is_it)?;
        let place = place_of(self.0[hole]);
        let mut at = (hole + 1) & self.mask();
        while self.0[at] != 0 {
            let strays = at.wrapping_sub(self.home(hash_of(self.0[at])));
            if strays & self.mask() >= at.wrapping_sub(hole) & self.mask() {
                self.0[hole] = self.0[at];
                hole = at;
            }
            at = (at + 1) & self.mask();
        }
        self.0[hole] = 0;
        Some(place)
    }

    /// The cell behind one that is empty.
    pub(super) fn behind_a_gap(&self) -> usize {
        let gap = self.0.iter().position(|cell| *cell == 0);
        (gap.unwrap_or(0) + 1) & self.mask()
    }

    /// Empties the cell at `at` into `larger`, and says whether there was
    /// something in it.
    pub(super) fn pour(&mut self, at: usize, larger: &mut Self) -> bool {
        let at = at & self.mask();
        let cell = std::mem::take(&mut self.0[at]);
        if cell != 0 {
            larger.put(hash_of(cell), place_of(cell));
        }
        cell != 0
    }
}
