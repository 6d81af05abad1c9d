//! Records of one poll, packed: their bytes lie one behind the other in one buffer, with a head for each.
//!
//! A session reads thousands of records a poll. As [`Record`]s each would cost four allocations and an atomic count; here a
//! record costs the copy of its bytes, and who reads a chunk borrows from it. Records that follow each other in one partition
//! form a *run*: what is looked up by partition is looked up once a run.
//!
//! Not here: what a record means, and records that outlive the poll; those are copied out ([`RecordRef::to_record`]).

use crate::log::{Headers, Record, TopicPartition};
use std::fmt;

/// Records of one poll, in the order in which they were read.
#[derive(Clone, Default)]
pub struct Chunk {
    runs: Vec<RunHead>,
    heads: Vec<Head>,
    /// Of each record: key, value, headers.
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct RunHead {
    place: TopicPartition,
    /// The first head that is not this run's any more.
    end: usize,
}

#[derive(Clone, Copy)]
struct Head {
    offset: i64,
    append_time_ms: i64,
    /// Where the record's bytes begin.
    begin: usize,
    key: Length,
    value: Length,
    headers: u32,
}

/// A length, or none. A record is far smaller than 4 GiB: Kafka counts its bytes in an `i32`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Length(u32);

impl Length {
    const NONE: Length = Length(u32::MAX);

    fn of(part: Option<&[u8]>) -> Self {
        part.map_or(Self::NONE, |part| Length(length(part)))
    }

    fn split(self, bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
        if self == Self::NONE {
            return (None, bytes);
        }
        let (part, rest) = bytes.split_at(self.0 as usize);
        (Some(part), rest)
    }
}

fn length(part: &[u8]) -> u32 {
    u32::try_from(part.len())
        .ok()
        .filter(|length| *length < u32::MAX)
        .expect("a part of a record is smaller than 4 GiB")
}

/// Records that follow each other in one partition.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Where all of them lie.
    pub place: &'a TopicPartition,
    heads: &'a [Head],
    bytes: &'a [u8],
}

/// A record that lies in a chunk.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    /// Topic and partition.
    pub place: &'a TopicPartition,
    /// See [`Record::offset`].
    pub offset: i64,
    /// See [`Record::append_time_ms`].
    pub append_time_ms: i64,
    /// See [`Record::key`].
    pub key: Option<&'a [u8]>,
    /// See [`Record::value`].
    pub value: Option<&'a [u8]>,
    headers: u32,
    packed: &'a [u8],
}

impl Chunk {
    /// An empty one with room.
    #[must_use]
    pub fn with_capacity(records: usize, bytes: usize) -> Self {
        Self {
            runs: Vec::new(),
            heads: Vec::with_capacity(records),
            bytes: Vec::with_capacity(bytes),
        }
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.heads.clear();
        self.bytes.clear();
    }

    /// The records that are added next lie here.
    pub fn begin(&mut self, place: &TopicPartition) {
        if self.runs.last().is_none_or(|run| run.place != *place) {
            self.runs.push(RunHead {
                place: place.clone(),
                end: self.heads.len(),
            });
        }
    }

    /// Adds a record to the run that was begun last.
    ///
    /// # Panics
    /// If no run was begun.
    pub fn push<'h>(
        &mut self,
        offset: i64,
        append_time_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) {
        let run = self.runs.last_mut().expect("begin comes before push");
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let mut count = 0;
        for (name, value) in headers {
            for part in [name.as_bytes(), value] {
                self.bytes.extend_from_slice(&length(part).to_le_bytes());
                self.bytes.extend_from_slice(part);
            }
            count += 1;
        }
        self.heads.push(Head {
            offset,
            append_time_ms,
            begin,
            key: Length::of(key),
            value: Length::of(value),
            headers: count,
        });
        run.end = self.heads.len();
    }

    /// Runs in the order in which they were read; none is empty.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let mut begin = 0;
        self.runs
            .iter()
            .map(move |run| {
                let heads = &self.heads[begin..run.end];
                begin = run.end;
                Run {
                    place: &run.place,
                    heads,
                    bytes: &self.bytes,
                }
            })
            .filter(|run| !run.is_empty())
    }

    /// Records in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        self.runs().flat_map(|run| run.records())
    }

    /// Copies of all records.
    #[must_use]
    pub fn to_records(&self) -> Vec<Record> {
        self.iter().map(RecordRef::to_record).collect()
    }
}

impl<'a> Run<'a> {
    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// True without records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Where to go on after this run.
    #[must_use]
    pub fn next_offset(&self) -> Option<i64> {
        self.heads.last().map(|head| head.offset + 1)
    }

    /// In offset order.
    pub fn records(self) -> impl Iterator<Item = RecordRef<'a>> {
        self.heads.iter().map(move |head| {
            let (key, rest) = head.key.split(&self.bytes[head.begin..]);
            let (value, packed) = head.value.split(rest);
            RecordRef {
                place: self.place,
                offset: head.offset,
                append_time_ms: head.append_time_ms,
                key,
                value,
                headers: head.headers,
                packed,
            }
        })
    }
}

