//! Looks at the file through a connection of its own: sees what is committed, in transactions of one statement.

use super::{Shared, file, read};
use crate::log::{Fault, Offsets, Reader, Record, TopicPartition};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one look at a partition takes out of the file, before compression.
const FETCH_BYTES: i64 = 1 << 20;
/// A reader is in no hurry: it looks again after this.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct EmbeddedReader {
    path: PathBuf,
    connection: Connection,
}

impl EmbeddedReader {
    pub(super) fn open(shared: &Shared) -> Result<Self, Fault> {
        let connection = file::open_to_read(&shared.path, shared.settings.busy_timeout)?;
        Ok(Self {
            path: shared.path.clone(),
            connection,
        })
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> Fault {
        |error| file::sorted(&self.path, "reading", error)
    }

    fn look(&self, position: &mut Offsets, max: usize) -> Result<Vec<Record>, Fault> {
        let mut records = Vec::new();
        for (part, next) in position.iter_mut() {
            let place = read::known_place(&self.connection, part, self.fault())?;
            while *next < place.next && records.len() < max {
                let raw = read::batches(&self.connection, place.id, *next, FETCH_BYTES)
                    .map_err(self.fault())?;
                if raw.is_empty() {
                    *next = place.next;
                }
                for batch in raw {
                    for packed in batch.unpack().map_err(read::damaged(&self.path, part))? {
                        if packed.offset < *next {
                            continue;
                        }
                        if records.len() == max {
                            return Ok(records);
                        }
                        *next = packed.offset + 1;
                        records.push(packed.into_record(part));
                    }
                    // compaction may have taken a batch's last records
                    *next = batch.last_offset() + 1;
                }
            }
        }
        Ok(records)
    }
}

impl Reader for EmbeddedReader {
    fn ends(&mut self, topics: &[&str]) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Fault> {
        let mut ends = BTreeMap::new();
        for &name in topics {
            let partitions = read::ends(&self.connection, name).map_err(self.fault())?;
            if partitions.is_empty() {
                return Err(Fault::Config(format!("there is no topic {name}")));
            }
            let topic: Arc<str> = Arc::from(name);
            for (partition, start, next) in partitions {
                ends.insert(
                    TopicPartition {
                        topic: topic.clone(),
                        partition,
                    },
                    (start, next),
                );
            }
        }
        Ok(ends)
    }

    fn read(
        &mut self,
        from: &Offsets,
        patience: Duration,
        max: usize,
    ) -> Result<(Vec<Record>, Offsets), Fault> {
        let deadline = Instant::now() + patience;
        let mut position = from.clone();
        loop {
            let records = self.look(&mut position, max.max(1))?;
            let left = deadline.saturating_duration_since(Instant::now());
            if !records.is_empty() || left.is_zero() {
                return Ok((records, position));
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }
}
