//! Nothing is unread, and nothing is undecided.

use crate::simulation::planted::read;
use crate::simulation::process::group;
use crate::simulation::stage::Stage;
use cairn_bus::{Fault, Log, TopicPartition};
use std::collections::BTreeMap;

/// Every group has committed what lies behind the last record of each of its partitions.
///
/// # Errors
/// The first partition where it is not so.
pub fn differs(stage: &Stage) -> Result<(), String> {
    let undecided = stage.log.undecided();
    if undecided > 0 {
        return Err(format!("{undecided} transactions are undecided"));
    }
    for kind in &stage.kinds {
        let committed = stage.log.committed_offsets(&group(stage, kind));
        for topic in &kind.inputs {
            let ends = ends(stage, topic).map_err(|fault| fault.to_string())?;
            let partitions = read(&stage.log, topic).map_err(|fault| fault.to_string())?;
            for (place, records) in partitions {
                let last = records.last().map_or(0, |record| record.offset + 1);
                let next = committed.get(&place).copied().unwrap_or(0);
                let end = ends.get(&place).map_or(0, |(_, end)| *end);
                // Behind the last record there may be markers, and what compaction took away.
                if !(last..=end).contains(&next) {
                    return Err(format!(
                        "{}: {place} is committed to {next}, its records end at {last}, the log at {end}",
                        kind.name
                    ));
                }
            }
        }
    }
    Ok(())
}

type Ends = BTreeMap<TopicPartition, (i64, i64)>;

fn ends(stage: &Stage, topic: &str) -> Result<Ends, Fault> {
    stage.log.reader()?.ends(&[topic])
}
