//! Why a recording cannot be written or read, or not to its end.

use std::{fmt, io, path::PathBuf};

/// Why a recording cannot be written, or not be read at all.
#[derive(Debug)]
pub enum RecordingError {
    /// The file cannot be opened.
    Open(PathBuf, io::Error),
    /// `-o` names something that is not to be overwritten, and why not.
    Refused(PathBuf, &'static str),
    /// Another process is writing to the file.
    InUse(PathBuf),
    /// Writing failed. What was written before is readable: so many bytes.
    Write(PathBuf, io::Error, u64),
    /// The file does not begin like a recording.
    NotARecording(PathBuf),
    /// A machine of the other byte order wrote it.
    ByteOrder(PathBuf),
    /// A newer tcpstate wrote it: what is newer, its version, and the one known here.
    Newer(PathBuf, &'static str, u32, u32),
    /// What the session says of itself, which every recording begins with,
    /// cannot be read.
    NoInfo(PathBuf, Fault),
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Refused(path, why) => write!(f, "{}: {why}", path.display()),
            Self::InUse(path) => {
                write!(f, "{}: another process is recording to it", path.display())
            }
            Self::Write(path, error, kept) => write!(
                f,
                "{}: {error}; the first {kept} bytes can be replayed",
                path.display()
            ),
            Self::NotARecording(path) => {
                write!(f, "{}: not a recording of tcpstate", path.display())
            }
            Self::ByteOrder(path) => write!(
                f,
                "{}: recorded on a machine of another byte order; replay it there",
                path.display()
            ),
            Self::Newer(path, what, theirs, ours) => write!(
                f,
                "{}: written by a newer tcpstate ({what} {theirs}, this one knows {ours})",
                path.display()
            ),
            Self::NoInfo(path, fault) => {
                write!(f, "{}: the session's header: {fault}", path.display())
            }
        }
    }
}

impl std::error::Error for RecordingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Open(_, error) | Self::Write(_, error, _) => Some(error),
            Self::NoInfo(_, fault) => Some(fault),
            _ => None,
        }
    }
}

/// Why reading ended before the end frame. Keeps the value that was wrong.
#[derive(Debug)]
pub enum Fault {
    /// The file ends after a whole frame: its writer was killed, or still writes.
    Unfinished,
    /// The file ends within a frame.
    Truncated,
    /// A payload longer than a writer makes.
    TooLong(u32),
    /// The frame is not as it was written.
    Checksum,
    /// A whole frame of a kind that is none, or at a place where it cannot be.
    Misplaced(u8),
    /// A whole frame whose JSON does not say what it must.
    Json(serde_json::Error),
    /// Bytes follow the end frame.
    AfterEnd,
    /// The file cannot be read on.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => write!(f, "the recording was not finished"),
            Self::Truncated => write!(f, "the recording breaks off within a frame"),
            Self::TooLong(length) => write!(f, "corrupt frame: a length of {length} bytes"),
            Self::Checksum => write!(f, "corrupt frame: the checksum is wrong"),
            Self::Misplaced(kind) => write!(f, "unexpected frame of kind {kind}"),
            Self::Json(error) => write!(f, "unreadable frame: {error}"),
            Self::AfterEnd => write!(f, "something was appended to the recording"),
            Self::Io(error) => write!(f, "read error: {error}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}
