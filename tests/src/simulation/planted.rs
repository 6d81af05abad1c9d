//! Bugs that are planted to see that they are found: around sessions and tasks, so that nothing of them is in the product.

use cairn_bus::simulated::SimulatedLog;
use cairn_bus::{Fault, Log, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition};
use cairn_operators::operator::{Emit, Output, Remember};
use cairn_pipeline::runtime::decode::{Decoder, Undecodable};
use cairn_pipeline::runtime::task::{Applied, Kind, Task};
use std::collections::BTreeMap;
use std::time::Duration;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nothing.
    None,
    /// Outputs and offsets in two transactions.
    OffsetsOutside,
    /// After `Unknown` the commit is tried again by the same producer.
    RetryInPlace,
    /// The changelog is read before the session is opened, which fences the predecessor.
    RestoreBeforeFencing,
    /// After an abort a task keeps what it had made of the batch.
    OverlayKept,
    /// A late row is nobody's output.
    LateRowDropped,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::OffsetsOutside,
        Self::RetryInPlace,
        Self::RestoreBeforeFencing,
        Self::OverlayKept,
        Self::LateRowDropped,
    ];

    /// The kind with the bug in its tasks, where it is one of tasks.
    #[must_use]
    pub fn into_tasks(self, kind: Kind) -> Kind {
        match self {
            Self::OverlayKept => kind.wrapped(|task| Box::new(Keeping(task))),
            Self::LateRowDropped => kind.wrapped(|task| Box::new(Dropping(task))),
            _ => kind,
        }
    }

    /// A session with the bug in it, where it is one of sessions.
    ///
    /// # Errors
    /// See [`Log::open`].
    pub fn open(
        self,
        log: &SimulatedLog,
        who: Membership,
        changelog: Option<&str>,
    ) -> Result<Box<dyn Session>, Fault> {
        let early = match changelog {
            Some(changelog) if self == Self::RestoreBeforeFencing => read(log, changelog)?,
            _ => BTreeMap::new(),
        };
        let inner = log.open(who)?;
        Ok(match self {
            Self::OffsetsOutside | Self::RetryInPlace | Self::RestoreBeforeFencing => {
                Box::new(Faulty {
                    bug: self,
                    inner,
                    early,
                })
            }
            _ => inner,
        })
    }
}

type Partitions = BTreeMap<TopicPartition, Vec<Record>>;

/// Everything that is committed in a topic.
///
/// # Errors
/// See [`cairn_bus::Reader`].
pub fn read(log: &SimulatedLog, topic: &str) -> Result<Partitions, Fault> {
    let mut reader = log.reader()?;
    let mut found = Partitions::new();
    for (part, (start, end)) in reader.ends(&[topic])? {
        let mut position = Offsets::from([(part.clone(), start)]);
        let records = found.entry(part.clone()).or_default();
        while position[&part] < end {
            let (some, next) = reader.read(&position, Duration::ZERO, 1_000)?;
            records.extend(some);
            position = next;
        }
    }
    Ok(found)
}

struct Faulty {
    bug: Bug,
    inner: Box<dyn Session>,
    /// What was read too early.
    early: Partitions,
}

impl Session for Faulty {
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        self.inner.poll(patience, max_records)
    }

    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault> {
        self.inner.assigned(start)
    }

    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.inner.revoked(parts)
    }

    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.inner.committed(parts)
    }

    fn read_from(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        match self.early.remove(part) {
            Some(records) => {
                let next = records.last().map_or(0, |record| record.offset + 1);
                let wanted = records.into_iter().filter(|record| record.offset >= from);
                wanted.for_each(each);
                Ok(next.max(from))
            }
            None => self.inner.read_from(part, from, each),
        }
    }

    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        self.inner.send(out)
    }

    fn is_delivered(&mut self) -> Result<bool, Fault> {
        self.inner.is_delivered()
    }

    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        if self.bug == Bug::OffsetsOutside {
            self.inner.commit(&Offsets::new())?;
        }
        let mut committed = self.inner.commit(offsets);
        if self.bug == Bug::RetryInPlace {
            for _ in 0..3 {
                if matches!(committed, Err(Fault::Unknown(_))) {
                    committed = self.inner.commit(offsets);
                }
            }
        }
        committed
    }

    fn abort(&mut self) -> Result<(), Fault> {
        self.inner.abort()
    }

    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        self.inner.seek(offsets)
    }

    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.inner.pause(parts)
    }

    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.inner.resume(parts)
    }

    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.inner.last_stable(parts)
    }

    fn position(&mut self) -> Result<Offsets, Fault> {
        self.inner.position()
    }

    fn close(self: Box<Self>, deadline: Duration) -> Result<(), Fault> {
        self.inner.close(deadline)
    }
}

/// A task whose batch is never forgotten.
struct Keeping(Box<dyn Task>);

impl Task for Keeping {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        self.0.apply(record, decoder, emit)
    }
    fn flush(&mut self, emit: &mut Emit) {
        self.0.flush(emit);
    }
    fn drain(&mut self, emit: &mut Emit) {
        self.0.drain(emit);
    }
    fn resume(&mut self, emit: &mut Emit) {
        self.0.resume(emit);
    }
    fn due_ms(&self) -> Option<i64> {
        self.0.due_ms()
    }
    fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        self.0.state()
    }
    /// Here is the bug.
    fn discard(&mut self) {}
}

/// A task that keeps late rows to itself.
struct Dropping(Box<dyn Task>);

impl Task for Dropping {
    fn apply(
        &mut self,
        record: &Record,
        decoder: &mut Decoder,
        emit: &mut Emit,
    ) -> Result<Applied, Undecodable> {
        let mut own = Emit::default();
        let applied = self.0.apply(record, decoder, &mut own);
        emit.duplicates += own.duplicates;
        for emitted in own.take() {
            if matches!(emitted.output, Output::Late(_)) {
                continue;
            }
            emit.trace(emitted.traceparent.as_deref());
            if emitted.urgent {
                emit.put_urgent(emitted.output);
            } else {
                emit.put(emitted.output);
            }
        }
        emit.trace(None);
        applied
    }
    fn flush(&mut self, emit: &mut Emit) {
        self.0.flush(emit);
    }
    fn drain(&mut self, emit: &mut Emit) {
        self.0.drain(emit);
    }
    fn resume(&mut self, emit: &mut Emit) {
        self.0.resume(emit);
    }
    fn due_ms(&self) -> Option<i64> {
        self.0.due_ms()
    }
    fn is_waiting(&self) -> bool {
        self.0.is_waiting()
    }
    fn state(&mut self) -> Option<&mut dyn Remember> {
        self.0.state()
    }
    fn discard(&mut self) {
        self.0.discard();
    }
}
