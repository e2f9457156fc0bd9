//! A recording of a population: as many sockets as wanted are born, then records
//! come at random, and nearly all of them live at the end.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use tcpstate::{
    session::{EndInfo, SessionInfo},
    source::recording::Output,
};
use tcpstate_common::record::SCHEMA;

use crate::population::Population;

/// Writes the births of all `sockets` and so many records `more`; says how many
/// that is.
pub(crate) fn write(path: &Path, sockets: usize, more: u64) -> Result<u64> {
    let info = SessionInfo {
        schema: SCHEMA,
        ..SessionInfo::default()
    };
    let mut writer = Output::create(path)?.begin(&info)?;
    // The writer remembers an error itself, and tells it once.
    let mut failed = Ok(());
    let mut put = |record: &[u8]| {
        if let Err(error) = writer.push(record) {
            failed = Err(error);
        }
    };
    let mut population = Population::new(sockets);
    let written = population.be_born(&mut put) + more;
    population.live(more, &mut put);
    failed?;
    writer.finish(&EndInfo {
        seen: Some(written),
        delivered: Some(written),
        lost: Some(BTreeMap::new()),
        complete: true,
        ..EndInfo::default()
    })?;
    Ok(written)
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
        assert_eq!(write(&path, 100, 0).unwrap(), 200);
        assert_eq!(write(&path, 100, 800).unwrap(), 1_000);
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
