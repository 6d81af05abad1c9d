//! A partition read in order from its start to where it ended when the replay began, some records ahead.

use crate::config::Config;
use cairn_bus::{Fault, Offsets, Reader, Record, TopicPartition};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What cursors read with.
pub(super) struct Source {
    reader: Box<dyn Reader>,
    patience: Duration,
    bytes: usize,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Reader>, config: &Config) -> Self {
        Self {
            reader,
            patience: Duration::from_millis(config.log.reach_timeout_ms),
            bytes: config.replay.read_bytes.max(1),
        }
    }

    /// Start and end of every partition of these topics.
    pub(super) fn ends(
        &mut self,
        topics: &[&str],
    ) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Fault> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.reader.ends(topics)
    }
}

/// One partition.
pub(super) struct Cursor {
    pub(super) place: TopicPartition,
    next: i64,
    end: i64,
    ahead: VecDeque<Record>,
    /// Of a record, as far as is known.
    average_bytes: usize,
}

/// Most records of one read, however small they are.
const READ_MAX: usize = 4_096;
/// A record of unknown size is taken for one of these.
const FIRST_GUESS_BYTES: usize = 16 << 10;

impl Cursor {
    pub(super) fn new(place: TopicPartition, start: i64, end: i64) -> Self {
        Self {
            place,
            next: start,
            end,
            ahead: VecDeque::new(),
            average_bytes: FIRST_GUESS_BYTES,
        }
    }

    /// Where it ends.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The next record, which stays the next.
    pub(super) fn peek(&mut self, source: &mut Source) -> Result<Option<&Record>, Fault> {
        while self.ahead.is_empty() && self.next < self.end {
            self.read(source)?;
        }
        Ok(self.ahead.front())
    }

    /// The next record.
    pub(super) fn take(&mut self, source: &mut Source) -> Result<Option<Record>, Fault> {
        self.peek(source)?;
        Ok(self.ahead.pop_front())
    }

    /// Reads on, at one go: going over to another partition costs a reader of Kafka much more than another read of the same.
    fn read(&mut self, source: &mut Source) -> Result<(), Fault> {
        let mut bytes = 0;
        while self.next < self.end && bytes < source.bytes && self.ahead.len() < READ_MAX {
            let left = source.bytes.saturating_sub(bytes);
            let max = (left / self.average_bytes.max(1)).clamp(1, READ_MAX);
            let from = Offsets::from([(self.place.clone(), self.next)]);
            let (records, next) = source.reader.read(&from, source.patience, max)?;
            let next = next.get(&self.place).copied().unwrap_or(self.next);
            if records.is_empty() && next <= self.next {
                return Err(Fault::Unreachable(format!(
                    "{} gives nothing between {} and {}",
                    self.place, self.next, self.end
                )));
            }
            let found: usize = records.iter().map(size).sum();
            if let Some(average) = found.checked_div(records.len()) {
                self.average_bytes = average.max(1);
            }
            bytes += found;
            self.next = next;
            let end = self.end;
            self.ahead
                .extend(records.into_iter().filter(|record| record.offset < end));
        }
        Ok(())
    }
}

/// What a record takes in memory, roughly.
pub(super) fn size(record: &Record) -> usize {
    let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    length(&record.key) + length(&record.value) + headers + 64
}
