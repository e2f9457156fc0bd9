//! A recorded session, through the same stages as a live one.

use std::path::Path;

use anyhow::Result;

use super::{exit::complain, pipeline::Pipeline};
use crate::{
    session::EndInfo,
    source::recording::{Ending, Reader},
};

/// Feeds every frame of a recording to the pipeline.
///
/// A recording that breaks off is read to where it does: the end line then
/// says that it is not complete, and standard error why.
pub(super) fn replay(mut reader: Reader, mut pipeline: Pipeline, path: &Path) -> Result<EndInfo> {
    pipeline.start()?;
    while let Some(records) = reader.next_records() {
        pipeline.walked(records);
        pipeline.settle_recorded();
        pipeline.flush()?;
    }
    let mut end = match reader.into_ending() {
        Ending::Complete(end) => end,
        Ending::Missing(missing) => {
            complain(&format!("{}: {missing}", path.display()));
            EndInfo::default()
        }
    };
    pipeline.finish(pipeline.last_at(), &mut end)?;
    Ok(end)
}
