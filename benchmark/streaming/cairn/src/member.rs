//! One thread's part: a session, the jobs of the partitions it owns, and the transaction that binds them.
//!
//! ```text
//!            poll ──► apply ──► send outputs ──► … ──► seal: send changelog ──► (delivered) ──► commit: offsets, all or nothing
//!  assigned: committed offsets ──► restore from the changelog ──► go    revoked: commit, let go    lost: abort, let go
//! ```
//! A sealed batch waits until the log has its last records (the linger); rows are applied meanwhile, what they put out is
//! sent once that batch is committed, in the transaction of the next.

use crate::config::Config;
use crate::job::Job;
use crate::job::outputs::{Kind, Outputs};
use crate::phases::{Phase, Phases};
use cairn_bus::{Chunk, Fault, Offsets, Outgoing, Poll, Record, Session, TopicPartition};
use cairn_operators::operator::Remember;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As many as the equal settings give a poll.
const POLL_RECORDS_MAX: usize = 5_000;
/// How long a poll may wait: how soon a stop is noticed.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a poll may wait while a sealed batch is on its way.
const SEALED_PATIENCE: Duration = Duration::from_millis(1);
/// So many bytes may wait to be sent; then the sealed batch is waited for.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// The topics by name, shared by all records sent.
struct Topics {
    windows: Arc<str>,
    dlq: Arc<str>,
    late: Arc<str>,
    changelog: Arc<str>,
}

pub struct Member<'a> {
    session: Box<dyn Session>,
    config: &'a Config,
    input: Arc<str>,
    topics: Topics,
    jobs: BTreeMap<i32, Job>,
    outputs: Outputs,
    /// Next offsets of what was applied since the last commit.
    offsets: BTreeMap<i32, i64>,
    /// When the first record since the last commit came.
    begun: Option<Instant>,
    /// Next offsets of the sealed batch.
    sealed: Option<Offsets>,
    phases: Phases,
}

impl<'a> Member<'a> {
    pub fn new(mut session: Box<dyn Session>, config: &'a Config) -> Self {
        // the job looks at none
        session.leave_out_headers();
        Self {
            session,
            config,
            input: config.input.as_str().into(),
            topics: Topics {
                windows: config.windows.as_str().into(),
                dlq: config.dlq.as_str().into(),
                late: config.late.as_str().into(),
                changelog: config.changelog.as_str().into(),
            },
            jobs: BTreeMap::new(),
            outputs: Outputs::default(),
            offsets: BTreeMap::new(),
            begun: None,
            sealed: None,
            phases: Phases::default(),
        }
    }

    /// Polls once, applies what came, commits when it is time. A fault ends this member; an abort is dealt with here.
    pub fn step(&mut self) -> Result<(), Fault> {
        match self.advance() {
            Err(Fault::Abort(why)) => {
                tracing::warn!(why, "transaction aborted; the batch is read again");
                self.roll_back()
            }
            other => other,
        }
    }

