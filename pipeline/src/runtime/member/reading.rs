//! What was polled, in its order, through the tasks.

use super::super::decode::Undecodable;
use super::super::merge::DISORDER;
use super::super::task::Applied;
use super::Member;
use super::guarding::guarded;
use super::owning::slot;
use cairn_avro::record::{CutCause, Offset};
use cairn_bus::{Fault, Offsets, Record, TopicPartition};
use cairn_operators::operator::{Origin, Output, Place};
use std::collections::BTreeSet;

impl Member {
    /// Applies what the merge lets go; true when that was anything.
    pub(super) fn release(&mut self, most: usize) -> Result<bool, Fault> {
        let Some(merge) = &mut self.merge else {
            return Ok(false);
        };
        let now = self.clock.now();
        let released = merge.release(most, now);
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
    pub(super) fn learn(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let Some(merge) = &mut self.merge else {
            return Ok(());
        };
        let mut ends = self.session.last_stable(parts)?;
        ends.retain(|place, _| !self.watch.is_held(&place.topic));
        for (place, end) in &mut ends {
            if let Some(limit) = self.limits.as_ref().and_then(|limits| limits.get(place)) {
                *end = (*end).min(*limit);
            }
        }
        merge.learn(&self.session.passed(&merge.near(&ends))?, &ends);
        self.learned = Some(self.clock.now());
        Ok(())
    }

    /// Asks for the ends again: once a backlog is worked off, because another one may have come meanwhile; and after a long
    /// time without a poll.
    pub(super) fn learn_again(&mut self) -> Result<(), Fault> {
        let Some(merge) = &self.merge else {
            return Ok(());
        };
        let now = self.clock.now();
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
    pub(super) fn apply(&mut self, records: Vec<Record>) -> Result<(), Fault> {
        let mut touched = BTreeSet::new();
        let mut skip: BTreeSet<TopicPartition> = BTreeSet::new();
        let has_suspects = !self.suspects.is_empty();
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
            let condemned = has_suspects
                .then(|| self.suspects.condemned(&place, record.offset))
                .flatten();
            let (decoder, emit) = (&mut self.decoder, &mut self.emit);
            let applied = match &condemned {
                Some(_) => Ok(Ok(Applied::default())),
                None => guarded(&mut **task, |task| task.apply(record, decoder, emit)),
            };
            let hold = task.take_hold();
            match applied {
                Err(words) => {
                    self.suspects.blame(place, record.offset, &words);
                    return Err(self.panicked(&words));
                }
                Ok(Ok(Applied { traceparent })) => {
                    self.batch.traceparents.extend(traceparent);
                    self.goes_well(&place);
                }
                Ok(Err(Undecodable::Later { why, wait, guard })) => {
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
                    self.paused.insert(place.clone(), self.clock.now() + wait);
                    self.metrics.paused(self.kind.name, self.paused.len());
                    self.waits(&place, guard, &why);
                    skip.insert(place);
                    continue;
                }
                Ok(Err(Undecodable::Never(dead))) => self.emit.put(Output::Dead(dead)),
            }
            if let Some(words) = condemned {
                self.condemn(record, &words);
            }
            if self.batch.begun.is_none() {
                self.batch.begun = Some(self.clock.now());
            }
            self.batch.records += 1;
            let oldest = self
                .batch
                .oldest_append_ms
                .get_or_insert(record.append_time_ms);
            *oldest = (*oldest).min(record.append_time_ms);
            self.batch.last = Some((place.clone(), record.offset));
            let next = self.batch.offsets.entry(place).or_insert(0);
            *next = (*next).max(record.offset + 1);
            touched.insert(record.partition);
            // Dead letters of this record are sealed with its own bytes.
            self.emit.attach(|| origin(record));
            if let Some(hold) = hold {
                skip.extend(self.hold(hold)?);
            }
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
                self.batch.cuts.push((partition, CutCause::Records, inputs));
            }
        }
        Ok(())
    }

    pub(super) fn resume_paused(&mut self) -> Result<(), Fault> {
        let now = self.clock.now();
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
}

pub(crate) fn origin(record: &Record) -> Origin {
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
