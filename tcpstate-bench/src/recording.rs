//! A recording of a population: as many sockets as wanted are born, then records
//! come at random, and nearly all of them live at the end.

use std::{cell::RefCell, collections::BTreeMap, path::Path};

use anyhow::Result;
use tcpstate::{
    session::{EndInfo, SessionInfo},
    source::recording::Output,
};
use tcpstate_common::record::SCHEMA;

use crate::population::Population;

/// Writes `records`, at least the births of all `sockets`, and says how many.
pub(crate) fn write(path: &Path, sockets: usize, records: u64) -> Result<u64> {
    let info = SessionInfo {
        schema: SCHEMA,
        ..SessionInfo::default()
    };
    let mut writer = Output::create(path)?.begin(&info)?;
    // The writer remembers an error itself, and tells it once.
    let failed = RefCell::new(Ok(()));
    let put = |record: &[u8]| {
        if let Err(error) = writer.push(record) {
            *failed.borrow_mut() = Err(error);
        }
    };
    let mut population = Population::new(sockets);
    let written = write_all(&mut population, records, put);
    failed.into_inner()?;
    writer.finish(&EndInfo {
        seen: Some(written),
        delivered: Some(written),
        lost: Some(BTreeMap::new()),
        complete: true,
        ..EndInfo::default()
    })?;
    Ok(written)
}

fn write_all(population: &mut Population, records: u64, mut put: impl FnMut(&[u8])) -> u64 {
    let born = population.be_born(&mut put);
    let more = records.saturating_sub(born);
    population.live(more, &mut put);
    born + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use tcpstate::{
        decode::{decode, records},
        source::recording::Reader,
    };

    #[test]
    fn what_is_written_is_a_recording_of_that_many_records() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("recording");
        assert_eq!(write(&path, 100, 10).unwrap(), 200);
        assert_eq!(write(&path, 100, 1_000).unwrap(), 1_000);
        let mut reader = Reader::open(&path).unwrap();
        let mut count = 0;
        while let Some(bytes) = reader.next_records() {
            for record in records(bytes) {
                decode(record.unwrap()).unwrap();
                count += 1;
            }
        }
        assert_eq!(count, 1_000);
        assert!(reader.info().hooks.is_empty());
    }
}
