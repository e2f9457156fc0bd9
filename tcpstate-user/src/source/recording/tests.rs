//! What was written is read again, as far as it is whole.

use std::{
    io::{self, Cursor, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use proptest::{collection::vec, prelude::any, prop_assert, prop_assert_eq, proptest};
use tcpstate_common::record::{Header, OnSocket, SCHEMA, kind, words_of};
use zerocopy::IntoBytes as _;

use super::{Ending, FULL, Fault, FileHeader, FrameHeader, Reader, RecordingError, Writer, frame};
use crate::session::{EndInfo, SessionInfo};

/// Keeps what a writer wrote, up to a limit: a disk that becomes full.
#[derive(Clone)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    limit: usize,
}

impl Disk {
    fn of(limit: usize) -> Self {
        let bytes = Arc::default();
        Self { bytes, limit }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn begin(&self) -> Writer {
        Writer::begin(Box::new(self.clone()), PathBuf::from("rec"), &info()).unwrap()
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.bytes.lock().unwrap();
        let room = self.limit.saturating_sub(kept.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        kept.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn info() -> SessionInfo {
    SessionInfo {
        schema: SCHEMA,
        host: "a \"host\"\n".to_owned(),
        clock_offset_ns: -5,
        ..SessionInfo::default()
    }
}

fn end() -> EndInfo {
    EndInfo {
        seen: Some(u64::MAX),
        ..EndInfo::default()
    }
}

fn record(sk: u64) -> Vec<u8> {
    let header = Header {
        kind: kind::DESTROYED,
        words: words_of::<OnSocket>(),
        lost: 0,
        netns: 0,
    };
    let ktime = sk * 10;
    OnSocket { header, ktime, sk }.as_bytes().to_vec()
}

/// A small recording, and the records of each of its frames.
fn small() -> (Vec<u8>, Vec<Vec<u8>>) {
    let disk = Disk::of(usize::MAX);
    let mut writer = disk.begin();
    let frames = vec![record(1), [record(2), record(3)].concat(), record(4)];
    for records in &frames {
        writer.push(records).unwrap();
        writer.flush().unwrap();
    }
    writer.finish(&end()).unwrap();
    (disk.bytes(), frames)
}

fn opened(bytes: &[u8]) -> Result<Reader, RecordingError> {
    let size = Some(bytes.len() as u64);
    let input = Box::new(Cursor::new(bytes.to_vec()));
    Reader::new(input, size, PathBuf::from("rec"))
}

fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Ending), RecordingError> {
    let mut reader = opened(bytes)?;
    let mut frames = Vec::new();
    while let Some(records) = reader.next_records() {
        frames.push(records.to_vec());
    }
    Ok((frames, reader.into_ending()))
}

/// Where the frames of a recording end, the file's header first.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![size_of::<FileHeader>()];
    while let Some(length) = bytes.get(ends[ends.len() - 1] + 4..) {
        let length = u32::from_ne_bytes(length[..4].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        ends.push(ends[ends.len() - 1] + size_of::<FrameHeader>() + length);
    }
    ends
}

#[test]
fn what_was_written_is_read_again() {
    let (bytes, frames) = small();
    let reader = opened(&bytes).unwrap();
    assert_eq!(reader.info(), &info());
    let (again, ending) = read(&bytes).unwrap();
    assert_eq!(again, frames);
    assert!(matches!(ending, Ending::Complete(told) if told == end()));
}

#[test]
fn the_ending_is_known_without_reading_the_records_first() {
    let (bytes, _) = small();
    let ending = opened(&bytes).unwrap().into_ending();
    assert!(matches!(ending, Ending::Complete(told) if told == end()));
}

#[test]
fn a_flood_is_cut_into_frames_at_the_ends_of_records() {
    let disk = Disk::of(usize::MAX);
    let mut writer = disk.begin();
    let records: Vec<u8> = (0..40_000).flat_map(record).collect();
    writer.push(&records).unwrap();
    writer.finish(&end()).unwrap();
    let (frames, _) = read(&disk.bytes()).unwrap();
    assert_eq!(frames.len(), records.len().div_ceil(FULL / 24 * 24));
    assert!(
        frames
            .iter()
            .all(|frame| frame.len() <= FULL && frame.len() % 24 == 0)
    );
    assert_eq!(frames.concat(), records);
}

#[test]
fn what_is_not_a_record_is_counted_and_left_out() {
    let disk = Disk::of(usize::MAX);
    let mut writer = disk.begin();
    writer.push(&record(1)).unwrap();
    writer.push(&record(2)[..23]).unwrap();
    writer
        .push(&[kind::DESTROYED, 0, 0, 0, 0, 0, 0, 0])
        .unwrap();
    writer.push(&[record(3), vec![1, 2, 3]].concat()).unwrap();
    assert_eq!(writer.malformed(), 23 + 8 + 3);
    drop(writer);
    let (frames, ending) = read(&disk.bytes()).unwrap();
    assert_eq!(frames, [[record(1), record(3)].concat()]);
    assert!(
        matches!(ending, Ending::Missing(missing) if matches!(missing.fault, Fault::Unfinished))
    );
}

#[test]
fn a_captured_stack_is_no_part_of_a_recording() {
    let disk = Disk::of(usize::MAX);
    let mut writer = disk.begin();
    let mut stack = [[kind::STACK, 0].as_slice(), &[0; 6], &[24, 0, 0, 0]].concat();
    stack.extend_from_slice(b"hunter2 pass");
    writer
        .push(&[record(1), stack, record(2)].concat())
        .unwrap();
    assert_eq!(writer.malformed(), 0);
    writer.finish(&end()).unwrap();
    let bytes = disk.bytes();
    assert!(!bytes.windows(7).any(|found| found == b"hunter2"));
    assert_eq!(read(&bytes).unwrap().0, [[record(1), record(2)].concat()]);
}

#[test]
fn cut_anywhere_it_is_readable_up_to_the_last_whole_frame() {
    let (bytes, frames) = small();
    let ends = ends(&bytes);
    for len in 0..bytes.len() {
        let Ok((again, ending)) = read(&bytes[..len]) else {
            assert!(len < ends[1], "refused at {len} of {}", bytes.len());
            continue;
        };
        let whole = ends.iter().rposition(|&end| end <= len).unwrap();
        assert_eq!(again, frames[..(whole - 1).min(3)], "cut at {len}");
        let Ending::Missing(missing) = ending else {
            panic!("complete when cut at {len}");
        };
        assert_eq!(missing.after_bytes, ends[whole] as u64);
        assert_eq!(missing.unread_bytes, (len - ends[whole]) as u64);
        let clean = len == ends[whole];
        assert_eq!(matches!(missing.fault, Fault::Unfinished), clean);
        assert_eq!(matches!(missing.fault, Fault::Truncated), !clean);
    }
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    let (bytes, frames) = small();
    let ends = ends(&bytes);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << bit;
            let Ok((again, ending)) = read(&bytes) else {
                assert!(at < ends[1], "refused for bit {bit} of byte {at}");
                continue;
            };
            let good = ends.iter().rposition(|&end| end <= at).unwrap();
            assert_eq!(again, frames[..(good - 1).min(3)], "bit {bit} of byte {at}");
            let Ending::Missing(missing) = ending else {
                panic!("bit {bit} of byte {at} went unnoticed");
            };
            assert_eq!(missing.after_bytes, ends[good] as u64);
            assert_eq!(missing.unread_bytes, (bytes.len() - ends[good]) as u64);
        }
    }
}

#[test]
fn something_appended_is_told() {
    let (mut bytes, frames) = small();
    bytes.extend_from_slice(&bytes.clone());
    let (again, ending) = read(&bytes).unwrap();
    assert_eq!(again, frames);
    let Ending::Missing(missing) = ending else {
        panic!("complete");
    };
    assert!(matches!(missing.fault, Fault::AfterEnd));
    assert_eq!(missing.unread_bytes, (bytes.len() / 2) as u64);
}

fn crafted(kind: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    let (bytes, _) = small();
    let mut header = FrameHeader {
        kind,
        reserved: [0; 3],
        length,
        crc: 0,
    };
    header.crc = header.checksum(payload);
    let first = ends(&bytes)[1];
    [&bytes[..first], header.as_bytes(), payload].concat()
}

fn fault(bytes: &[u8]) -> Fault {
    match read(bytes).unwrap().1 {
        Ending::Missing(missing) => missing.fault,
        Ending::Complete(end) => panic!("{end:?}"),
    }
}

#[test]
fn a_length_is_not_believed() {
    let bytes = crafted(frame::RECORDS, u32::MAX, b"");
    assert!(matches!(fault(&bytes), Fault::TooLong(u32::MAX)));
    let longest = crafted(frame::RECORDS, super::MAX_PAYLOAD, b"short");
    let mut reader = opened(&longest).unwrap();
    assert!(reader.next_records().is_none());
    assert!(
        reader.payload.capacity() < 1 << 16,
        "{}",
        reader.payload.capacity()
    );
}

#[test]
fn whole_frames_that_make_no_sense_are_named() {
    let json = serde_json::to_vec(&info()).unwrap();
    let length = |payload: &[u8]| u32::try_from(payload.len()).unwrap();
    let second = crafted(frame::INFO, length(&json), &json);
    assert!(matches!(fault(&second), Fault::Misplaced(frame::INFO)));
    assert!(matches!(fault(&crafted(9, 0, b"")), Fault::Misplaced(9)));
    let deep = vec![b'['; 100_000];
    let bytes = crafted(frame::END, length(&deep), &deep);
    assert!(matches!(fault(&bytes), Fault::Json(_)));
}

#[test]
fn what_another_version_or_machine_wrote_is_refused_with_the_reason() {
    let (bytes, _) = small();
    let refused = |at: usize, value: u32| {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        opened(&bytes).unwrap_err().to_string()
    };
    assert!(refused(12, 2).contains("newer tcpstate (format 2, this one knows 1)"));
    assert!(refused(8, 0x0403_0201).contains("another byte order"));
    assert!(refused(8, 7).contains("not a recording"));
    assert!(refused(0, 0).contains("not a recording"));

    let disk = Disk::of(usize::MAX);
    let schema = SCHEMA + 1;
    let info = SessionInfo { schema, ..info() };
    Writer::begin(Box::new(disk.clone()), PathBuf::from("rec"), &info).unwrap();
    let told = opened(&disk.bytes()).unwrap_err().to_string();
    assert!(told.contains("newer tcpstate (schema 2"), "{told}");
}

#[test]
fn a_full_disk_is_told_once_with_what_is_readable() {
    let (bytes, frames) = small();
    for limit in ends(&bytes)[1]..bytes.len() {
        let disk = Disk::of(limit);
        let mut writer = disk.begin();
        let mut told = Vec::new();
        for records in &frames {
            told.extend(writer.push(records).err());
            told.extend(writer.flush().err());
        }
        told.extend(writer.finish(&end()).err());
        let [RecordingError::Write(_, error, kept)] = &told[..] else {
            panic!("with room for {limit}: {told:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let (again, ending) = read(&disk.bytes()).unwrap();
        assert!(frames.starts_with(&again));
        assert!(matches!(ending, Ending::Missing(missing) if missing.after_bytes == *kept));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..256)) {
        let (mut recording, _) = small();
        recording.truncate(ends(&recording)[1]);
        prop_assert!(read(&bytes).is_err());
        recording.extend(bytes);
        let (frames, _) = read(&recording).unwrap();
        prop_assert!(frames.is_empty());
    }

    #[test]
    fn any_records_in_any_portions_come_back_in_order(portions in vec(0_usize..40, 0..20)) {
        let disk = Disk::of(usize::MAX);
        let mut writer = disk.begin();
        let mut all = Vec::new();
        for (count, sk) in portions.into_iter().zip(1..) {
            let records = record(sk).repeat(count);
            writer.push(&records).unwrap();
            if count % 3 == 0 {
                writer.flush().unwrap();
            }
            all.extend(records);
        }
        writer.finish(&end()).unwrap();
        let (frames, ending) = read(&disk.bytes()).unwrap();
        prop_assert_eq!(frames.concat(), all);
        prop_assert!(matches!(ending, Ending::Complete(_)));
    }

    #[test]
    fn whatever_is_changed_only_good_frames_are_read(at: usize, with in vec(any::<u8>(), 0..64)) {
        let (mut bytes, frames) = small();
        let at = at % bytes.len();
        let until = bytes.len().min(at + with.len());
        bytes.splice(at..until, with);
        if let Ok((again, _)) = read(&bytes) {
            prop_assert!(frames.starts_with(&again));
        }
    }
}
