//! The promise that every log keeps: records in order, outputs and offsets together or not at all, one owner at a time.
//!
//! A [`Log`] is a place with topics. A [`Session`] is one thread's part in it: it reads the partitions that it was given
//! and writes inside transactions. A [`Reader`] only looks. Nothing here knows what a record means.
//!
//! Whoever implements this runs the contract suite (`contract`, feature `contract-suite`); it is done when that passes.

use crate::chunk::Chunk;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// From 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition by name and number.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)
    }
}

/// For each partition the offset that is to be read *next*.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// A record's headers, in order; a name may occur twice.
pub type Headers = Vec<(String, Vec<u8>)>;

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic's full name.
    pub topic: Arc<str>,
    /// From 0.
    pub partition: i32,
    /// Grows within a partition; gaps are normal (transaction markers, compaction).
    pub offset: i64,
    /// When the log took it, milliseconds since 1970; never decreases within a partition of an `append_time` topic.
    pub append_time_ms: i64,
    /// What compaction keeps the latest of.
    pub key: Option<Vec<u8>>,
    /// None deletes the key in a compacted topic.
    pub value: Option<Vec<u8>>,
    /// In the order in which they were sent.
    pub headers: Headers,
}

impl Record {
    /// Where it lies.
    pub fn place(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }
}

/// A record to be written; the caller has chosen the partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The topic's full name; it must exist.
    pub topic: Arc<str>,
    /// From 0; must exist.
    pub partition: i32,
    /// Required in a compacted topic.
    pub key: Option<Vec<u8>>,
    /// None deletes the key in a compacted topic.
    pub value: Option<Vec<u8>>,
    /// Kept in order.
    pub headers: Headers,
}

impl Outgoing {
    /// Its size against a topic's `max_message_bytes`: key, value, headers and what a batch with one record costs in Kafka.
    pub fn size_bytes(&self) -> usize {
        /// A record batch's header (61), a record's own fields at their largest (21).
        const OVERHEAD: usize = 61 + 21;
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len() + 10)
            .sum();
        length(&self.key) + length(&self.value) + headers + OVERHEAD
    }
}

/// What went wrong, sorted by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The transaction left nothing, or will once [`Session::abort`] was called. Rebuild from the last commit, same session.
    #[error("the transaction was aborted: {0}")]
    Abort(String),
    /// It is not known whether the transaction was committed. Drop the session, open a new one (which decides it), restore.
    #[error("the transaction's outcome is not known: {0}")]
    Unknown(String),
    /// Somebody else took over. Stop; what this session did since its last commit is void.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Waiting does not help: tell the user.
    #[error("{0}")]
    Config(String),
    /// Nobody answers. Wait and try again, or stop and say so; nothing was begun.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
}

impl Fault {
    /// The variant's name in snake case, for metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Abort(_) => "abort",
            Fault::Unknown(_) => "unknown",
            Fault::Fenced(_) => "fenced",
            Fault::Config(_) => "config",
            Fault::Unreachable(_) => "unreachable",
        }
    }
}

/// Who opens a session, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The task kind; part of the transactional id.
    pub operator: String,
    /// Whose offsets; the members of a group share the partitions of its topics.
    pub group: String,
    /// Stable across restarts (`--instance-id`): a restart takes its partitions back at once.
    pub instance: String,
    /// Number of the thread within the instance.
    pub thread: u32,
    /// Exact names. Empty: a writer only, which joins no group.
    pub topics: Vec<String>,
}

/// What a session has for its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// At least one record; in offset order within each partition.
    Records(Chunk),
    /// These partitions are ours now: restore, then answer with [`Session::assigned`]. Nothing of them is delivered before.
    /// None of them: the group has more members than partitions; answered all the same.
    Assigned(Vec<TopicPartition>),
    /// These are to be given up: commit or abort what is open, then answer with [`Session::revoked`].
    Revoked(Vec<TopicPartition>),
    /// These are gone already: abort, never commit; then answer with [`Session::revoked`].
    Lost(Vec<TopicPartition>),
    /// What was to be read next is not there any more: retention has overtaken the reader, or the topic was made anew. Reading
    /// goes on at the start of what there is; the owner has to say so, because what is gone is lost.
    Overtaken(Vec<Gap>),
    /// Nothing within the patience.
    Idle,
}

