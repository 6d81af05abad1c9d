//! The same as `cairn replay` has it: every output once more from its inputs, in a new log, to the byte; refits too, whose asks
//! of a new owner are cuts of their own.

use crate::simulation::stage::{Stage, fit, shared};
use cairn_pipeline::connect::Place;
use cairn_pipeline::replay::{Request, Start, replay};
use std::sync::Arc;

pub(super) fn differs(stage: &Stage, is_compacted: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let place = Place {
        log: Arc::new(stage.log.clone()),
        registry: shared().registry.clone(),
        store: None,
    };
    // Of compacted rows no fit can be made again.
    let only: &[&str] = if is_compacted {
        &["runs", "cockpit"]
    } else {
        &[]
    };
    let request = Request {
        from: Start::Earliest,
        into: folder.path().join("again"),
        only: only.iter().map(|&name| name.to_owned()).collect(),
        work: Arc::new(fit),
    };
    let mut config = stage.config.clone();
    // Nothing is on its way any more; waiting would only move the story's time on.
    config.log.reach_timeout_ms = 0;
    let report = replay(&config, &place, &request).map_err(|error| error.to_string())?;
    if let Some(first) = report.first {
        return Err(format!("replay: {first:?}"));
    }
    for topic in &report.topics {
        if topic.records != topic.equal || topic.sha256 != topic.sha256_original {
            return Err(format!("replay: {topic:?}"));
        }
    }
    Ok(())
}
