//! Records to frames.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
};

use tcpstate_common::record::{Header, LONG, kind};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::{FULL, FileHeader, FrameHeader, MAGIC, ORDER, RecordingError, VERSION, frame};
use crate::session::{EndInfo, SessionInfo};

const HEADER: usize = size_of::<FrameHeader>();

/// Writes a recording.
///
/// The first error is returned, and nothing is written afterwards: later calls
/// do nothing and return `Ok`, so that it is told once. Without
/// [`Self::finish`] the recording is one whose end is missing.
pub struct Writer {
    out: Box<dyn Write + Send>,
    path: PathBuf,
    /// Room for a frame's header, and the records since the last frame.
    pending: Vec<u8>,
    /// Bytes of whole frames written, the file's header included.
    written: u64,
    malformed: u64,
    failed: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.path)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes the file's header and what the session says of itself to `out`;
    /// `path` names it in errors. [`super::Output`] opens files.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn begin(
        out: Box<dyn Write + Send>,
        path: PathBuf,
        info: &SessionInfo,
    ) -> Result<Self, RecordingError> {
        let mut writer = Self {
            out,
            path,
            pending: vec![0; HEADER],
            written: 0,
            malformed: 0,
            failed: false,
        };
        let header = FileHeader {
            magic: MAGIC,
            order: ORDER,
            version: VERSION,
        };
        writer.put(header.as_bytes())?;
        writer.json(frame::INFO, info)?;
        Ok(writer)
    }

    /// Takes whole records, one after the other; they are written when there
    /// are enough of them, or with [`Self::flush`].
    ///
    /// Captured stacks are left out: they may hold secrets of the programs that
    /// were traced.
    ///
    /// What does not end where its last header says would make what follows
    /// unreadable. It is left out and counted: [`Self::malformed`].
    ///
    /// # Errors
    ///
    /// When the frame that became full cannot be written.
    pub fn push(&mut self, mut records: &[u8]) -> Result<(), RecordingError> {
        while let Some(length) = first(records) {
            let (record, rest) = records.split_at(length);
            if self.pending.len() - HEADER + length > FULL {
                self.flush()?;
            }
            if !self.failed && record[0] != kind::STACK {
                self.pending.extend_from_slice(record);
            }
            records = rest;
        }
        self.malformed += records.len() as u64;
        Ok(())
    }

    /// Writes what was pushed since the last frame, so that a reader can read it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn flush(&mut self) -> Result<(), RecordingError> {
        if self.pending.len() == HEADER {
            return Ok(());
        }
        self.frame(frame::RECORDS)
    }

    /// Writes the end: the recording is complete.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn finish(mut self, end: &EndInfo) -> Result<(), RecordingError> {
        self.flush()?;
        self.json(frame::END, end)
    }

    /// Bytes written that a reader can read.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Bytes pushed that were not whole records and are not in the recording.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    fn json(&mut self, kind: u8, value: &impl serde::Serialize) -> Result<(), RecordingError> {
        let result = serde_json::to_writer(&mut self.pending, value);
        if let Err(error) = result {
            return Err(self.fail(error.into()));
        }
        self.frame(kind)
    }

    /// Writes `pending` as one frame, with one call where the system allows.
    fn frame(&mut self, kind: u8) -> Result<(), RecordingError> {
        let mut bytes = std::mem::take(&mut self.pending);
        let result = self.frame_of(kind, &mut bytes);
        bytes.truncate(HEADER);
        self.pending = bytes;
        result
    }

    fn frame_of(&mut self, kind: u8, bytes: &mut [u8]) -> Result<(), RecordingError> {
        let (room, payload) = bytes.split_at_mut(HEADER);
        let length = match u32::try_from(payload.len()) {
            Ok(length) if length <= super::MAX_PAYLOAD => length,
            _ => return Err(self.fail(io::ErrorKind::FileTooLarge.into())),
        };
        let mut header = FrameHeader {
            kind,
            reserved: [0; 3],
            length,
            crc: 0,
        };
        header.crc = header.checksum(payload);
        room.copy_from_slice(header.as_bytes());
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        if self.failed {
            return Ok(());
        }
        let result = self.out.write_all(bytes).and_then(|()| self.out.flush());
        match result {
            Ok(()) => {
                self.written += bytes.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn fail(&mut self, error: io::Error) -> RecordingError {
        self.failed = true;
        RecordingError::Write(self.path.clone(), error, self.written)
    }
}

/// What was pushed is not lost when a session ends by an error.
impl Drop for Writer {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _ = self.flush();
    }
}

/// Length in bytes of the first record, when it is there whole.
fn first(records: &[u8]) -> Option<usize> {
    let (header, behind) = Header::read_from_prefix(records).ok()?;
    let length = if header.words == LONG {
        usize::try_from(u32::read_from_prefix(behind).ok()?.0).ok()?
    } else {
        usize::from(header.words) * 8
    };
    (length >= size_of::<Header>() && length <= records.len()).then_some(length)
}
