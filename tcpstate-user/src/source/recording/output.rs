//! The file that `-o` names, opened so that nothing is harmed by it.
//!
//! An existing recording is overwritten, as by tcpdump and other recorders, but
//! not before the session has begun. Because the program runs as root, often in
//! a directory of somebody else, it does not follow a link in the last place
//! of the path and overwrites only a regular file with one name that belongs
//! to the user who runs it.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, fchown, flock, fstat, ftruncate,
        open,
    },
    io::Errno,
    process::geteuid,
};

use super::{RecordingError, Writer};
use crate::session::SessionInfo;

/// A place for a recording, open and locked, with nothing written to it yet.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    /// `None` is standard output.
    file: Option<File>,
}

impl Output {
    /// Opens `path`, or standard output for `-`.
    ///
    /// A new file can be read and written by its owner only, and belongs to the
    /// user who called sudo. A file that is there already keeps its content
    /// until [`Self::begin`], and its owner and mode.
    ///
    /// # Errors
    ///
    /// When the path cannot be opened, is not to be overwritten, or another
    /// process is recording to it.
    pub fn create(path: &Path) -> Result<Self, RecordingError> {
        let file = if path == Path::new("-") {
            None
        } else {
            Some(file(path, sudo_user())?)
        };
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Empties the file and writes what the session says of itself.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn begin(self, info: &SessionInfo) -> Result<Writer, RecordingError> {
        let Some(file) = self.file else {
            return Writer::begin(Box::new(io::stdout()), self.path, info);
        };
        if let Err(errno) = ftruncate(&file, 0) {
            return Err(RecordingError::Write(self.path, errno.into(), 0));
        }
        let out: Box<dyn Write + Send> = Box::new(file);
        Writer::begin(out, self.path, info)
    }
}

type User = (Uid, Gid);

/// Who called sudo, when sudo was called.
fn sudo_user() -> Option<User> {
    if !geteuid().is_root() {
        return None;
    }
    let number = |name| env::var(name).ok()?.parse().ok();
    Some((
        Uid::from_raw(number("SUDO_UID")?),
        Gid::from_raw(number("SUDO_GID")?),
    ))
}

fn file(path: &Path, sudo: Option<User>) -> Result<File, RecordingError> {
    let failed = |errno: Errno| match errno {
        Errno::LOOP => RecordingError::Refused(path.to_owned(), SYMLINK),
        Errno::ISDIR => RecordingError::Refused(path.to_owned(), NOT_REGULAR),
        // The answers of a pipe without a reader and of a socket.
        Errno::NXIO => RecordingError::Refused(path.to_owned(), NOT_REGULAR),
        errno => RecordingError::Open(path.to_owned(), errno.into()),
    };
    // Without waiting for the reader of a pipe, and without becoming the
    // foreground of a terminal.
    let flags =
        OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let owner_only = Mode::RUSR | Mode::WUSR;
    let (file, new) = match open(path, flags | OFlags::CREATE | OFlags::EXCL, owner_only) {
        Ok(file) => (file, true),
        Err(Errno::EXIST) => (open(path, flags, Mode::empty()).map_err(failed)?, false),
        Err(errno) => return Err(failed(errno)),
    };
    if new {
        if let Some((uid, gid)) = sudo {
            fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        }
    } else if let Some(why) = unsafe_to_overwrite(&fstat(&file).map_err(failed)?, sudo) {
        return Err(RecordingError::Refused(path.to_owned(), why));
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(RecordingError::InUse(path.to_owned())),
        // Some network file systems have no locks.
        _ => Ok(File::from(file)),
    }
}

const SYMLINK: &str = "a symbolic link; give the name of the file itself";
const NOT_REGULAR: &str = "not a regular file; give `-o -` to write to a pipe";

fn unsafe_to_overwrite(there: &Stat, sudo: Option<User>) -> Option<&'static str> {
    let owner = Uid::from_raw(there.st_uid);
    let ours = owner == geteuid() || sudo.is_some_and(|(user, _)| user == owner);
    match FileType::from_raw_mode(there.st_mode) {
        FileType::RegularFile if !ours => Some("belongs to another user"),
        FileType::RegularFile if there.st_nlink != 1 => Some("has a second name (hard link)"),
        FileType::RegularFile => None,
        _ => Some(NOT_REGULAR),
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
