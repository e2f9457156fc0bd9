//! What `-o` overwrites, and what it does not.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::Path,
};

use rustix::{
    fs::{FileType, Gid, Mode, Uid, mknodat, stat},
    process::{getegid, geteuid},
};
use tempfile::tempdir;

use super::{Output, file, unsafe_to_overwrite};
use crate::{
    session::{EndInfo, SessionInfo},
    source::recording::{Ending, Reader, RecordingError},
};

fn info() -> SessionInfo {
    SessionInfo {
        schema: tcpstate_common::record::SCHEMA,
        ..SessionInfo::default()
    }
}

fn refused(path: &Path) -> &'static str {
    match file(path, None) {
        Err(RecordingError::Refused(_, why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_file_is_its_owners_only() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("new");
    drop(Output::create(&path).unwrap());
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_new_file_belongs_to_who_called_sudo() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("new");
    // Only root can give a file away.
    let user = if geteuid().is_root() {
        (Uid::from_raw(1234), Gid::from_raw(4321))
    } else {
        (geteuid(), getegid())
    };
    drop(file(&path, Some(user)).unwrap());
    let there = fs::metadata(&path).unwrap();
    assert_eq!(
        (there.uid(), there.gid()),
        (user.0.as_raw(), user.1.as_raw())
    );
}

#[test]
fn an_older_recording_is_kept_until_the_session_begins() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("old");
    let older = vec![b'x'; 10_000];
    fs::write(&path, &older).unwrap();
    drop(Output::create(&path).unwrap());
    assert_eq!(fs::read(&path).unwrap(), older);

    let writer = Output::create(&path).unwrap().begin(&info()).unwrap();
    writer.finish(&EndInfo::default()).unwrap();
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.info(), &info());
    assert!(matches!(reader.into_ending(), Ending::Complete(_)));
}

#[test]
fn two_do_not_record_to_the_same_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("rec");
    let first = Output::create(&path).unwrap().begin(&info()).unwrap();
    let second = Output::create(&path);
    assert!(
        matches!(second, Err(RecordingError::InUse(_))),
        "{second:?}"
    );
    drop(first);
    Output::create(&path).unwrap();
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let dir = tempdir().unwrap();
    let target = dir.path().join("target");
    fs::write(&target, "kept").unwrap();
    for (name, target) in [
        ("link", target.as_path()),
        ("dangling", Path::new("nowhere")),
    ] {
        let link = dir.path().join(name);
        symlink(target, &link).unwrap();
        assert!(refused(&link).contains("symbolic link"));
    }
    assert_eq!(fs::read(&target).unwrap(), b"kept");
}

#[test]
fn only_a_regular_file_is_written_to() {
    let dir = tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let owner = Mode::RUSR | Mode::WUSR;
    mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, owner, 0).unwrap();
    let socket = dir.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [dir.path(), &pipe, &socket, Path::new("/dev/null")] {
        assert!(refused(path).contains("not a regular file"), "{path:?}");
    }
    // Held open for reading, the pipe opens, but is still no file.
    let _reader = rustix::fs::open(&pipe, rustix::fs::OFlags::RDWR, Mode::empty()).unwrap();
    assert!(refused(&pipe).contains("not a regular file"));
}

#[test]
fn a_file_with_another_name_or_owner_is_not_overwritten() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "kept").unwrap();
    let mut there = stat(&path).unwrap();
    assert_eq!(unsafe_to_overwrite(&there, None), None);
    there.st_uid = there.st_uid.wrapping_add(1234);
    assert!(
        unsafe_to_overwrite(&there, None)
            .unwrap()
            .contains("another user")
    );
    let sudo = Some((Uid::from_raw(there.st_uid), Gid::ROOT));
    assert_eq!(unsafe_to_overwrite(&there, sudo), None);
    fs::hard_link(&path, dir.path().join("again")).unwrap();
    assert!(refused(&path).contains("hard link"));
}

#[test]
fn a_path_that_cannot_be_opened_is_told_with_its_name() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("no/such/place");
    let told = Output::create(&path).unwrap_err().to_string();
    assert!(told.starts_with(path.to_str().unwrap()), "{told}");
    let told = Reader::open(&path).unwrap_err().to_string();
    assert!(told.starts_with(path.to_str().unwrap()), "{told}");
    let told = Reader::open(dir.path()).unwrap_err().to_string();
    assert!(told.starts_with(dir.path().to_str().unwrap()), "{told}");
}
