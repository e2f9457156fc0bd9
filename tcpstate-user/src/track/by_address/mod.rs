//! Values by the kernel address of their socket: an [`index`] of a few bytes for
//! each beside the values, which never move.
//!
//! It knows nothing of the values. An event of one socket among a million reads
//! memory that is in no cache: a line of the index and one or two of the value,
//! one after the other, 200 to 600 ns each where a walk over the page tables comes
//! with it. [`ByAddress::foresee`] has them read while the events before are taken.

mod cells;
mod index;
mod pages;

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

use self::index::Index;
use crate::decode::SockAddr64;

/// Places that are remembered: more than are foreseen at a time, so that two of
/// them seldom want the same place.
const FOUND: usize = 1 << 7;

/// Where a value lies. It stays there until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::track) struct Place(u32);

/// The hash of an address of which something comes soon.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::track) struct Ahead(u32);

/// Bytes of a value and its address: a pair of cache lines, which come together.
pub(in crate::track) const SLOT: usize = 128;
/// Where the value begins in them.
pub(in crate::track) const OFFSET: usize = std::mem::offset_of!(Named<u64>, value);

#[repr(align(128))]
#[derive(Clone, Debug)]
enum Slot<T> {
    Taken(Named<T>),
    Free {
        /// The next one that is free, and 1.
        next: u32,
    },
}

/// In this order.
#[repr(C)]
#[derive(Clone, Debug)]
struct Named<T> {
    sk: SockAddr64,
    value: T,
}

/// The values.
#[derive(Clone, Debug)]
pub(in crate::track) struct ByAddress<T> {
    index: Index,
    slots: Vec<Slot<T>>,
    /// The slot that was freed last, and 1.
    free: u32,
    len: usize,
    /// As many as there is address space for from the first one on.
    room: usize,
    hasher: RandomState,
    /// Places that were looked up ahead, by their hash.
    found: [u32; FOUND],
}

const fn upper_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

impl<T> ByAddress<T> {
    /// An empty one, in which so many values will never be copied to make room.
    pub(in crate::track) fn with_room(room: usize) -> Self {
        Self {
            index: Index::default(),
            slots: Vec::new(),
            free: 0,
            len: 0,
            room,
            hasher: RandomState::default(),
            found: [0; FOUND],
        }
    }

    pub(in crate::track) fn len(&self) -> usize {
        self.len
    }

    fn hash(&self, sk: SockAddr64) -> u32 {
        upper_half(self.hasher.hash_one(sk.0))
    }

    fn is_at(&self, place: u32, sk: SockAddr64) -> bool {
        matches!(self.slots.get(place as usize), Some(Slot::Taken(it)) if it.sk == sk)
    }

    /// Where the value of `sk` is.
    pub(in crate::track) fn find(&self, sk: SockAddr64) -> Option<Place> {
        self.find_by(self.hash(sk), sk).map(Place)
    }

    fn find_by(&self, hash: u32, sk: SockAddr64) -> Option<u32> {
        let foreseen = self.found[hash as usize % FOUND];
        if self.is_at(foreseen, sk) {
            return Some(foreseen);
        }
        self.index.find(hash, |place| self.is_at(place, sk))
    }

    /// What lies there; `None` when it was removed.
    pub(in crate::track) fn at(&self, place: Place) -> Option<&T> {
        match self.slots.get(place.0 as usize)? {
            Slot::Taken(it) => Some(&it.value),
            Slot::Free { .. } => None,
        }
    }

