//! Where record bytes come from: the running kernel, or a recording.
//!
//! Both give the same bytes. It knows where a record ends and nothing of what
//! it says.

pub mod clock;
pub mod live;
pub mod recording;
