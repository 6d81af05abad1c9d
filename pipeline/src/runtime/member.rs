//! One thread's part: a consumer, a producer, the tasks of the partitions it owns, and the transaction that binds them.
//!
//! ```text
//!            poll ──► apply ──► apply ──► … ──► commit: flush cores, send outputs + changelog + cut + tick + offsets
//!  assigned: restore from the changelog ──► committed offsets ──► go      revoked: commit, let go     lost: abort, let go
//! ```
//!
//! The commit interval is a maximum: an urgent output, a full batch or a rebalance commits earlier. After an abort the
//! overlays are dropped and the input is read again from the last commit; any other fault ends the member, and the
//! supervisor builds a new one, whose session fences this one.

use super::decode::{Decoder, Undecodable};
use super::encode::Encoder;
use super::executor::Executor;
use super::merge::{DISORDER, Merge, MergeLimits};
use super::order;
use super::task::{Applied, Kind, Task};
use crate::config::RuntimeConfig;
use crate::metrics::Metrics;
use cairn_avro::record::{Answer, Cut, Offset, Tick};
use cairn_bus::{Fault, Offsets, Poll, Record, Session, TopicPartition};
use cairn_operators::operator::{Emit, Emitted, Origin, Output, Place};
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
    /// After each chunk, the inputs' next offsets: what a replay needs (DESIGN §3.6).
    cuts: Vec<(i32, Vec<Offset>)>,
    /// Greatest append time applied, for the end-to-end histogram.
    oldest_append_ms: Option<i64>,
    traceparents: Vec<String>,
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
    /// By partition; a kind without state has one for all, so that what it packs stays in order of time.
    tasks: BTreeMap<i32, Box<dyn Task>>,
    owned: BTreeSet<TopicPartition>,
    emit: Emit,
    batch: Batch,
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
            kind,
            session,
            decoder,
            encoder,
            executor,
            settings,
            metrics,
            tasks: BTreeMap::new(),
            owned: BTreeSet::new(),
            emit: Emit::default(),
            batch: Batch::default(),
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
        let open = self.batch.begun.map(|begun| begun.elapsed());
        let mut left = open.map_or(patience, |open| {
            self.interval().saturating_sub(open).min(patience)
        });
        if self.merge.as_ref().is_some_and(Merge::has_ready) {
            left = Duration::ZERO;
        }
        self.learn_again()?;
        let moved = match self.session.poll(left, self.settings.poll_records_max)? {
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
                self.let_go(&parts)?;
                self.rewind()?;
                true
            }
            Poll::Idle => {
                if let Some(merge) = &mut self.merge
                    && merge.is_waiting()
                {
                    merge.passed(&self.session.position()?);
                }
                false
            }
        };
        let moved = self.release()? || moved;
        let answered = self.take_answers();
        let ticking = self.batch.begun.is_none() && self.tick_wanted();
        if (answered || ticking) && self.batch.begun.is_none() {
            self.batch.begun = Some(Instant::now());
        }
        let due = self
            .batch
            .begun
            .is_some_and(|begun| begun.elapsed() >= self.interval());
        let is_full = self.batch.records >= self.settings.batch_records_max as u64;
        if due || is_full || answered || ticking || self.emit.is_urgent() {
            self.commit()?;
            return Ok(Step::Moved);
        }
        Ok(if moved { Step::Moved } else { Step::Idle })
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.settings.commit_interval_ms)
    }

    /// Commits what is open and lets go. Even where the commit is refused the change is answered: a rebalance without an
    /// answer is the last that this member would hear of.
    fn give_back(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let refused = match self.commit() {
            Err(Fault::Abort(why)) => Some(why),
            committed => {
                committed?;
                None
            }
        };
        if let Some(why) = &refused {
            self.note_abort(why);
            self.discard();
            self.session.abort()?;
        }
        self.let_go(parts)?;
        if refused.is_some() {
            self.rewind()?;
        }
        Ok(())
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

    /// Applies what the merge lets go; true when that was anything.
    fn release(&mut self) -> Result<bool, Fault> {
        let Some(merge) = &mut self.merge else {
            return Ok(false);
        };
        let now = Instant::now();
        let released = merge.release(self.settings.poll_records_max, now);
        let (pause, resume) = merge.flow(now);
        if !pause.is_empty() {
            self.session.pause(&pause)?;
        }
        if !resume.is_empty() {
            self.session.resume(&resume)?;
        }
        let any = !released.is_empty();
        self.apply(released)?;
        Ok(any)
    }

    /// Tells the merge up to where these partitions are behind.
    fn learn(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let Some(merge) = &mut self.merge else {
            return Ok(());
        };
        let mut ends = self.session.last_stable(parts)?;
        for (place, end) in &mut ends {
            if let Some(limit) = self.limits.as_ref().and_then(|limits| limits.get(place)) {
                *end = (*end).min(*limit);
            }
        }
        merge.learn(&self.session.position()?, &ends);
        self.learned = Some(Instant::now());
        Ok(())
    }

    /// Asks for the ends again: once a backlog is worked off, because another one may have come meanwhile; and after a long
    /// time without a poll.
    fn learn_again(&mut self) -> Result<(), Fault> {
        let Some(merge) = &self.merge else {
            return Ok(());
        };
        let now = Instant::now();
        let last = self.polled.replace(now);
        let is_over = !merge.is_behind();
        let was_long = self.learned.is_some_and(|since| now - since > DISORDER);
        let has_slept = last.is_some_and(|last| now - last > DISORDER);
        if (is_over && was_long) || has_slept {
            let parts: Vec<TopicPartition> = self.owned.iter().cloned().collect();
            return self.learn(&parts);
        }
        if is_over {
            self.learned = None;
        }
        Ok(())
    }

    /// Applies records in this order.
    fn apply(&mut self, records: Vec<Record>) -> Result<(), Fault> {
        let mut touched = BTreeSet::new();
        let mut skip: BTreeSet<TopicPartition> = BTreeSet::new();
        for record in &records {
            let place = record.place();
            if skip.contains(&place) {
                continue;
            }
            if self
                .limits
                .as_ref()
                .and_then(|limits| limits.get(&place))
                .is_some_and(|limit| record.offset >= *limit)
            {
                self.session.pause(std::slice::from_ref(&place))?;
                if let Some(merge) = &mut self.merge {
                    merge.forget(&place);
                }
                skip.insert(place);
                continue;
            }
            let slot = slot(&self.kind, record.partition);
            let Some(task) = self.tasks.get_mut(&slot) else {
                continue;
            };
            match task.apply(record, &mut self.decoder, &mut self.emit) {
                Ok(Applied { traceparent }) => {
                    self.batch.traceparents.extend(traceparent);
                }
                Err(Undecodable::Later { why, wait }) => {
                    tracing::warn!(
                        operator = self.kind.name,
                        topic = &*place.topic,
                        partition = place.partition,
                        why,
                        "partition paused"
                    );
                    self.session.pause(std::slice::from_ref(&place))?;
                    self.session
                        .seek(&Offsets::from([(place.clone(), record.offset)]))?;
                    if let Some(merge) = &mut self.merge {
                        merge.forget(&place);
                    }
                    self.paused.insert(place.clone(), Instant::now() + wait);
                    self.metrics.paused(self.kind.name, self.paused.len());
                    skip.insert(place);
                    continue;
                }
                Err(Undecodable::Never(dead)) => self.emit.put(Output::Dead(dead)),
            }
            if self.batch.begun.is_none() {
                self.batch.begun = Some(Instant::now());
            }
            self.batch.records += 1;
            let oldest = self
                .batch
                .oldest_append_ms
                .get_or_insert(record.append_time_ms);
            *oldest = (*oldest).min(record.append_time_ms);
            let next = self.batch.offsets.entry(place).or_insert(0);
            *next = (*next).max(record.offset + 1);
            touched.insert(record.partition);
            // Dead letters of this record are sealed with its own bytes.
            self.emit.attach(|| origin(record));
        }
        if self.kind.has_cuts {
            for partition in touched {
                let inputs = self
                    .batch
                    .offsets
                    .iter()
                    .filter(|(place, _)| place.partition == partition)
                    .map(offset)
                    .collect();
                self.batch.cuts.push((partition, inputs));
            }
        }
        Ok(())
    }

    /// Everything the batch caused, in one transaction.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn commit(&mut self) -> Result<(), Fault> {
        if self.batch.begun.is_none() && self.emit.outputs().is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        for task in self.tasks.values_mut() {
            task.flush(&mut self.emit);
        }
        let emitted = self.emit.take();
        let mut counts = Counts {
            records_in: self.batch.records,
            ..Counts::default()
        };
        let mut asks = Vec::new();
        for Emitted {
            output,
            traceparent,
            ..
        } in emitted
        {
            match output {
                Output::Ask(ask) => asks.push(ask),
                output => {
                    counts.late += u64::from(matches!(output, Output::Late(_)));
                    counts.dead += u64::from(matches!(output, Output::Dead(_)));
                    let record =
                        self.encoder
                            .output(self.kind.name, &output, traceparent.as_deref())?;
                    self.metrics.out(self.kind.name, &record.topic);
                    counts.records_out += 1;
                    self.session.send(record)?;
                }
            }
        }
        for answer in &self.answers {
            let record = self.encoder.answer(answer)?;
            counts.records_out += 1;
            self.session.send(record)?;
        }
        self.send_state()?;
        self.send_cuts()?;
        self.send_ticks()?;
        self.session.commit(&self.batch.offsets)?;
        let batch = std::mem::take(&mut self.batch);
        self.answers.clear();
        self.resumed.clear();
        self.batch_number += 1;
        for task in self.tasks.values_mut() {
            if let Some(state) = task.state() {
                state.merge();
            }
        }
        for ask in asks {
            self.executor.ask(ask);
        }
        self.counts.records_in += counts.records_in;
        self.counts.records_out += counts.records_out;
        self.counts.late += counts.late;
        self.counts.dead += counts.dead;
        let bytes: u64 = self
            .tasks
            .values_mut()
            .filter_map(|task| task.state().map(|state| state.bytes()))
            .sum();
        self.metrics.committed(
            self.kind.name,
            &counts,
            begun.elapsed(),
            batch.oldest_append_ms,
            bytes,
        );
        tracing::debug!(
            operator = self.kind.name,
            batch_id = self.batch_number,
            records = counts.records_in,
            out = counts.records_out,
            trace = batch.traceparents.first(),
            "committed"
        );
        if bytes > self.settings.state_bytes_max {
            return Err(Fault::Config(format!(
                "{} holds {bytes} bytes of state, more than runtime.state_bytes_max = {}; raise it, or run more instances",
                self.kind.name, self.settings.state_bytes_max
            )));
        }
        Ok(())
    }

    fn send_state(&mut self) -> Result<(), Fault> {
        let Some(changelog) = &self.kind.changelog else {
            return Ok(());
        };
        for (partition, task) in &mut self.tasks {
            if let Some(state) = task.state() {
                for change in state.changes() {
                    self.session
                        .send(self.encoder.change(changelog, *partition, change)?)?;
                }
            }
        }
        Ok(())
    }

    fn send_cuts(&mut self) -> Result<(), Fault> {
        for (partition, inputs) in std::mem::take(&mut self.batch.cuts) {
            let cut = Cut {
                operator: self.kind.name.to_owned(),
                partition,
                batch: self.batch_number,
                inputs,
            };
            self.session
                .send(self.encoder.cut(self.kind.family, &cut)?)?;
        }
        Ok(())
    }

    /// At most one tick a second and task, while a timer is armed (DESIGN §3.4).
    fn send_ticks(&mut self) -> Result<(), Fault> {
        if self.limits.is_some() {
            return Ok(());
        }
        let Some(topic) = &self.kind.ticks else {
            return Ok(());
        };
        let interval = Duration::from_millis(self.settings.tick_interval_ms.unsigned_abs());
        for (partition, task) in &self.tasks {
            let Some(wanted_time_ms) = task.due_ms() else {
                continue;
            };
            if self
                .ticked
                .get(partition)
                .is_some_and(|last| last.elapsed() < interval)
            {
                continue;
            }
            let tick = Tick {
                operator: self.kind.name.to_owned(),
                partition: *partition,
                wanted_time_ms,
            };
            self.session
                .send(self.encoder.tick(topic, *partition, &tick)?)?;
            self.ticked.insert(*partition, Instant::now());
        }
        Ok(())
    }

    fn tick_wanted(&self) -> bool {
        if self.limits.is_some() || self.kind.ticks.is_none() {
            return false;
        }
        let interval = Duration::from_millis(self.settings.tick_interval_ms.unsigned_abs());
        self.tasks.iter().any(|(partition, task)| {
            task.due_ms().is_some()
                && self
                    .ticked
                    .get(partition)
                    .is_none_or(|last| last.elapsed() >= interval)
        })
    }

    fn take_answers(&mut self) -> bool {
        let mut any = false;
        while let Some(answer) = self.executor.answered() {
            self.answers.push(answer);
            any = true;
        }
        any
    }

    /// Restores the tasks of new partitions: stable offsets first, then the changelog to its high watermark (DESIGN §3.1).
    fn take_over(&mut self, parts: Vec<TopicPartition>) -> Result<(), Fault> {
        let begun = Instant::now();
        let start = self.session.committed(&parts)?;
        let new: BTreeSet<i32> = parts
            .iter()
            .map(|part| slot(&self.kind, part.partition))
            .filter(|partition| !self.tasks.contains_key(partition))
            .collect();
        for &partition in &new {
            let mut task = self.kind.open();
            let mut entries = 0_u64;
            if let Some(changelog) = &self.kind.changelog
                && task.state().is_some()
            {
                let place = TopicPartition::new(changelog.as_ref(), partition);
                let mut failed = None;
                let decoder = &self.decoder;
                self.session.read_to_end(&place, &mut |record| {
                    entries += 1;
                    if failed.is_none()
                        && let Some(state) = task.state()
                    {
                        failed = decoder.restore(&record, state).err();
                    }
                })?;
                if let Some(why) = failed {
                    return Err(Fault::Config(format!("{changelog}[{partition}]: {why}")));
                }
            }
            self.tasks.insert(partition, task);
            self.resumed.insert(partition);
            tracing::info!(
                operator = self.kind.name,
                partition,
                entries,
                seconds = begun.elapsed().as_secs_f64(),
                "restored"
            );
        }
        self.has_joined = true;
        self.resume_tasks(|partition| new.contains(&partition));
        self.owned.extend(parts.iter().cloned());
        self.session.assigned(&start)?;
        self.learn(&parts)?;
        self.metrics
            .restored(self.kind.name, begun.elapsed(), self.owned.len());
        Ok(())
    }

    /// Lets restored tasks say what they still wait for; what they say is part of the next batch.
    fn resume_tasks(&mut self, which: impl Fn(i32) -> bool) {
        for partition in &self.resumed {
            if which(*partition)
                && let Some(task) = self.tasks.get_mut(partition)
            {
                task.resume(&mut self.emit);
            }
        }
        if !self.emit.outputs().is_empty() && self.batch.begun.is_none() {
            self.batch.begun = Some(Instant::now());
        }
    }

    fn let_go(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            self.owned.remove(part);
            self.paused.remove(part);
            if let Some(merge) = &mut self.merge {
                merge.forget(part);
            }
            let mine = slot(&self.kind, part.partition);
            if !self
                .owned
                .iter()
                .any(|owned| slot(&self.kind, owned.partition) == mine)
            {
                self.tasks.remove(&mine);
                self.resumed.remove(&mine);
            }
        }
        self.session.revoked(parts)
    }

    fn discard(&mut self) {
        self.emit.take();
        self.batch = Batch::default();
        for task in self.tasks.values_mut() {
            task.discard();
        }
    }

    /// After an abort: as if the batch had never been read.
    fn roll_back(&mut self) -> Result<(), Fault> {
        self.discard();
        self.session.abort()?;
        self.rewind()
    }

    /// Reads again from the last commit.
    fn rewind(&mut self) -> Result<(), Fault> {
        if self.owned.is_empty() {
            return Ok(());
        }
        let owned: Vec<TopicPartition> = self.owned.iter().cloned().collect();
        let mut start = self.session.committed(&owned)?;
        for part in &owned {
            start.entry(part.clone()).or_insert(0);
        }
        self.session.seek(&start)?;
        self.resume_tasks(|_| true);
        if let Some(merge) = &mut self.merge {
            let paused = merge.clear();
            if !paused.is_empty() {
                self.session.resume(&paused)?;
            }
        }
        self.learn(&owned)
    }

    fn resume_paused(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let due: Vec<TopicPartition> = self
            .paused
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(place, _)| place.clone())
            .collect();
        if !due.is_empty() {
            for place in &due {
                self.paused.remove(place);
            }
            self.session.resume(&due)?;
            self.metrics.paused(self.kind.name, self.paused.len());
        }
        Ok(())
    }

    /// Records between what was read and what can be read, up to the drain's limits; ticks are not lag.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn lag(&mut self) -> Result<i64, Fault> {
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| self.kind.ticks.as_deref() != Some(&*place.topic))
            .cloned()
            .collect();
        let ends = self.session.last_stable(&parts)?;
        let positions = self.session.position()?;
        let mut lag = 0;
        for (place, end) in ends {
            let end = match self.limits.as_ref().and_then(|limits| limits.get(&place)) {
                Some(limit) => end.min(*limit),
                None => end,
            };
            let applied = self.batch.offsets.get(&place).copied();
            let position = positions.get(&place).copied().or(applied).unwrap_or(0);
            lag += (end - position).max(0);
        }
        if let Some(merge) = &self.merge {
            lag += i64::try_from(merge.held()).unwrap_or(i64::MAX);
        }
        if lag > i64::try_from(self.settings.poll_records_max).unwrap_or(i64::MAX) {
            // A backlog, however it came about: keep it in order of time.
            self.learn(&parts)?;
        }
        self.metrics.lag(self.kind.name, lag);
        let wall_ms = crate::metrics::wall_time_ms();
        let health: Vec<_> = self
            .tasks
            .values()
            .filter_map(|task| task.health(wall_ms))
            .collect();
        if !health.is_empty() {
            let oldest_ms = health
                .iter()
                .map(|health| health.silence_ms_max)
                .max()
                .unwrap_or(0);
            let stalled = health.iter().map(|health| health.stalled).sum();
            self.metrics
                .runs(self.kind.name, oldest_ms as f64 / 1000.0, stalled);
        }
        Ok(lag)
    }

    /// True when nothing is open, asked or unread.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn is_quiet(&mut self) -> Result<bool, Fault> {
        if self.owned.is_empty()
            || self.batch.begun.is_some()
            || self.merge.as_ref().is_some_and(|merge| merge.held() > 0)
            || !self.paused.is_empty()
            || self.executor.is_busy()
        {
            return Ok(false);
        }
        if self.tasks.values().any(|task| task.is_waiting()) {
            return Ok(false);
        }
        Ok(self.lag()? == 0)
    }

    /// Lets the cores finish what only more input would finish; true when that caused anything.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn drain(&mut self) -> Result<bool, Fault> {
        for task in self.tasks.values_mut() {
            task.drain(&mut self.emit);
        }
        if self.emit.outputs().is_empty() {
            return Ok(false);
        }
        self.batch.begun = Some(Instant::now());
        self.commit()?;
        Ok(true)
    }

    /// Commits what is open and leaves, within the deadline.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn stop(mut self, deadline: Duration) -> Result<Counts, Fault> {
        let begun = Instant::now();
        self.commit()?;
        let counts = self.counts;
        self.session
            .close(deadline.saturating_sub(begun.elapsed()))?;
        Ok(counts)
    }
}

/// Which task a partition's records go to.
fn slot(kind: &Kind, partition: i32) -> i32 {
    if kind.changelog.is_none() {
        0
    } else {
        partition
    }
}

fn origin(record: &Record) -> Origin {
    Origin {
        place: Place {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        },
        append_time_ms: record.append_time_ms,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    }
}

fn offset((place, next): (&TopicPartition, &i64)) -> Offset {
    Offset {
        topic: place.topic.to_string(),
        partition: place.partition,
        offset: *next,
    }
}
