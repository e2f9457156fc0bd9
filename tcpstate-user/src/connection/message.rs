//! The sentence about one connection: who did what to it, what that means.

use super::Connection;

/// How it ended, in words.
#[must_use]
pub fn message(it: &Connection) -> String {
    it.end.name().to_owned()
}
