//! Partitions come and go: restore and resume, commit and let go, roll back.

use super::super::task::Kind;
use super::guarding::Watch;
use super::{Batch, Member};
use crate::families::{self, Families};
use cairn_avro::record::CutCause;
use cairn_bus::{Fault, TopicPartition};
use std::collections::BTreeSet;

impl Member {
    /// Commits what is open and lets go. Even where the commit is refused the change is answered: a rebalance without an
    /// answer is the last that this member would hear of.
    pub(super) fn give_back(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
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
            self.undo_holds()?;
        }
        self.let_go(parts)?;
        if refused.is_some() {
            self.rewind()?;
        }
        Ok(())
    }

    /// Restores the tasks of new partitions: stable offsets first, then the changelog to its high watermark (DESIGN §3.1).
    pub(super) fn take_over(&mut self, parts: Vec<TopicPartition>) -> Result<(), Fault> {
        let begun = self.clock.now();
        let start = self.session.committed(&parts)?;
        self.check_families()?;
        let new: BTreeSet<i32> = parts
            .iter()
            .map(|part| slot(&self.kind, part.partition))
            .filter(|partition| !self.tasks.contains_key(partition))
            .collect();
        for (partition, opened) in self.open(&new) {
            let (task, restored) = self.restore(partition, opened)?;
            self.tasks.insert(partition, task);
            self.resumed.insert(partition);
            tracing::info!(
                operator = self.kind.name,
                partition,
                entries = restored.changelog,
                snapshot_entries = restored.snapshot,
                seconds = self.clock.since(begun).as_secs_f64(),
                "restored"
            );
        }
        self.has_joined = true;
        self.resume_tasks(|partition| new.contains(&partition));
        self.owned.extend(parts.iter().cloned());
        self.session.assigned(&start)?;
        let positions = self.session.position()?;
        for part in &parts {
            if let Some(next) = positions.get(part) {
                self.applied.insert(part.clone(), *next);
            }
        }
        if self.watch.next.is_none() && !parts.is_empty() {
            self.look_at_guards()?;
        }
        self.hold_again(&parts)?;
        self.learn(&parts)?;
        self.metrics
            .restored(self.kind.name, self.clock.since(begun), self.owned.len());
        Ok(())
    }

    /// Refuses to go on by a number of partitions that a migration has changed since this process began.
    fn check_families(&mut self) -> Result<(), Fault> {
        if self.encoder.partitions(families::TOPIC).is_none() {
            return Ok(());
        }
        let place = TopicPartition::new(families::TOPIC, 0);
        let mut records = Vec::new();
        self.session
            .read_to_end(&place, &mut |record| records.push(record))?;
        let mut found = Families::default();
        for record in &records {
            found.take(record, &mut self.decoder)?;
        }
        found.check_whole()?;
        let partitions = self.encoder.partitions("runs.events").unwrap_or_default();
        if !found.spreads_like(self.encoder.families(), partitions) {
            return Err(Fault::Config(
                "the number of partitions was changed meanwhile: start it again".to_owned(),
            ));
        }
        Ok(())
    }

    /// Lets restored tasks say what they still wait for; what they say or give up is part of the next batch.
    pub(super) fn resume_tasks(&mut self, which: impl Fn(i32) -> bool) {
        let mut has_moved = !self.emit.outputs().is_empty();
        for partition in &self.resumed {
            if which(*partition)
                && let Some(task) = self.tasks.get_mut(partition)
            {
                let said = self.emit.outputs().len();
                task.resume(&mut self.emit);
                // A task may give something up without a word, as an ask whose cohort is gone: its answer counts no more, and
                // a replay must know since when.
                let moves = self.emit.outputs().len() > said
                    || task
                        .state()
                        .is_some_and(|state| !state.changes().is_empty());
                if self.kind.has_cuts && moves {
                    let cut = (*partition, CutCause::Resumed, Vec::new());
                    self.batch.cuts.push(cut);
                }
                has_moved |= moves;
            }
        }
        if has_moved && self.batch.begun.is_none() {
            self.batch.begun = Some(self.clock.now());
        }
    }

    pub(super) fn let_go(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        for part in parts {
            self.owned.remove(part);
            self.paused.remove(part);
            self.applied.remove(part);
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
                self.copies.remove(&mine);
            }
        }
        self.watch.let_go(parts);
        if self.tasks.is_empty() {
            // What is open is read again with the next partitions: their tasks are new, and others may have closed it meanwhile.
            self.watch = Watch::new(self.kind.name);
        }
        if self.owned.is_empty() {
            // Whoever owns the partitions now asks again.
            self.answers.clear();
        }
        self.session.revoked(parts)
    }

    pub(super) fn discard(&mut self) {
        self.emit.take();
        self.batch = Batch::default();
        for task in self.tasks.values_mut() {
            task.discard();
        }
        for copy in self.copies.values_mut() {
            copy.drop_staged();
        }
    }

    /// After an abort: as if the batch had never been read.
    pub(super) fn roll_back(&mut self) -> Result<(), Fault> {
        self.discard();
        self.session.abort()?;
        self.undo_holds()?;
        self.rewind()
    }

    /// Reads again from the last commit.
    pub(super) fn rewind(&mut self) -> Result<(), Fault> {
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
}

/// Which task a partition's records go to.
pub(super) fn slot(kind: &Kind, partition: i32) -> i32 {
    if kind.changelog.is_none() {
        0
    } else {
        partition
    }
}