/// Offsets that are not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Of which partition.
    pub part: TopicPartition,
    /// What was to be read next.
    pub from: i64,
    /// What is read next instead; less than `from` where the partition was made anew or cut off.
    pub to: i64,
}

/// What a topic keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// The latest record of each key; a tombstone (no value) disappears `delete_retention_ms` after it was written.
    Compact,
    /// Records at least as young as this; negative: all, for ever.
    Delete {
        /// Milliseconds.
        retention_ms: i64,
    },
}

/// A topic that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The full name.
    pub name: String,
    /// Fixed once created.
    pub partitions: i32,
    /// What it keeps.
    pub cleanup: Cleanup,
    /// The log stamps records (Kafka's LogAppendTime); otherwise the producer's time stands.
    pub append_time: bool,
    /// Larger records are refused.
    pub max_message_bytes: u32,
    /// How long a tombstone stays visible to readers of a compacted topic; 24 h, so that a reader who began before it was
    /// written sees it.
    pub delete_retention_ms: i64,
    /// Further settings by their Kafka names; the embedded log has no use for them.
    pub extra: BTreeMap<String, String>,
}

impl TopicSpec {
    /// Kafka's own default for a record batch: a value that every broker accepts.
    pub const MAX_MESSAGE_BYTES: u32 = 1_048_588;
    /// Kafka's default, 24 h.
    pub const DELETE_RETENTION_MS: i64 = 24 * 3_600_000;

    /// A topic with append times, the default size limit and no further settings.
    pub fn new(name: impl Into<String>, partitions: i32, cleanup: Cleanup) -> Self {
        Self {
            name: name.into(),
            partitions,
            cleanup,
            append_time: true,
            max_message_bytes: Self::MAX_MESSAGE_BYTES,
            delete_retention_ms: Self::DELETE_RETENTION_MS,
            extra: BTreeMap::new(),
        }
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// How many.
    pub partitions: i32,
    /// What it keeps.
    pub cleanup: Cleanup,
    /// The log stamps records.
    pub append_time: bool,
    /// Larger records are refused.
    pub max_message_bytes: u32,
    /// How long tombstones stay.
    pub delete_retention_ms: i64,
}

/// A place with topics.
pub trait Log: Send + Sync {
    /// `kafka` or `embedded`.
    fn kind(&self) -> &'static str;

    /// Every topic that this user may see. One or two round trips.
    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault>;

