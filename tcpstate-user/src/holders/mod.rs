//! Who has a socket now: every process with a descriptor for it, and what kind
//! of process that is.
//!
//! Found in `/proc` at the moment of asking, because descriptors are inherited
//! by `fork`, doubled by `dup` and passed over Unix sockets, and no event tells
//! all of that. It knows no TCP. Processes come and go meanwhile: one that has
//! gone holds nothing.

mod process;
mod scan;
mod threads;
mod unit;

pub use process::{ProcessFacts, process};
pub use scan::{Descriptor, Holders, scan};
pub use threads::{Thread, threads};
pub use unit::unit_of;
