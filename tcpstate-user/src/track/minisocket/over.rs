//! The minisockets of which a further word would be no news: they are over, or
//! were given up, and are not known any more.
//!
//! It knows them by their tuples, because not every source tells addresses.

use std::collections::VecDeque;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{decode::KtimeNs, track::nameless::Key};

/// How long after its end one may be told to end once more. Its timer may run
/// out while another CPU is about to end it: `inet_twsk_deschedule_put` is called
/// then all the same. That is within one call on either, so as with
/// `STOP_NS`, whose wait may come before.
const AGAIN_NS: u64 = 2_000_000_000;
/// How many are remembered. On a host they are those that end within
/// [`AGAIN_NS`], and those for which `--max-sockets` leaves no room.
const MOST: usize = 1 << 16;

/// Why the end of a minisocket that is not known is no news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    /// It was written, or passed over, at this time.
    Ended(KtimeNs),
    /// There was no room for it, or a walk has not seen it and it was written
    /// as ended: whatever else is told of it.
    GivenUp,
}

/// All that are over.
#[derive(Debug, Default)]
pub(in crate::track) struct Over {
    map: HashMap<Key, Past, RandomState>,
    ended: VecDeque<(KtimeNs, Key)>,
    /// There were too many to remember: no end is known to be news any more.
    overflown: bool,
}

impl Over {
    /// Whether nothing says that the end at `at` of `key`, which is not known,
    /// was told before. It is by this.
    pub(super) fn is_news(&mut self, at: KtimeNs, key: &Key) -> bool {
        let news = !self.overflown
            && match self.map.get(key) {
                Some(Past::Ended(then)) => at.since(*then) >= AGAIN_NS,
                Some(Past::GivenUp) => false,
                None => true,
            };
        self.end(at, *key);
        news
    }

    /// The end of `key` at `at` is told.
    pub(super) fn end(&mut self, at: KtimeNs, key: Key) {
        while let Some(&(then, _)) = self.ended.front()
            && at.since(then) >= AGAIN_NS
        {
            self.forget_oldest();
        }
        if self.put(key, Past::Ended(at)) {
            self.ended.push_back((at, key));
        }
    }

    /// `key` is not followed any more, and ends some time.
    pub(super) fn give_up(&mut self, key: Key) {
        self.overflown |= !self.put(key, Past::GivenUp);
    }

    /// Another one begins with the tuple of `key`.
    pub(super) fn forget(&mut self, key: &Key) {
        if !self.map.is_empty() {
            self.map.remove(key);
        }
    }

    fn put(&mut self, key: Key, past: Past) -> bool {
        while self.map.len() >= MOST && !self.ended.is_empty() {
            self.forget_oldest();
        }
        if self.map.len() >= MOST {
            return self.map.get_mut(&key).map(|it| *it = past).is_some();
        }
        self.map.insert(key, past);
        true
    }

    fn forget_oldest(&mut self) {
        if let Some((at, key)) = self.ended.pop_front()
            && self.map.get(&key) == Some(&Past::Ended(at))
        {
            self.map.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use tcpstate_common::record::Tuple;

    use super::{AGAIN_NS, MOST, Over};
    use crate::{decode::KtimeNs, track::nameless::Key};

    fn key(number: usize) -> Key {
        let tuple = Tuple {
            laddr: [1; 16],
            raddr: [2; 16],
            lport: 1,
            rport: 2,
        };
        (u32::try_from(number).unwrap(), tuple)
    }

    #[test]
    fn an_end_is_news_once_and_again_when_another_can_have_ended() {
        let mut over = Over::default();
        assert!(over.is_news(KtimeNs(0), &key(1)));
        assert!(!over.is_news(KtimeNs(1), &key(1)));
        assert!(over.is_news(KtimeNs(1 + AGAIN_NS), &key(1)));
        over.forget(&key(1));
        assert!(over.is_news(KtimeNs(2 + AGAIN_NS), &key(1)));
    }

    #[test]
    fn what_is_given_up_is_no_news_until_it_has_ended() {
        let mut over = Over::default();
        over.give_up(key(1));
        assert!(!over.is_news(KtimeNs(100 * AGAIN_NS), &key(1)));
        assert!(!over.is_news(KtimeNs(101 * AGAIN_NS - 1), &key(1)));
        assert!(over.is_news(KtimeNs(102 * AGAIN_NS), &key(1)));
    }

    #[test]
    fn ends_make_room_and_what_is_given_up_does_not() {
        let mut over = Over::default();
        for number in 0..=MOST {
            over.end(KtimeNs(0), key(number));
        }
        assert_eq!((over.map.len(), over.ended.len()), (MOST, MOST));
        assert!(over.is_news(KtimeNs(0), &key(MOST + 1)));
        for number in 0..MOST {
            over.give_up(key(number));
        }
        assert!(over.is_news(KtimeNs(0), &key(MOST + 2)));
        over.give_up(key(MOST));
        assert!(!over.is_news(KtimeNs(0), &key(MOST + 3)));
        assert_eq!(over.map.len(), MOST);
    }
}
