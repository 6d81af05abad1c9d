//! One thread's part: a consumer, a producer, the tasks of the partitions it owns, and the transaction that binds them.
//!
//! ```text
//!            poll ──► apply ──► apply ──► … ──► commit: flush cores, send outputs + changelog + cut + tick + offsets
//!  assigned: restore from the changelog ──► committed offsets ──► go      revoked: commit, let go     lost: abort, let go
//! ```
//!
//! The commit interval (see [`pacing`]) is a maximum: an urgent output, a full batch, a rebalance, or a moment without input commits earlier. After an abort the
//! overlays are dropped and the input is read again from the last commit; any other fault ends the member, and the
//! supervisor builds a new one, whose session fences this one.

mod committing;
mod ending;
mod guarding;
mod owning;
mod pacing;
mod reading;
mod restoring;

pub(crate) use reading::origin;

use super::decode::Decoder;
use super::encode::Encoder;
use super::executor::Executor;
use super::merge::{Merge, MergeLimits};
use super::order;
use super::snapshot::SnapshotLimits;
use super::suspects::Suspects;
use super::task::{Kind, Task};
use super::timepiece::Timepiece;
use crate::config::RuntimeConfig;
use crate::metrics::Metrics;
use cairn_avro::record::{Answer, CutCause, Offset};
use cairn_bus::{Fault, Offsets, Poll, Session, TopicPartition};
use cairn_operators::operator::Emit;
use guarding::Watch;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was read, applied or committed.
    Moved,
    /// Nothing to do for now.
    Idle,
}

/// Counts of one member since its start, for `--drain` and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records applied and committed.
    pub records_in: u64,
    /// Records written and committed, changelog left out.
    pub records_out: u64,
    /// Late rows.
    pub late: u64,
    /// Dead letters.
    pub dead: u64,
}

/// What is open since the last commit.
#[derive(Default)]
struct Batch {
    begun: Option<Instant>,
    records: u64,
    /// Next offsets of what was applied.
    offsets: Offsets,
    /// After each chunk, the inputs' next offsets, and what else moved a task: what a replay needs (DESIGN §3.6).
    cuts: Vec<(i32, CutCause, Vec<Offset>)>,
    /// Greatest append time applied, for the end-to-end histogram.
    oldest_append_ms: Option<i64>,
    traceparents: Vec<String>,
    /// The record applied last.
    last: Option<(TopicPartition, i64)>,
}

/// A thread's consumer, producer and tasks.
pub struct Member {
    kind: Arc<Kind>,
    session: Box<dyn Session>,
    decoder: Decoder,
    encoder: Arc<Encoder>,
    executor: Executor,
    settings: RuntimeConfig,
    metrics: Arc<Metrics>,
    clock: Timepiece,
    snapshots: SnapshotLimits,
    copies: BTreeMap<i32, restoring::Copy>,
    /// By partition; a kind without state has one for all, so that what it packs stays in order of time.
    tasks: BTreeMap<i32, Box<dyn Task>>,
    owned: BTreeSet<TopicPartition>,
    emit: Emit,
    batch: Batch,
    pace: pacing::Pace,
    /// Next offset of each owned partition as of the last commit.
    applied: Offsets,
    /// For a kind without state: what is held back so that partitions stay in order of time.
    merge: Option<Merge>,
    /// When the ends were last asked for, while a backlog is worked off.
    learned: Option<Instant>,
    polled: Option<Instant>,
    batch_number: i64,
    /// Partitions that wait for something out of reach, and until when.
    paused: BTreeMap<TopicPartition, Instant>,
    /// With `--drain`: where to stop reading; partitions without an entry are read to their end.
    limits: Option<Offsets>,
    ticked: BTreeMap<i32, Instant>,
    /// Answers of the executor that are not committed yet; an abort does not lose them.
    answers: Vec<Answer>,
    /// Tasks whose resumed asks are not committed yet.
    resumed: BTreeSet<i32>,
    /// True once the group has said what is ours, be it nothing.
    has_joined: bool,
    counts: Counts,
    /// Guards that are open.
    watch: Watch,
    /// Records that made a core of this kind panic, in the lives of all its members.
    suspects: Arc<Suspects>,
    /// Name of the process, as guards tell it.
    instance: String,
}

