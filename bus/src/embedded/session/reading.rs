//! Reading: what can be delivered now, partition by partition in turn, and a changelog from its start to its end.

use super::EmbeddedSession;
use crate::embedded::batch::Packed;
use crate::embedded::read;
use crate::log::{Fault, Gap, Record, TopicPartition};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// What one look at a partition takes out of the file, before compression.
const FETCH_BYTES: i64 = 1 << 20;

/// A partition that is being read.
pub(super) struct Reading {
    pub(super) position: i64,
    pub(super) ahead: VecDeque<Packed>,
    pub(super) paused: bool,
}

impl EmbeddedSession {
    /// What can be delivered now.
    pub(super) fn gather(&mut self, max_records: usize) -> Result<Vec<Record>, Fault> {
        let fault = self.shared.fault("reading");
        let mut records = Vec::new();
        let count = self.reading.len();
        if count == 0 {
            return Ok(records);
        }
        let stamp = {
            let writer = self.shared.writer();
            self.still_whole(writer.undone)?;
            let version: i64 = writer
                .connection
                .pragma_query_value(None, "data_version", |row| row.get(0))
                .map_err(&fault)?;
            (self.shared.commits.load(Ordering::Acquire), version)
        };
        if self.idle_at == Some(stamp) {
            return Ok(records);
        }
        self.turn = (self.turn + 1) % count;
        let order: Vec<TopicPartition> = self
            .reading
            .keys()
            .cycle()
            .skip(self.turn)
            .take(count)
            .cloned()
            .collect();
        let mut is_moving = false;
        for part in order {
            if records.len() == max_records {
                return Ok(records);
            }
            let Some(reading) = self
                .reading
                .get_mut(&part)
                .filter(|reading| !reading.paused)
            else {
                continue;
            };
            if reading.ahead.is_empty() {
                let (raw, next) = {
                    let writer = self.shared.writer();
                    let place = read::known_place(&writer.connection, &part, &fault)?;
                    if reading.position < place.start {
                        self.gaps.push(Gap {
                            part: part.clone(),
                            from: reading.position,
                            to: place.start,
                        });
                        reading.position = place.start;
                    }
                    if place.next <= reading.position {
                        continue;
                    }
                    let raw =
                        read::batches(&writer.connection, place.id, reading.position, FETCH_BYTES)
                            .map_err(&fault)?;
                    (raw, place.next)
                };
                for batch in &raw {
                    let unpacked = batch
                        .unpack()
                        .map_err(read::damaged(&self.shared.path, &part))?;
                    reading.ahead.extend(
                        unpacked
                            .into_iter()
                            .filter(|packed| packed.offset >= reading.position),
                    );
                }
                if reading.ahead.is_empty() {
                    // compaction may have taken a batch's last records
                    reading.position = raw.last().map_or(next, |last| last.last_offset() + 1);
                    is_moving = true;
                    continue;
                }
            }
            while records.len() < max_records {
                let Some(packed) = reading.ahead.pop_front() else {
                    break;
                };
                reading.position = packed.offset + 1;
                records.push(packed.into_record(&part));
            }
        }
        if records.is_empty() && !is_moving {
            // paused partitions may hold more: `resume` forgets this
            self.idle_at = Some(stamp);
        }
        Ok(records)
    }

    /// Every record of a partition, to the end that it has at the beginning.
    pub(super) fn replay(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        let fault = self.shared.fault("reading a changelog");
        let place = read::known_place(&self.shared.writer().connection, part, &fault)?;
        let mut position = place.start.max(from);
        while position < place.next {
            let raw = read::batches(
                &self.shared.writer().connection,
                place.id,
                position,
                FETCH_BYTES,
            )
            .map_err(&fault)?;
            let Some(last) = raw.last() else { break };
            let read_to = last.last_offset() + 1;
            for batch in &raw {
                for packed in batch
                    .unpack()
                    .map_err(read::damaged(&self.shared.path, part))?
                {
                    if packed.offset >= position && packed.offset < place.next {
                        each(packed.into_record(part));
                    }
                }
            }
            position = read_to;
        }
        Ok(place.next)
    }
}