    /// As [`Self::at`].
    pub(in crate::track) fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        match self.slots.get_mut(place.0 as usize)? {
            Slot::Taken(it) => Some(&mut it.value),
            Slot::Free { .. } => None,
        }
    }

    pub(in crate::track) fn get(&self, sk: &SockAddr64) -> Option<&T> {
        self.at(self.find(*sk)?)
    }

    pub(in crate::track) fn get_mut(&mut self, sk: &SockAddr64) -> Option<&mut T> {
        self.at_mut(self.find(*sk)?)
    }

    pub(in crate::track) fn contains_key(&self, sk: &SockAddr64) -> bool {
        self.find(*sk).is_some()
    }

    /// Puts a value in, in the place of the one that is there, if any.
    pub(in crate::track) fn insert(&mut self, sk: SockAddr64, value: T) -> &mut T {
        let hash = self.hash(sk);
        let found = self.find_by(hash, sk);
        let place = found.unwrap_or_else(|| self.take_place(hash));
        let slot = &mut self.slots[place as usize];
        *slot = Slot::Taken(Named { sk, value });
        let Slot::Taken(it) = slot else {
            unreachable!("it was put there in the line before")
        };
        &mut it.value
    }

    fn take_place(&mut self, hash: u32) -> u32 {
        let place = match self.free.checked_sub(1) {
            Some(place) => place,
            None => self.new_place(),
        };
        if let Slot::Free { next } = self.slots[place as usize] {
            self.free = next;
        }
        self.index.put(hash, place);
        self.len += 1;
        place
    }

    fn new_place(&mut self) -> u32 {
        let place = self.slots.len();
        if place == 0 {
            pages::reserve(&mut self.slots, self.room);
        } else if place == pages::few::<Slot<T>>() {
            pages::make_huge(&self.slots);
        }
        self.slots.push(Slot::Free { next: 0 });
        u32::try_from(place).expect("the limit of sockets is lower")
    }

    pub(in crate::track) fn remove(&mut self, sk: &SockAddr64) -> Option<T> {
        let hash = self.hash(*sk);
        let Self { index, slots, .. } = self;
        let is_it = |place| matches!(&slots[place as usize], Slot::Taken(it) if it.sk == *sk);
        let place = index.take(hash, is_it)?;
        self.release(place)
    }

    /// Frees a slot that is in the index no more.
    fn release(&mut self, place: u32) -> Option<T> {
        let next = self.free;
        self.free = place + 1;
        self.len -= 1;
        match std::mem::replace(&mut self.slots[place as usize], Slot::Free { next }) {
            Slot::Taken(it) => Some(it.value),
            Slot::Free { .. } => None,
        }
    }

    pub(in crate::track) fn iter(&self) -> impl Iterator<Item = (&SockAddr64, &T)> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Taken(it) => Some((&it.sk, &it.value)),
            Slot::Free { .. } => None,
        })
    }

    pub(in crate::track) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }

    pub(in crate::track) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Taken(it) => Some(&mut it.value),
            Slot::Free { .. } => None,
        })
    }

    /// Removes every value that `stays` does not say stays.
    pub(in crate::track) fn retain(&mut self, mut stays: impl FnMut(&SockAddr64, &mut T) -> bool) {
        for place in 0..self.slots.len() {
            let Slot::Taken(it) = &mut self.slots[place] else {
                continue;
            };
            if !stays(&it.sk, &mut it.value) {
                let sk = it.sk;
                self.remove(&sk);
            }
        }
    }

    /// Has the index read from memory for `sk`, of which something comes soon;
    /// [`Self::foresee_value`] takes what it gives.
    pub(in crate::track) fn foresee(&self, sk: SockAddr64) -> Ahead {
        let hash = self.hash(sk);
        self.index.prefetch(hash);
        Ahead(hash)
    }

    /// Has the value read from memory: by now the index has been. Where it is need
    /// not be looked up again soon.
    pub(in crate::track) fn foresee_value(&mut self, Ahead(hash): Ahead) {
        let place = self.index.find(hash, |_| true);
        if let Some(place) = place {
            if let Some(slot) = self.slots.get(place as usize) {
                pages::prefetch(slot);
            }
            self.found[hash as usize % FOUND] = place;
        }
    }

    /// What it takes, in bytes.
    #[cfg(test)]
    pub(in crate::track) fn allocation_size(&self) -> usize {
        self.index.count() * 8 + self.slots.len() * size_of::<Slot<T>>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::ByAddress;
    use crate::decode::SockAddr64;

    proptest! {
        /// Also when some addresses are foreseen, which are known or not.
        #[test]
        fn a_value_is_known_by_its_address_until_it_is_removed(
            steps in prop::collection::vec((0..5, 0u64..200), 0..600)
        ) {
            let mut values = ByAddress::with_room(64);
            let mut model = BTreeMap::new();
            for (number, (what, sk)) in (0_u64..).zip(steps) {
                let address = SockAddr64(sk * 64);
                match what {
                    0 | 1 => {
                        *values.insert(address, number) += 1;
                        model.insert(address, number + 1);
                    }
                    2 => prop_assert_eq!(values.remove(&address), model.remove(&address)),
                    3 => {
                        let ahead = values.foresee(address);
                        values.foresee_value(ahead);
                    }
                    _ => {
                        values.retain(|sk, value| (sk.0 / 64 + *value) % 7 != 0);
                        model.retain(|sk, value| (sk.0 / 64 + *value) % 7 != 0);
                    }
                }
                prop_assert_eq!(values.get(&address), model.get(&address));
                prop_assert_eq!(values.len(), model.len());
            }
            let known: BTreeMap<_, _> = values.iter().map(|(sk, value)| (*sk, *value)).collect();
            prop_assert_eq!(known, model);
        }
    }

    #[test]
    fn values_never_move_and_their_places_are_used_again() {
        let mut values = ByAddress::with_room(100_000);
        let all = |from: u64| (from..from + 100_000).map(|sk| SockAddr64(sk * 128));
        let first: *const u64 = values.insert(SockAddr64(0), 0);
        all(0).for_each(|sk| *values.insert(sk, sk.0) |= 1);
        assert!(std::ptr::eq(first, values.get(&SockAddr64(0)).unwrap()));
        let size = values.allocation_size();
        assert!(all(0).all(|sk| values.remove(&sk) == Some(sk.0 | 1)));
        assert_eq!(values.len(), 0);
        all(1 << 40).for_each(|sk| *values.insert(sk, sk.0) |= 1);
        assert!(all(1 << 40).all(|sk| values.get(&sk) == Some(&(sk.0 | 1))));
        // Without the index that was too small.
        assert!(values.allocation_size() <= size);
    }
}
