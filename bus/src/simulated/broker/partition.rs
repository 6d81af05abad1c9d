//! One partition: records and markers with offsets, what is undecided, and what a read-committed reader may see.

use crate::log::{Headers, Outgoing, Record, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};

/// What became of the transaction that a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Undecided,
    Committed,
    Aborted,
}

#[derive(Clone, Debug)]
struct Row {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Headers,
}

/// What an offset holds.
#[derive(Clone, Debug)]
struct Entry {
    time_ms: i64,
    producer_id: i64,
    fate: Fate,
    /// None: a marker, which ends a transaction and is never delivered.
    row: Option<Row>,
}

/// What a reader was given, and where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) records: Vec<Record>,
    pub(crate) next: i64,
}

/// A partition's offsets. Kafka's replicas are left out: what is appended is at once below the high watermark.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    start: i64,
    next: i64,
    last_time_ms: i64,
    entries: BTreeMap<i64, Entry>,
    /// The first offset of each producer's open transaction.
    open: BTreeMap<i64, i64>,
}

impl Partition {
    /// The first offset that is still there.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The high watermark: the next offset to be written.
    pub(crate) fn high(&self) -> i64 {
        self.next
    }

    /// The last stable offset: where the earliest open transaction begins, or the high watermark.
    pub(crate) fn last_stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.next)
    }

    /// Adds a transaction's record. `stamp`: the log gives the time (and never a smaller one than before).
    pub(crate) fn append(&mut self, producer_id: i64, out: Outgoing, time_ms: i64, stamp: bool) {
        self.open.entry(producer_id).or_insert(self.next);
        let row = Row {
            key: out.key,
            value: out.value,
            headers: out.headers,
        };
        self.push(producer_id, Fate::Undecided, Some(row), time_ms, stamp);
    }

    /// Writes the marker that ends a producer's transaction here; it takes an offset, even if the transaction wrote nothing.
    pub(crate) fn end(&mut self, producer_id: i64, commit: bool, now_ms: i64) {
        let fate = if commit {
            Fate::Committed
        } else {
            Fate::Aborted
        };
        if let Some(first) = self.open.remove(&producer_id) {
            for entry in self.entries.range_mut(first..).map(|(_, entry)| entry) {
                if entry.producer_id == producer_id && entry.fate == Fate::Undecided {
                    entry.fate = fate;
                }
            }
        }
        self.push(producer_id, fate, None, now_ms, true);
    }

    fn push(&mut self, producer_id: i64, fate: Fate, row: Option<Row>, time_ms: i64, stamp: bool) {
        let time_ms = if stamp {
            self.last_time_ms = time_ms.max(self.last_time_ms);
            self.last_time_ms
        } else {
            time_ms
        };
        let entry = Entry {
            time_ms,
            producer_id,
            fate,
            row,
        };
        self.entries.insert(self.next, entry);
        self.next += 1;
    }

    /// Committed records from an offset on, and the offset behind what was delivered or passed. An offset that is not there
    /// (any more) begins at the start, as `auto.offset.reset = earliest` says.
    pub(crate) fn fetch(&self, place: &TopicPartition, from: i64, max: usize) -> Fetched {
        let from = if (self.start..=self.next).contains(&from) {
            from
        } else {
            self.start
        };
        let stable = self.last_stable();
        let mut fetched = Fetched {
            records: Vec::new(),
            next: from.max(stable),
        };
        if from >= stable || max == 0 {
            fetched.next = from;
            return fetched;
        }
        for (&offset, entry) in self.entries.range(from..stable) {
            let (Fate::Committed, Some(row)) = (entry.fate, &entry.row) else {
                continue;
            };
            fetched.records.push(Record {
                topic: place.topic.clone(),
                partition: place.partition,
                offset,
                append_time_ms: entry.time_ms,
                key: row.key.clone(),
                value: row.value.clone(),
                headers: row.headers.clone(),
            });
            // what follows the last record is passed only by a reader who has room for more
            if fetched.records.len() == max {
                fetched.next = offset + 1;
                break;
            }
        }
        fetched
    }

    /// Drops what is older than `before_ms`, from the start on, and never what is undecided.
    pub(crate) fn retain(&mut self, before_ms: i64) {
        let stable = self.last_stable();
        while let Some((&offset, entry)) = self.entries.first_key_value() {
            if offset >= stable || entry.time_ms >= before_ms {
                return;
            }
            self.entries.pop_first();
            self.start = self
                .entries
                .first_key_value()
                .map_or(self.next, |(&o, _)| o);
        }
    }

    /// Keeps the latest record of each key, below the last stable offset. Tombstones and markers go when they are older than
    /// `before_ms`, aborted records at once. Offsets stay what they are, and so does the start.
    pub(crate) fn compact(&mut self, before_ms: i64) {
        let stable = self.last_stable();
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut gone = Vec::new();
        for (&offset, entry) in self.entries.range(..stable).rev() {
            let keeps = match (&entry.row, entry.fate) {
                (None, _) => entry.time_ms >= before_ms,
                (Some(row), Fate::Committed) => {
                    let is_latest = row.key.as_ref().is_some_and(|key| seen.insert(key.clone()));
                    is_latest && (row.value.is_some() || entry.time_ms >= before_ms)
                }
                (Some(_), _) => false,
            };
            if !keeps {
                gone.push(offset);
            }
        }
        for offset in gone {
            self.entries.remove(&offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps as words, `a` being a producer: `a:k=v` appends, `a!` commits, `a?` aborts, `@5` sets the clock.
    fn play(steps: &str) -> Partition {
        let mut partition = Partition::default();
        let mut now_ms = 0;
        for step in steps.split_whitespace() {
            if let Some(time) = step.strip_prefix('@') {
                now_ms = time.parse().unwrap();
                continue;
            }
            let producer = i64::from(step.as_bytes()[0] - b'a');
            match &step[1..2] {
                "!" => partition.end(producer, true, now_ms),
                "?" => partition.end(producer, false, now_ms),
                _ => {
                    let (key, value) = step[2..].split_once('=').unwrap();
                    let out = Outgoing {
                        topic: "t".into(),
                        partition: 0,
                        key: Some(key.into()),
                        value: (!value.is_empty()).then(|| value.into()),
                        headers: vec![],
                    };
                    partition.append(producer, out, now_ms, true);
                }
            }
        }
        partition
    }

    /// `offset:value …` and the next offset.
    fn read(partition: &Partition, from: i64, max: usize) -> String {
        let fetched = partition.fetch(&TopicPartition::new("t", 0), from, max);
        let mut words: Vec<String> = fetched
            .records
            .iter()
            .map(|record| {
                let value = record.value.clone().unwrap_or_default();
                format!("{}:{}", record.offset, String::from_utf8(value).unwrap())
            })
            .collect();
        words.push(format!("→{}", fetched.next));
        words.join(" ")
    }

    #[test]
    fn a_marker_takes_an_offset_and_is_never_delivered() {
        let partition = play("a:k=1 a:k=2 a! b:k=3 b!");
        assert_eq!((partition.high(), partition.last_stable()), (5, 5));
        assert_eq!(read(&partition, 0, 9), "0:1 1:2 3:3 →5");
        assert_eq!(read(&partition, 0, 2), "0:1 1:2 →2");
        assert_eq!(read(&partition, 4, 9), "→5");
    }

    #[test]
    fn the_earliest_open_transaction_holds_back_everybody() {
        let mut partition = play("c:k=0 c! a:k=1 b:k=2 b!");
        // a's record lies at 2: b's, at 3, is committed and yet not to be seen
        assert_eq!((partition.high(), partition.last_stable()), (5, 2));
        assert_eq!(read(&partition, 0, 9), "0:0 →2");
        partition.end(0, false, 0);
        assert_eq!((partition.high(), partition.last_stable()), (6, 6));
        assert_eq!(read(&partition, 2, 9), "3:2 →6");
    }

    #[test]
    fn an_abort_hides_only_its_own_transaction() {
        assert_eq!(read(&play("a:k=1 a? a:k=2 a!"), 0, 9), "2:2 →4");
        assert_eq!(read(&play("a:k=1 b:k=2 a? b!"), 0, 9), "1:2 →4");
        // a marker where nothing was written
        assert_eq!(read(&play("a?"), 0, 9), "→1");
    }

    #[test]
    fn append_times_never_go_back() {
        let partition = play("@7 a:k=1 @5 a:k=2 @9 a:k=3 a!");
        let times: Vec<i64> = partition
            .fetch(&TopicPartition::new("t", 0), 0, 9)
            .records
            .iter()
            .map(|record| record.append_time_ms)
            .collect();
        assert_eq!(times, [7, 7, 9]);
    }

    #[test]
    fn compaction_keeps_the_latest_of_each_key_and_all_that_is_undecided() {
        let mut partition = play("@1 a:x=1 a:y=1 a! b:x=lost b? c:x=2 c! d:x=3");
        partition.compact(0);
        // 0 was overtaken by 5, 3 was aborted; 7 is undecided
        assert_eq!(read(&partition, 0, 9), "1:1 5:2 →7");
        partition.end(3, true, 1);
        partition.compact(0);
        assert_eq!(read(&partition, 0, 9), "1:1 7:3 →9");
        assert_eq!((partition.start(), partition.high()), (0, 9));
    }

    #[test]
    fn a_tombstone_stays_for_its_time() {
        let mut partition = play("@100 a:x=1 a:x= a!");
        partition.compact(100);
        assert_eq!(read(&partition, 0, 9), "1: →3");
        partition.compact(101);
        assert_eq!(read(&partition, 0, 9), "→3");
    }

    #[test]
    fn retention_moves_the_start_and_stops_at_the_undecided() {
        let mut partition = play("@10 a:k=1 a! @20 b:k=2 c:k=3 c!");
        partition.retain(20);
        assert_eq!((partition.start(), partition.high()), (2, 5));
        partition.retain(1_000);
        assert_eq!(partition.start(), 2);
        partition.end(1, true, 20);
        partition.retain(20);
        assert_eq!(read(&partition, 0, 9), "2:2 3:3 →6");
        partition.retain(1_000);
        assert_eq!((partition.start(), partition.high()), (6, 6));
        // somebody who comes too late begins at the start
        assert_eq!(read(&partition, 3, 9), "→6");
    }
}
