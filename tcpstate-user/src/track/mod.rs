//! Records to [`Change`]s: connections, dwell and causes.
//!
//! Pure: time comes in the record; it does no I/O, reads no clock and knows no
//! names.

mod change;

pub use change::{Cause, Change, ConnId, Dwell, Process};
