//! In which order a chunk of records is applied to a task with state: never against the offsets of a partition.

use cairn_bus::Record;

/// (topic, partition, offset): what a replay repeats at a cut (DESIGN §3.6).
pub(super) fn by_place(records: &mut [Record]) {
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
}