impl<'a> RecordRef<'a> {
    /// Names and values, in order.
    pub fn headers(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.packed;
        (0..self.headers).map(move |_| {
            let name = take(&mut rest);
            // they were pushed as `str`
            (
                std::str::from_utf8(name).unwrap_or_default(),
                take(&mut rest),
            )
        })
    }

    /// A copy that outlives the chunk.
    #[must_use]
    pub fn to_record(self) -> Record {
        let headers: Headers = self
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        Record {
            topic: self.place.topic.clone(),
            partition: self.place.partition,
            offset: self.offset,
            append_time_ms: self.append_time_ms,
            key: self.key.map(<[u8]>::to_vec),
            value: self.value.map(<[u8]>::to_vec),
            headers,
        }
    }
}

fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let Some((length, behind)) = rest.split_first_chunk() else {
        return &[];
    };
    let (part, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
    *rest = behind;
    part
}

impl FromIterator<Record> for Chunk {
    fn from_iter<I: IntoIterator<Item = Record>>(records: I) -> Self {
        let mut chunk = Chunk::default();
        chunk.extend(records);
        chunk
    }
}

impl Extend<Record> for Chunk {
    fn extend<I: IntoIterator<Item = Record>>(&mut self, records: I) {
        for record in records {
            self.begin(&record.place());
            self.push(
                record.offset,
                record.append_time_ms,
                record.key.as_deref(),
                record.value.as_deref(),
                record
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_slice())),
            );
        }
    }
}

impl PartialEq for RecordRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        (
            self.place,
            self.offset,
            self.append_time_ms,
            self.key,
            self.value,
        ) == (
            other.place,
            other.offset,
            other.append_time_ms,
            other.key,
            other.value,
        ) && self.headers().eq(other.headers())
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Chunk {}

impl fmt::Debug for RecordRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_record().fmt(f)
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str, partition: i32, offset: i64) -> Record {
        Record {
            topic: topic.into(),
            partition,
            offset,
            append_time_ms: 1_000 + offset,
            key: Some(format!("k{offset}").into_bytes()),
            value: Some(vec![offset as u8; 3]),
            headers: Vec::new(),
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut records = vec![
            record("a", 0, 1),
            record("a", 0, 4),
            record("a", 1, 0),
            record("b", 1, 7),
            record("a", 0, 5),
        ];
        records[1].key = None;
        records[2].value = None;
        records[3].value = Some(Vec::new());
        records[3].headers = vec![
            ("x".into(), vec![1, 2]),
            (String::new(), Vec::new()),
            ("x".into(), vec![3]),
        ];
        let chunk: Chunk = records.iter().cloned().collect();
        assert_eq!(chunk.len(), 5);
        assert_eq!(chunk.to_records(), records);
        assert_eq!(chunk, records.iter().cloned().collect());
        assert_ne!(chunk, records[1..].iter().cloned().collect());
    }

    #[test]
    fn runs_are_what_follows_each_other_in_one_partition() {
        let places = [
            ("a", 0, 1),
            ("a", 0, 4),
            ("a", 1, 0),
            ("b", 1, 7),
            ("a", 0, 5),
            ("a", 0, 6),
        ];
        let chunk: Chunk = places
            .iter()
            .map(|(topic, partition, offset)| record(topic, *partition, *offset))
            .collect();
        let runs: Vec<_> = chunk
            .runs()
            .map(|run| (run.place.to_string(), run.len(), run.next_offset()))
            .collect();
        assert_eq!(
            runs,
            [
                ("a[0]".to_owned(), 2, Some(5)),
                ("a[1]".to_owned(), 1, Some(1)),
                ("b[1]".to_owned(), 1, Some(8)),
                ("a[0]".to_owned(), 2, Some(7)),
            ]
        );
    }

    #[test]
    fn a_run_without_records_is_not_seen() {
        let mut chunk = Chunk::default();
        chunk.begin(&TopicPartition::new("a", 0));
        chunk.begin(&TopicPartition::new("a", 1));
        assert!(chunk.is_empty());
        assert_eq!(chunk.runs().count(), 0);
        chunk.push(3, 0, None, Some(b"v"), []);
        chunk.begin(&TopicPartition::new("a", 2));
        let places: Vec<_> = chunk.iter().map(|record| record.place.partition).collect();
        assert_eq!(places, [1]);
    }

    #[test]
    fn a_cleared_chunk_is_an_empty_one() {
        let mut chunk: Chunk = [record("a", 0, 1)].into_iter().collect();
        chunk.clear();
        assert_eq!(chunk, Chunk::default());
        chunk.extend([record("a", 1, 1)]);
        assert_eq!(chunk.to_records(), [record("a", 1, 1)]);
    }
}
