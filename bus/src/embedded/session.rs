//! A session on the embedded log. What it has sent lies in memory, packed, until `commit` writes it.

mod commit;

use super::batch::{Builder, Packed};
use super::owner::GroupLock;
use super::{Shared, read};
use crate::log::{
    Cleanup, Fault, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition,
    TopicState,
};
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A stored batch holds about this much before compression: large enough to compress, small enough to read one record of.
const BATCH_BYTES: usize = 256 << 10;
/// What one look at a partition takes out of the file, before compression.
const FETCH_BYTES: i64 = 1 << 20;
/// What one transaction may hold in memory; a pass commits long before.
const TRANSACTION_BYTES: usize = 1 << 30;
/// How often a waiting poll looks for what other processes committed; the pause in which passes let them in.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How far the hand-over of partitions has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    /// `Assigned` was not delivered yet.
    New,
    /// Delivered, not answered.
    Offered,
    Held,
    /// Given up, or none to have.
    Nothing,
}

/// A batch that is ready to be written: records, size before compression, data.
type Batch = (i64, usize, Vec<u8>);

/// A partition that is being read.
struct Reading {
    position: i64,
    ahead: VecDeque<Packed>,
    paused: bool,
}

pub(super) struct EmbeddedSession {
    shared: Arc<Shared>,
    who: Membership,
    /// Held for as long as the session lives.
    _lock: Option<Arc<GroupLock>>,
    owner_epoch: i64,
    group_epoch: i64,
    topics: BTreeMap<String, TopicState>,
    hold: Hold,
    reading: BTreeMap<TopicPartition, Reading>,
    pending: BTreeMap<TopicPartition, Vec<Builder>>,
    pending_bytes: usize,
    /// How many passes had been undone when this session last began anew.
    undone: u64,
    /// Which partition is served first; goes round, so that a full one starves none.
    turn: usize,
    /// What `commits` and SQLite's `data_version` were when there was nothing left to read.
    idle_at: Option<(u64, i64)>,
}

impl EmbeddedSession {
    pub(super) fn open(shared: Arc<Shared>, who: Membership) -> Result<Self, Fault> {
        let lock = if who.topics.is_empty() {
            None
        } else {
            Some(shared.group_lock(&who.group, &who.instance)?)
        };
        let fault = shared.fault("opening a session");
        let now = shared.now_ms();
        let mut writer = shared.writer();
        if writer.pass {
            return Err(Fault::Config(
                "a session cannot be opened inside a pass".into(),
            ));
        }
        let topics = read::topics(&writer.connection).map_err(&fault)?;
        let missing: Vec<_> = who
            .topics
            .iter()
            .filter(|name| !topics.contains_key(*name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(Fault::Config(format!(
                "there is no topic {}; `cairn topics apply` creates the topics of the catalogue",
                missing.join(", ")
            )));
        }
        let undone = writer.undone;
        let (owner_epoch, group_epoch) = writer.transact(&fault, |connection| {
            let owner_epoch = connection
                .query_row(
                    "INSERT INTO owners VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT DO UPDATE
                     SET epoch = epoch + 1, pid = excluded.pid, since_ms = excluded.since_ms RETURNING epoch",
                    params![who.operator, who.instance, who.thread, std::process::id(), now],
                    |row| row.get(0),
                )
                .map_err(&fault)?;
            if who.topics.is_empty() {
                return Ok((owner_epoch, 0));
            }
            let group_epoch = connection
                .query_row(
                    "INSERT INTO consumer_groups VALUES (?1, 1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
                     SET epoch = epoch + 1, pid = excluded.pid, instance = excluded.instance, since_ms = excluded.since_ms
                     RETURNING epoch",
                    params![who.group, std::process::id(), who.instance, now],
                    |row| row.get(0),
                )
                .map_err(&fault)?;
            Ok((owner_epoch, group_epoch))
        })?;
        drop(writer);
        drop(fault);
        let hold = if who.topics.is_empty() {
            Hold::Nothing
        } else {
            Hold::New
        };
        Ok(Self {
            shared,
            who,
            _lock: lock,
            owner_epoch,
            group_epoch,
            topics,
            hold,
            reading: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            undone,
            turn: 0,
            idle_at: None,
        })
    }

    /// All partitions of the topics of this member.
    fn partitions(&self) -> Vec<TopicPartition> {
        let mut parts = Vec::new();
        for name in &self.who.topics {
            let topic: Arc<str> = Arc::from(name.as_str());
            let count = self.topics.get(name).map_or(0, |state| state.partitions);
            parts.extend((0..count).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            }));
        }
        parts
    }

    fn still_whole(&self, undone: u64) -> Result<(), Fault> {
        if undone == self.undone {
            return Ok(());
        }
        Err(Fault::Abort(
            "the pass was undone; seek to the committed offsets".into(),
        ))
    }

    /// Goes on after an abort or an undone pass: nothing pending, nothing read ahead.
    fn begin_anew(&mut self, undone: u64) {
        self.undone = undone;
        self.pending.clear();
        self.pending_bytes = 0;
        self.idle_at = None;
        for reading in self.reading.values_mut() {
            reading.ahead.clear();
        }
    }

    /// What can be delivered now.
    fn gather(&mut self, max_records: usize) -> Result<Vec<Record>, Fault> {
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
}

