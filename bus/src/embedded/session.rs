//! A session on the embedded log. What it has sent lies in memory, packed, until `commit` writes it.

mod commit;
mod open;
mod reading;
mod sending;

use super::batch::Builder;
use super::owner::GroupLock;
use super::{Shared, read};
use crate::log::{
    Fault, Gap, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition, TopicState,
};
use reading::Reading;
use rusqlite::{OptionalExtension, params};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// What retention took before it was read, until the owner is told.
    gaps: Vec<Gap>,
}

impl EmbeddedSession {
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
            if !self.gaps.is_empty() {
                // told before what lies behind it: those records go back
                for record in records.iter().rev() {
                    if let Some(reading) = self.reading.get_mut(&record.place()) {
                        reading.position = record.offset;
                        reading.ahead.clear();
                    }
                }
                self.idle_at = None;
                return Ok(Poll::Overtaken(std::mem::take(&mut self.gaps)));
            }
            if !records.is_empty() {
                return Ok(Poll::Records(records.into_iter().collect()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // a pass keeps every other process from writing: never sleep in one
            if left.is_zero() || self.shared.writer().pass.is_some() {
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
        self.replay(part, from, each)
    }

    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        self.put(out)
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