    fn advance(&mut self) -> Result<(), Fault> {
        self.phases.enter(Phase::Poll);
        match self.session.poll(self.patience(), POLL_RECORDS_MAX)? {
            Poll::Records(records) => {
                self.begun.get_or_insert_with(Instant::now);
                self.phases.enter(Phase::Apply);
                self.apply(&records);
                self.send_outputs()?;
            }
            Poll::Assigned(parts) => self.take_over(&parts)?,
            Poll::Revoked(parts) => self.give_back(&parts)?,
            Poll::Lost(parts) => {
                self.discard();
                self.session.abort()?;
                self.let_go(&parts)?;
            }
            Poll::Overtaken(gaps) => {
                return Err(Fault::Config(format!(
                    "what was to be read was deleted: {gaps:?}"
                )));
            }
            Poll::Idle => {}
        }
        let is_due = self
            .begun
            .is_some_and(|begun| begun.elapsed() >= self.config.commit);
        let must_wait = is_due || self.outputs.bytes() > WAITING_BYTES_MAX;
        if self.sealed.is_some() && (must_wait || self.session.is_delivered()?) {
            self.finish()?;
        }
        if is_due {
            self.seal()?;
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        if self.sealed.is_some() {
            return SEALED_PATIENCE;
        }
        self.begun.map_or(PATIENCE, |begun| {
            self.config
                .commit
                .saturating_sub(begun.elapsed())
                .min(PATIENCE)
        })
    }

    fn apply(&mut self, records: &Chunk) {
        for run in records.runs() {
            let partition = run.place.partition;
            let (Some(job), Some(next)) = (self.jobs.get_mut(&partition), run.next_offset()) else {
                continue;
            };
            for record in run.records() {
                let value = record.value.unwrap_or_default();
                job.apply(record.offset, record.key, value, &mut self.outputs);
            }
            self.offsets.insert(partition, next);
            self.phases.rows += run.len() as u64;
        }
    }

    /// Sends what the batch has put out so far; while another is sealed, nothing.
    fn send_outputs(&mut self) -> Result<(), Fault> {
        if self.sealed.is_some() {
            return Ok(());
        }
        self.phases.enter(Phase::Send);
        for output in self.outputs.iter() {
            let topic = match output.kind {
                Kind::Window => &self.topics.windows,
                Kind::Late => &self.topics.late,
                Kind::Dead => &self.topics.dlq,
            };
            self.session.send(Outgoing {
                topic: topic.clone(),
                partition: output.partition,
                key: output.key.map(<[u8]>::to_vec),
                value: Some(output.value.to_vec()),
                headers: Vec::new(),
            })?;
            self.phases.outputs += 1;
        }
        self.outputs.clear();
        Ok(())
    }

    /// Ends the batch: sends its changelog.
    fn seal(&mut self) -> Result<(), Fault> {
        self.phases.enter(Phase::Changelog);
        for (&partition, job) in &mut self.jobs {
            for change in job.changes() {
                self.phases.changes += 1;
                self.phases.changelog_bytes += change.value.as_ref().map_or(0, Vec::len) as u64;
                self.session.send(Outgoing {
                    topic: self.topics.changelog.clone(),
                    partition,
                    key: Some(change.key.into_bytes()),
                    value: change.value,
                    headers: Vec::new(),
                })?;
            }
            job.seal();
        }
        let offsets = std::mem::take(&mut self.offsets).into_iter();
        let places = offsets.map(|(partition, next)| (self.place(partition), next));
        self.sealed = Some(places.collect());
        self.begun = None;
        Ok(())
    }

    /// Commits the sealed batch: outputs, changelog and offsets together, or nothing.
    fn finish(&mut self) -> Result<(), Fault> {
        let Some(offsets) = &self.sealed else {
            return Ok(());
        };
        self.phases.enter(Phase::Commit);
        self.session.commit(offsets)?;
        self.phases.enter(Phase::Other);
        self.phases.commits += 1;
        self.sealed = None;
        for job in self.jobs.values_mut() {
            job.merge();
        }
        self.send_outputs()
    }

    /// Commits everything.
    fn commit(&mut self) -> Result<(), Fault> {
        self.finish()?;
        if self.begun.is_some() {
            self.seal()?;
            self.finish()?;
        }
        Ok(())
    }

    fn place(&self, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: self.input.clone(),
            partition,
        }
    }

    /// Stable offsets first, then the changelog up to its high watermark.
    fn take_over(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let begun = Instant::now();
        self.phases.enter(Phase::Restore);
        let start = self.session.committed(parts)?;
        for part in parts {
            let mut job = Job::new(self.config.frames, part.partition);
            let place = TopicPartition {
                topic: self.topics.changelog.clone(),
                partition: part.partition,
            };
            let (mut entries, mut failed) = (0, None);
            self.session.read_to_end(&place, &mut |record| {
                entries += 1;
                failed = failed.take().or_else(|| restore(&mut job, &record).err());
            })?;
            if let Some(why) = failed {
                return Err(Fault::Config(format!("{place}: {why}")));
            }
            tracing::info!(
                partition = part.partition,
                from = start.get(part).copied().unwrap_or(0),
                entries,
                ms = begun.elapsed().as_millis() as u64,
                "restored"
            );
            self.jobs.insert(part.partition, job);
        }
        self.session.assigned(&start)
    }

    /// Commits what is open and lets go. Even where the commit is refused the change is answered: a rebalance without an
    /// answer is the last that this member would hear of.
    fn give_back(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        match self.commit() {
            Err(Fault::Abort(why)) => {
                tracing::warn!(why, "transaction aborted while giving partitions back");
                self.discard();
                self.session.abort()?;
                self.let_go(parts)?;
                self.rewind()
            }
            committed => {
                committed?;
                self.let_go(parts)
            }
        }
    }

    fn let_go(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            self.jobs.remove(&part.partition);
        }
        self.session.revoked(parts)
    }

    fn discard(&mut self) {
        self.outputs.clear();
        self.offsets.clear();
        self.begun = None;
        self.sealed = None;
        for job in self.jobs.values_mut() {
            job.discard();
        }
    }

    /// After an abort: as if the batch had never been read.
    fn roll_back(&mut self) -> Result<(), Fault> {
        self.discard();
        self.session.abort()?;
        self.rewind()
    }

    fn rewind(&mut self) -> Result<(), Fault> {
        let owned: Vec<_> = self
            .jobs
            .keys()
            .map(|partition| self.place(*partition))
            .collect();
        let mut start = self.session.committed(&owned)?;
        for part in owned {
            start.entry(part).or_insert(0);
        }
        self.session.seek(&start)
    }

    /// Commits what is open and leaves.
    pub fn stop(mut self, deadline: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        self.commit()?;
        self.phases.report();
        self.session.close(deadline.saturating_sub(begun.elapsed()))
    }
}

fn restore(job: &mut Job, record: &Record) -> Result<(), String> {
    let key = record.key.as_deref().ok_or("an entry without a key")?;
    let key = std::str::from_utf8(key).map_err(|error| error.to_string())?;
    job.restore(crate::job::TABLE, key, record.value.as_deref())
}