impl Session for EmbeddedSession {
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        match self.hold {
            Hold::New => {
                self.hold = Hold::Offered;
                return Ok(Poll::Assigned(self.partitions()));
            }
            Hold::Offered | Hold::Nothing => return Ok(Poll::Idle),
            Hold::Held => {}
        }
        let deadline = Instant::now() + patience;
        loop {
            let records = self.gather(max_records.max(1))?;
            if !records.is_empty() {
                return Ok(Poll::Records(records.into_iter().collect()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // a pass keeps every other process from writing: never sleep in one
            if left.is_zero() || self.shared.writer().pass {
                return Ok(Poll::Idle);
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
    }

    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault> {
        if self.hold != Hold::Offered {
            return Err(Fault::Config(
                "nothing was assigned that is not answered yet".into(),
            ));
        }
        let parts = self.partitions();
        let committed = self.committed(&parts)?;
        let writer = self.shared.writer();
        for part in parts {
            let place = read::known_place(
                &writer.connection,
                &part,
                self.shared.fault("beginning to read"),
            )?;
            let position = start
                .get(&part)
                .or(committed.get(&part))
                .copied()
                .unwrap_or(place.start);
            self.reading.insert(
                part,
                Reading {
                    position,
                    ahead: VecDeque::new(),
                    paused: false,
                },
            );
        }
        drop(writer);
        self.hold = Hold::Held;
        self.idle_at = None;
        Ok(())
    }

    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            self.reading.remove(part);
        }
        if self.reading.is_empty() {
            self.hold = Hold::Nothing;
        }
        Ok(())
    }

    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let writer = self.shared.writer();
        let fault = self.shared.fault("reading committed offsets");
        let mut offsets = Offsets::new();
        for part in parts {
            let next: Option<i64> = writer
                .connection
                .prepare_cached(
                    "SELECT next_offset FROM offsets WHERE consumer_group = ?1 AND topic = ?2 AND partition = ?3",
                )
                .and_then(|mut select| {
                    select.query_row(params![self.who.group, &*part.topic, part.partition], |row| row.get(0)).optional()
                })
                .map_err(&fault)?;
            if let Some(next) = next {
                offsets.insert(part.clone(), next);
            }
        }
        Ok(offsets)
    }

    fn read_from(
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

    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        if !self.topics.contains_key(&*out.topic) {
            self.topics = read::topics(&self.shared.writer().connection)
                .map_err(self.shared.fault("reading topics"))?;
        }
        let part = TopicPartition {
            topic: out.topic.clone(),
            partition: out.partition,
        };
        let Some(topic) = self
            .topics
            .get(&*out.topic)
            .filter(|topic| (0..topic.partitions).contains(&out.partition))
        else {
            return Err(Fault::Config(format!(
                "there is no {part}; `cairn topics apply` creates the topics of the catalogue"
            )));
        };
        let size = out.size_bytes();
        if size > topic.max_message_bytes as usize {
            return Err(Fault::Config(format!(
                "a record of {size} bytes for {part} is larger than the topic's max_message_bytes {}",
                topic.max_message_bytes
            )));
        }
        if topic.cleanup == Cleanup::Compact && out.key.is_none() {
            return Err(Fault::Config(format!(
                "a record for {part} has no key, but the topic is compacted by key"
            )));
        }
        self.pending_bytes += size;
        if self.pending_bytes > TRANSACTION_BYTES {
            return Err(Fault::Config(format!(
                "one transaction holds more than {TRANSACTION_BYTES} bytes; commit more often"
            )));
        }
        let builders = self.pending.entry(part).or_default();
        if builders
            .last()
            .is_none_or(|builder| builder.len_bytes() >= BATCH_BYTES)
        {
            builders.push(Builder::default());
        }
        if let Some(builder) = builders.last_mut() {
            builder.push(
                builder.records(),
                0,
                out.key.as_deref(),
                out.value.as_deref(),
                &out.headers,
            );
        }
        Ok(())
    }

    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        if self.who.topics.is_empty() && !offsets.is_empty() {
            return Err(Fault::Config(format!(
                "{} is a writer only: it has no offsets to commit",
                self.who.operator
            )));
        }
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        // packed before the write lock is taken
        let batches: Vec<_> = pending
            .into_iter()
            .map(|(part, builders)| {
                let packed = builders
                    .iter()
                    .map(|b| (b.records(), b.len_bytes(), b.compress()))
                    .collect::<Vec<_>>();
                (part, packed)
            })
            .collect();
        let mut writer = self.shared.writer();
        self.still_whole(writer.undone)?;
        if batches.is_empty() && offsets.is_empty() {
            return Ok(());
        }
        let fault = self.shared.fault("committing");
        let result = writer.transact(&fault, |connection| {
            self.write(connection, &batches, offsets)
        });
        drop(writer);
        self.shared.committed();
        match result {
            // nothing was written, but what was to be written is gone too
            Err(Fault::Unreachable(text)) => Err(Fault::Abort(text)),
            other => other,
        }
    }

