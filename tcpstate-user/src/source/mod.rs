//! Where record bytes come from: a recording, or the live kernel.
//!
//! It knows bytes and where they end, and nothing of what they say.

pub mod recording;