impl Member {
    /// A member that owns nothing yet.
    #[must_use]
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts of a member, each named at its one call"
    )]
    pub fn new(
        kind: Arc<Kind>,
        session: Box<dyn Session>,
        decoder: Decoder,
        encoder: Arc<Encoder>,
        executor: Executor,
        settings: RuntimeConfig,
        metrics: Arc<Metrics>,
        limits: Option<Offsets>,
    ) -> Self {
        let merge = kind.changelog.is_none().then(|| {
            Merge::new(MergeLimits {
                records_max: settings.merge_records_max,
                bytes_max: settings.merge_bytes_max,
                wait_max: Duration::from_millis(settings.merge_wait_ms_max),
            })
        });
        Self {
            watch: Watch::new(kind.name),
            suspects: Arc::default(),
            instance: String::new(),
            kind,
            session,
            decoder,
            encoder,
            executor,
            settings,
            metrics,
            clock: Timepiece::default(),
            snapshots: SnapshotLimits::none(),
            copies: BTreeMap::new(),
            tasks: BTreeMap::new(),
            owned: BTreeSet::new(),
            emit: Emit::default(),
            batch: Batch::default(),
            pace: pacing::Pace::default(),
            applied: Offsets::new(),
            merge,
            learned: None,
            polled: None,
            batch_number: 0,
            paused: BTreeMap::new(),
            limits,
            ticked: BTreeMap::new(),
            answers: Vec::new(),
            resumed: BTreeSet::new(),
            has_joined: false,
            counts: Counts::default(),
        }
    }

    /// The same member by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Timepiece) -> Self {
        self.decoder.set_clock(clock.clone());
        self.clock = clock;
        self
    }

    /// The same member with snapshots of its tasks' states.
    #[must_use]
    pub fn with_snapshots(mut self, limits: SnapshotLimits) -> Self {
        self.snapshots = limits;
        self
    }

    /// The same member in a process of this name, which remembers what made its cores panic.
    #[must_use]
    pub fn in_process(mut self, instance: &str, suspects: Arc<Suspects>) -> Self {
        instance.clone_into(&mut self.instance);
        self.suspects = suspects;
        self
    }

    /// The task kind.
    #[must_use]
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// What was committed since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Partitions that it owns.
    #[must_use]
    pub fn owned(&self) -> &BTreeSet<TopicPartition> {
        &self.owned
    }

    /// True once the group has said what this member owns, be it nothing.
    #[must_use]
    pub fn has_joined(&self) -> bool {
        self.has_joined
    }

    /// Polls once, applies what came, and commits when it is time.
    ///
    /// # Errors
    /// A fault after which this member is void: drop it and build another. [`Fault::Abort`] is dealt with here.
    pub fn step(&mut self, patience: Duration) -> Result<Step, Fault> {
        let step = self.poll_once(patience);
        match step {
            Err(Fault::Abort(why)) => {
                self.note_abort(&why);
                self.roll_back()?;
                Ok(Step::Moved)
            }
            other => other,
        }
    }

    fn poll_once(&mut self, patience: Duration) -> Result<Step, Fault> {
        self.resume_paused()?;
        self.end_holds()?;
        self.tell_slow();
        let open = self.batch.begun.map(|begun| self.clock.since(begun));
        let mut left = open.map_or(patience, |open| {
            self.interval().saturating_sub(open).min(patience)
        });
        let idle_commit = Duration::from_millis(self.settings.idle_commit_ms);
        if open.is_some() {
            left = left.min(idle_commit);
        }
        let mut is_idle = false;
        if self.merge.as_ref().is_some_and(Merge::has_ready) {
            left = Duration::ZERO;
        }
        self.learn_again()?;
        let narrowed = self.suspects.limit().unwrap_or(usize::MAX);
        let most = self.settings.poll_records_max.min(narrowed);
        let moved = match self.session.poll(left, most)? {
            Poll::Records(chunk) => {
                let mut records = chunk.to_records();
                if let Some(merge) = &mut self.merge {
                    merge.take(records);
                } else {
                    order::by_place(&mut records);
                    self.apply(records)?;
                }
                true
            }
            Poll::Overtaken(gaps) => {
                self.overtaken(&gaps);
                if let Some(merge) = &mut self.merge {
                    merge.passed(&self.session.position()?);
                }
                true
            }
            Poll::Assigned(parts) => {
                self.take_over(parts)?;
                true
            }
            Poll::Revoked(parts) => {
                self.give_back(&parts)?;
                true
            }
            Poll::Lost(parts) => {
                self.discard();
                self.session.abort()?;
                self.undo_holds()?;
                self.let_go(&parts)?;
                self.rewind()?;
                true
            }
            Poll::Idle => {
                is_idle = left >= idle_commit;
                if let Some(merge) = &mut self.merge {
                    let awaited = merge.awaited(self.clock.now());
                    if !awaited.is_empty() {
                        merge.passed(&self.session.passed(&awaited)?);
                    }
                }
                false
            }
        };
        let moved = self.release(most)? || moved;
        self.look_at_guards_again()?;
        let answered = self.take_answers();
        let ticking = self.batch.begun.is_none() && self.tick_wanted();
        if (answered || ticking) && self.batch.begun.is_none() {
            self.batch.begun = Some(self.clock.now());
        }
        // Waiting longer gathers nothing where nothing comes; under load the interval decides.
        let due = self
            .batch
            .begun
            .is_some_and(|begun| is_idle || self.clock.since(begun) >= self.interval());
        let is_full = self.batch.records >= self.settings.batch_records_max.min(narrowed) as u64;
        if due || is_full || answered || ticking || self.emit.is_urgent() {
            self.commit()?;
            return Ok(Step::Moved);
        }
        Ok(if moved { Step::Moved } else { Step::Idle })
    }

    fn interval(&self) -> Duration {
        self.pace.interval(&self.settings)
    }

    fn note_abort(&self, why: &str) {
        tracing::warn!(
            operator = self.kind.name,
            batch_id = self.batch_number,
            why,
            "transaction aborted; the batch is read again"
        );
        self.metrics.aborted(self.kind.name);
    }
}

#[cfg(test)]
mod tests;