    fn abort(&mut self) -> Result<(), Fault> {
        let undone = self.shared.writer().undone;
        self.begin_anew(undone);
        Ok(())
    }

    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let undone = self.shared.writer().undone;
        if undone != self.undone {
            self.begin_anew(undone);
        }
        for (part, next) in offsets {
            let Some(reading) = self.reading.get_mut(part) else {
                return Err(Fault::Config(format!(
                    "cannot seek in {part}: it is not assigned"
                )));
            };
            reading.position = *next;
            reading.ahead.clear();
        }
        self.idle_at = None;
        Ok(())
    }

    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            if let Some(reading) = self.reading.get_mut(part) {
                reading.paused = true;
            }
        }
        Ok(())
    }

    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            if let Some(reading) = self.reading.get_mut(part) {
                reading.paused = false;
            }
        }
        self.idle_at = None;
        Ok(())
    }

    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let writer = self.shared.writer();
        let fault = self.shared.fault("reading ends");
        parts
            .iter()
            .map(|part| {
                Ok((
                    part.clone(),
                    read::known_place(&writer.connection, part, &fault)?.next,
                ))
            })
            .collect()
    }

    fn position(&mut self) -> Result<Offsets, Fault> {
        Ok(self
            .reading
            .iter()
            .map(|(part, reading)| (part.clone(), reading.position))
            .collect())
    }

    fn close(self: Box<Self>, _deadline: Duration) -> Result<(), Fault> {
        Ok(())
    }
}
