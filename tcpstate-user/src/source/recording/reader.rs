//! Frames to records.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use tcpstate_common::record::SCHEMA;
use zerocopy::{FromBytes, IntoBytes};

use super::{
    Fault, FileHeader, FrameHeader, MAGIC, MAX_PAYLOAD, ORDER, RecordingError, VERSION, frame,
};
use crate::session::{EndInfo, SessionInfo};

/// Reads a recording, frame by frame.
pub struct Reader {
    input: Box<dyn Read + Send>,
    /// Length of the whole input, where it is known beforehand.
    size: Option<u64>,
    /// Bytes read.
    read: u64,
    /// Bytes read up to the end of the last frame that was good.
    good: u64,
    info: SessionInfo,
    pub(super) payload: Vec<u8>,
    ending: Option<Ending>,
}

/// How a recording ends.
#[derive(Debug)]
pub enum Ending {
    /// With what the session says of itself at its end.
    Complete(EndInfo),
    /// Without: the session went on after the last record read.
    Missing(Missing),
}

/// An end that is not there, or cannot be read.
#[derive(Debug)]
pub struct Missing {
    /// Why.
    pub fault: Fault,
    /// Bytes of the recording that were read and are good.
    pub after_bytes: u64,
    /// Bytes behind them that are not used. From a pipe: as far as known.
    pub unread_bytes: u64,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} after {} bytes, {} bytes not read",
            self.fault, self.after_bytes, self.unread_bytes
        )
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("info", &self.info)
            .field("good", &self.good)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a recording (`-`: standard input) and reads its beginning.
    ///
    /// # Errors
    ///
    /// When it cannot be opened, is no recording that this version reads, or
    /// ends before the session has said what it is.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        if path == Path::new("-") {
            return Self::new(Box::new(io::stdin()), None, path.to_owned());
        }
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) =
            opened.map_err(|error| RecordingError::Open(path.to_owned(), error))?;
        let size = metadata.is_file().then_some(metadata.len());
        Self::new(Box::new(BufReader::new(file)), size, path.to_owned())
    }

    /// Reads the beginning of a recording from `input`, which `path` names in
    /// errors and which is `size` bytes long, where that is known.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn new(
        mut input: Box<dyn Read + Send>,
        size: Option<u64>,
        path: PathBuf,
    ) -> Result<Self, RecordingError> {
        let mut header = FileHeader {
            magic: [0; 8],
            order: 0,
            version: 0,
        };
        match input.read_exact(header.as_mut_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(RecordingError::Open(path, error));
            }
            _ if header.magic != MAGIC => return Err(RecordingError::NotARecording(path)),
            Err(_) => return Err(RecordingError::NoInfo(path, Fault::Truncated)),
            Ok(()) => {}
        }
        if header.order != ORDER {
            let swapped = header.order.swap_bytes() == ORDER;
            return Err(if swapped {
                RecordingError::ByteOrder(path)
            } else {
                RecordingError::NotARecording(path)
            });
        }
        match header.version {
            VERSION => {}
            0 => return Err(RecordingError::NotARecording(path)),
            newer => return Err(RecordingError::Newer(path, "format", newer, VERSION)),
        }
        let mut reader = Self {
            input,
            size,
            read: size_of::<FileHeader>() as u64,
            good: size_of::<FileHeader>() as u64,
            info: SessionInfo::default(),
            payload: Vec::new(),
            ending: None,
        };
        match reader.first_info() {
            Ok(info) if info.schema > SCHEMA => {
                let newer = RecordingError::Newer(path, "schema", info.schema, SCHEMA);
                return Err(newer);
            }
            Ok(info) => reader.info = info,
            Err(fault) => return Err(RecordingError::NoInfo(path, fault)),
        }
        Ok(reader)
    }

    /// What the session says of itself.
    #[must_use]
    pub const fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// The records of the next frame, as they were pushed; `None` at the end,
    /// whichever it is.
    pub fn next_records(&mut self) -> Option<&[u8]> {
        if self.ending.is_some() {
            return None;
        }
        match self.step() {
            Ok(None) => return Some(&self.payload),
            Ok(Some(end)) => self.ending = Some(Ending::Complete(end)),
            Err(fault) => self.ending = Some(Ending::Missing(self.missing(fault))),
        }
        None
    }

    /// How the recording ends; frames not read yet are read and dropped.
    #[must_use]
    pub fn into_ending(mut self) -> Ending {
        loop {
            if let Some(ending) = self.ending.take() {
                return ending;
            }
            self.next_records();
        }
    }

    fn missing(&self, fault: Fault) -> Missing {
        let size = self.size.unwrap_or(0).max(self.read);
        Missing {
            fault,
            after_bytes: self.good,
            unread_bytes: size - self.good,
        }
    }

    fn first_info(&mut self) -> Result<SessionInfo, Fault> {
        match self.frame()? {
            frame::INFO => serde_json::from_slice(&self.payload).map_err(Fault::Json),
            other => Err(Fault::Misplaced(other)),
        }
        .inspect(|_| self.good = self.read)
    }

    /// Reads one frame after the first: records, or the end.
    fn step(&mut self) -> Result<Option<EndInfo>, Fault> {
        let end = match self.frame()? {
            frame::RECORDS => None,
            frame::END => Some(serde_json::from_slice(&self.payload).map_err(Fault::Json)?),
            other => return Err(Fault::Misplaced(other)),
        };
        self.good = self.read;
        if end.is_some() && self.fill(1)? != 0 {
            return Err(Fault::AfterEnd);
        }
        Ok(end)
    }

    /// Reads a frame into `payload`, checks it and returns its kind.
    fn frame(&mut self) -> Result<u8, Fault> {
        const HEADER: usize = size_of::<FrameHeader>();
        let header = match self.fill(HEADER)? {
            0 => return Err(Fault::Unfinished),
            _ => FrameHeader::read_from_bytes(&self.payload).map_err(|_short| Fault::Truncated)?,
        };
        if header.length > MAX_PAYLOAD {
            return Err(Fault::TooLong(header.length));
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        if self.fill(length)? < length {
            return Err(Fault::Truncated);
        }
        if header.checksum(&self.payload) != header.crc {
            return Err(Fault::Checksum);
        }
        Ok(header.kind)
    }

    /// Reads up to `length` bytes into `payload`, fewer only at the end of the
    /// input. It grows with what is there, not with what a length claims.
    fn fill(&mut self, length: usize) -> Result<usize, Fault> {
        self.payload.clear();
        let limited = (&mut self.input).take(length as u64);
        let result = { limited }.read_to_end(&mut self.payload);
        self.read += self.payload.len() as u64;
        result.map_err(Fault::Io)
    }
}
