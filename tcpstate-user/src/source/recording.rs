//! A session in a file: the bytes of its records, and what it says of itself.
//!
//! A recording is a [`FileHeader`] and then frames. A frame is a
//! [`FrameHeader`] and its payload; the checksum covers both, so that a reader
//! trusts whole frames only, and whatever was written before a writer was
//! killed is readable up to the last of them.
//!
//! | frame | payload | how often |
//! |---|---|---|
//! | [`frame::INFO`] | [`SessionInfo`] as JSON | once, first |
//! | [`frame::RECORDS`] | whole records, one after the other | any number |
//! | [`frame::END`] | [`EndInfo`] as JSON | once, last |
//!
//! Numbers are in the byte order of the machine that traced, which the file
//! states; another order is refused. An error in a frame ends the reading: the
//! bytes behind it are counted, not guessed at.
//!
//! It does not know what a record says. Nothing is synchronised to the disk: a
//! recording survives the end of its writer, not of its machine.
//!
//! [`SessionInfo`]: crate::session::SessionInfo
//! [`EndInfo`]: crate::session::EndInfo

mod error;
mod output;
mod reader;
mod writer;

pub use error::{Fault, RecordingError};
pub use output::Output;
pub use reader::{Ending, Missing, Reader};
pub use writer::Writer;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First bytes of a recording.
pub const MAGIC: [u8; 8] = *b"tcpstate";
/// Version of the layout that this module describes. Records have their own:
/// [`tcpstate_common::record::SCHEMA`].
pub const VERSION: u32 = 1;
/// The longest payload, in bytes, that a reader accepts.
pub const MAX_PAYLOAD: u32 = 16 << 20;

/// [`FileHeader::order`], as the writing machine writes it.
const ORDER: u32 = 0x0102_0304;
/// The payload, in bytes, at which a frame of records is written.
const FULL: usize = 256 << 10;

/// Values of [`FrameHeader::kind`].
pub mod frame {
    /// What the session says of itself at its start.
    pub const INFO: u8 = 1;
    /// Records.
    pub const RECORDS: u8 = 2;
    /// What the session says of itself at its end.
    pub const END: u8 = 3;
}

/// What a recording begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileHeader {
    /// [`MAGIC`]
    pub magic: [u8; 8],
    /// `0x01020304`; another value is that of a machine with another byte order.
    pub order: u32,
    /// [`VERSION`]
    pub version: u32,
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameHeader {
    /// One of [`frame`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Length of the payload in bytes, at most [`MAX_PAYLOAD`].
    pub length: u32,
    /// CRC-32 (ISO-HDLC, as in gzip) of the eight bytes before it and the payload.
    pub crc: u32,
}

impl FrameHeader {
    fn checksum(&self, payload: &[u8]) -> u32 {
        let covered = size_of::<Self>() - size_of::<u32>();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.as_bytes()[..covered]);
        hasher.update(payload);
        hasher.finalize()
    }
}

#[cfg(test)]
#[path = "recording/tests.rs"]
mod tests;
