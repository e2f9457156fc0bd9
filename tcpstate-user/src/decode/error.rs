//! Why bytes are not a record.

use std::fmt;

/// Why bytes are not a record. Keeps the value that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Fewer bytes than the record says it has (or than a header needs).
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A kind this version does not know; the record can be stepped over.
    UnknownKind(u8),
    /// A known kind with a length that is not its own, in units of eight bytes.
    WrongLength {
        /// The record's kind.
        kind: u8,
        /// What its header says.
        words: u8,
    },
    /// A state number that is none.
    UnknownState(u8),
    /// A value of `Snapshot::kind` or `Sweep::phase` that is none.
    UnknownValue {
        /// The record's kind.
        kind: u8,
        /// What stood there.
        value: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { have, need } => {
                write!(f, "record cut short: {have} of {need} bytes")
            }
            Self::UnknownKind(kind) => write!(f, "unknown record kind {kind}"),
            Self::WrongLength { kind, words } => {
                write!(f, "record of kind {kind} with a length of {words} words")
            }
            Self::UnknownState(number) => write!(f, "unknown TCP state {number}"),
            Self::UnknownValue { kind, value } => {
                write!(f, "record of kind {kind} with an unknown value {value}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
