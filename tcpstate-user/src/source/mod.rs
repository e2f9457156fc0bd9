//! Where record bytes come from: the running kernel, or a recording.
//!
//! Both give the same bytes. It does not look into them.

pub mod clock;
pub mod live;
