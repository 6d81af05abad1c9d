//! In which order a chunk of records is applied: never against the offsets of a partition.

use cairn_bus::Record;

/// (topic, partition, offset): what a replay repeats at a cut (DESIGN §3.6).
pub(super) fn by_place(records: &mut [Record]) {
    records
        .sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
}

/// Partitions merged by time, for a stateless kind. A run's rows may come in on several partitions, since clients hash keys
/// differently; after a pause one partition's whole backlog would go before another's and make the other's rows late.
///
/// A record counts with the greatest time so far in its partition: times may go back within one, offsets never do.
pub(super) fn by_time(records: &mut Vec<Record>) {
    by_place(records);
    let mut greatest = i64::MIN;
    let mut times = Vec::with_capacity(records.len());
    for (index, record) in records.iter().enumerate() {
        let goes_on = index > 0
            && (&records[index - 1].topic, records[index - 1].partition)
                == (&record.topic, record.partition);
        greatest = if goes_on {
            greatest.max(record.append_time_ms)
        } else {
            record.append_time_ms
        };
        times.push(greatest);
    }
    let mut timed: Vec<(i64, Record)> = times.into_iter().zip(records.drain(..)).collect();
    timed.sort_by_key(|(time, _)| *time);
    records.extend(timed.into_iter().map(|(_, record)| record));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record((topic, partition, offset, append_time_ms): (&str, i32, i64, i64)) -> Record {
        Record {
            topic: topic.into(),
            partition,
            offset,
            append_time_ms,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn partitions_are_merged_by_time_and_offsets_never_go_back() {
        // Partition 0's clock goes back at offset 2: two producers with clocks of their own.
        let mut records: Vec<Record> = [
            ("t", 1, 7, 105),
            ("t", 0, 1, 110),
            ("t", 0, 2, 90),
            ("t", 0, 3, 130),
            ("t", 1, 8, 120),
        ]
        .map(record)
        .into();
        by_time(&mut records);
        let order: Vec<(i32, i64)> = records.iter().map(|r| (r.partition, r.offset)).collect();
        assert_eq!(order, [(1, 7), (0, 1), (0, 2), (1, 8), (0, 3)]);
    }
}
