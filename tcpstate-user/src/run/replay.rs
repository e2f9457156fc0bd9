//! A recorded session, through the same stages as a live one.

use std::{io::Write, path::Path};

use anyhow::{Context as _, Result};

use super::pipeline::Pipeline;
use crate::{
    session::{EndInfo, SessionInfo},
    source::recording::{Ending, Reader},
};

/// Feeds every frame of a recording to the pipeline.
///
/// A recording that breaks off is read to where it does; the end line then says
/// that it is not complete, and standard error why.
pub(super) fn replay<W: Write>(
    mut reader: Reader,
    mut pipeline: Pipeline<W>,
    path: &Path,
) -> Result<EndInfo> {
    pipeline.start(reader.info())?;
    while let Some(frame) = reader.next_frame()? {
        pipeline.walked(frame);
        pipeline.settle_to_last();
        pipeline.flush()?;
    }
    let mut end = match reader.ending() {
        Ending::Complete(end) => end,
        Ending::Missing { .. } => EndInfo::default(),
    };
    pipeline.finish_replay(&mut end)?;
    Ok(end)
}
