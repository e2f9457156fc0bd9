use std::io;

use super::{Format, Sink};
use crate::session::{EndInfo, SessionInfo};

/// Keeps what each write brought; refuses them once it is broken.
#[derive(Default)]
struct Pipe {
    writes: Vec<usize>,
    broken: bool,
}

impl io::Write for &mut Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.writes.push(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sink(pipe: &mut Pipe, format: Format) -> Sink<&mut Pipe> {
    Sink::new(format, pipe, false, &SessionInfo::default())
}

#[test]
fn lines_between_two_flushes_are_one_write() {
    let mut pipe = Pipe::default();
    let mut sink = sink(&mut pipe, Format::Table);
    sink.start().unwrap();
    for _ in 0..10 {
        sink.change(&super::golden::close_wait()).unwrap();
    }
    assert!(sink.is_pending());
    sink.flush().unwrap();
    sink.flush().unwrap();
    sink.end(&EndInfo::default()).unwrap();
    assert!(!sink.is_pending());
    assert_eq!(pipe.writes.len(), 2);
}

#[test]
fn a_flood_is_written_before_it_fills_the_memory() {
    let mut pipe = Pipe::default();
    let mut sink = sink(&mut pipe, Format::Json);
    for _ in 0..1_000 {
        sink.change(&super::golden::close_wait()).unwrap();
    }
    drop(sink);
    assert!(pipe.writes.len() > 3);
    assert!(pipe.writes.iter().all(|&bytes| bytes < super::FULL + 1_024));
}

#[test]
fn a_closed_pipe_is_an_error_that_says_so() {
    let mut pipe = Pipe {
        broken: true,
        ..Pipe::default()
    };
    let mut sink = sink(&mut pipe, Format::Csv);
    let error = sink.start().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(!sink.is_pending());
}