    /// Creates what is missing and changes nothing else; returns the names created. When it returns, they can be used.
    fn create(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, Fault>;

    /// Adds partitions to a topic until it has so many; where it has them, nothing happens. When it returns, they can be used.
    /// Readers and sessions that were opened before may not know them.
    fn grow(&self, topic: &str, partitions: i32) -> Result<(), Fault> {
        Err(Fault::Config(format!(
            "this log cannot give {topic} {partitions} partitions"
        )))
    }

    /// Begins a session: from here on its predecessor of the same operator, instance and thread can commit nothing, and what
    /// it left open is aborted or committed, not pending. Costs a few round trips, and waits while a predecessor's commit is
    /// being completed.
    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault>;

    /// A reader without a group: sees what is committed, changes nothing.
    fn reader(&self) -> Result<Box<dyn Reader>, Fault>;

    /// Begins a pass of this thread: until [`Log::pass_end`] the commits that it makes, of whatever sessions of this `Log`,
    /// become durable together, and each session reads what the others have committed in it. Other processes see it
    /// afterwards, and other threads wait until it is over: what they commit is durable when they are told so. Kafka has no
    /// passes: nothing happens. [`Fault::Unreachable`]: another process writes; nothing was begun, try again.
    fn pass_begin(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes the pass durable. After a fault the work of *every* session in the pass is undone: treat each as aborted.
    fn pass_end(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Compaction and retention as the topics say. Kafka does that by itself; the embedded log takes one step, in short
    /// transactions, and returns whether there is more to do. Not inside a pass.
    fn maintain(&self) -> Result<bool, Fault> {
        Ok(false)
    }
}

/// One thread's part in a log: reads what it was given, writes in transactions.
///
/// After [`Fault::Abort`]: `abort`, rebuild, `seek` to the committed offsets. After [`Fault::Unknown`] or
/// [`Fault::Fenced`]: only `close` or drop.
pub trait Session {
    /// From now on records may come without their headers, for an owner that looks at none. On Kafka it spares a buffer for
    /// each record, 12 % of the processor time of a fast topic; other logs may do nothing.
    fn leave_out_headers(&mut self) {}

    /// The next records or the next change of ownership. Waits at most `patience`, returns at most `max_records`; polling is
    /// also what keeps the membership alive, so poll on while everything is paused.
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault>;

    /// Answers [`Poll::Assigned`], after the restore: reading begins at these offsets; a partition that is absent begins at
    /// its committed offset, or at the start of the log.
    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault>;

    /// Answers [`Poll::Revoked`] and [`Poll::Lost`]: nothing of these is delivered any more.
    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault>;

    /// The group's *stable* offsets: waits while a predecessor's transaction that holds some is undecided. Absent: nothing
    /// was committed, begin at the start of the log.
    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault>;

    /// Everything committed in a partition, from this offset (or the start of the log, where that is later) up to the high
    /// watermark at the time of the call (beyond the last stable offset: a transaction that is undecided there is waited for).
    /// Returns the next offset, which is less than `from` where the log does not reach it. For changelogs; needs no assignment.
    fn read_from(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault>;

    /// [`Session::read_from`] the start of the log.
    fn read_to_end(
        &mut self,
        part: &TopicPartition,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        self.read_from(part, 0, each)
    }

    /// Adds a record to the transaction, which begins with the first one. Order within a partition is kept.
    fn send(&mut self, out: Outgoing) -> Result<(), Fault>;

    /// True once the log has everything that was sent, so that a commit would not wait for it (on Kafka: for the linger of
    /// the last batch). Who has other work meanwhile asks, sends nothing until the commit, and loses no time.
    fn is_delivered(&mut self) -> Result<bool, Fault> {
        Ok(true)
    }

    /// Everything sent since the last commit becomes visible together with these offsets, or nothing does. Offsets without
    /// records and records without offsets are fine; with neither it does nothing.
    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault>;

    /// Drops everything sent since the last commit; nobody ever sees it. Positions stay: `seek` to the committed offsets.
    fn abort(&mut self) -> Result<(), Fault>;

    /// Reading goes on at these offsets; the others stay. Only partitions that were answered with `assigned`.
    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault>;

    /// Delivers nothing of these until `resume`; membership goes on while polled. Positions stay.
    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault>;

    /// Ends `pause`.
    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault>;

    /// The end of what a read-committed reader can see now. A position that has reached it has nothing left to read.
    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault>;

    /// What `poll` will return next, for each assigned partition; passes what is never delivered (markers, aborted and
    /// compacted records) as soon as a poll has met it.
    fn position(&mut self) -> Result<Offsets, Fault>;

    /// The same, but looks for what is never delivered in these alone: to look into a backlog is to read it.
    ///
    /// # Errors
    /// See [`Session::position`].
    fn passed(&mut self, _parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.position()
    }

    /// Aborts what is open and leaves. A static member's partitions stay reserved for it for the session time-out.
    fn close(self: Box<Self>, deadline: Duration) -> Result<(), Fault>;
}

/// Looks at a log, read-committed, without a group.
pub trait Reader {
    /// Start and stable end of each partition of these topics; unknown topics are a [`Fault::Config`].
    fn ends(&mut self, topics: &[&str]) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Fault>;

    /// At most `max` records from these positions on, and the positions to go on from (which pass what is never delivered).
    /// Waits at most `patience` for the first.
    fn read(
        &mut self,
        from: &Offsets,
        patience: Duration,
        max: usize,
    ) -> Result<(Vec<Record>, Offsets), Fault>;
}

/// What a registry says about an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The schema's text.
    Schema(Arc<str>),
    /// The registry answered that it has no such id.
    Denied,
}

/// Schemas by number.
pub trait SchemaRegistry: Send + Sync {
    /// The id under which a subject holds this schema; registers it where it is new. [`Fault::Config`]: refused (not
    /// compatible, no schema, not allowed). [`Fault::Unreachable`]: no answer, or a 5xx.
    fn id_of(&self, subject: &str, schema: &str) -> Result<u32, Fault>;

    /// The schema of an id. That it is *denied* differs from [`Fault::Unreachable`]: a row is bad, or the registry is.
    fn schema_of(&self, id: u32) -> Result<Lookup, Fault>;
}
