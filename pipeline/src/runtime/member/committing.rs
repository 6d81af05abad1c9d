//! Everything a batch caused, in one transaction.

use super::{Counts, Member};
use cairn_avro::record::{Cut, Tick};
use cairn_bus::{Fault, Offsets};
use cairn_operators::operator::{Emitted, Output};
use cairn_operators::redact::Tally;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Member {
    /// Everything the batch caused, in one transaction.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn commit(&mut self) -> Result<(), Fault> {
        if self.batch.begun.is_none() && self.emit.outputs().is_empty() {
            return Ok(());
        }
        let begun = self.clock.now();
        self.flush_tasks()?;
        let duplicates = self.emit.duplicates;
        let emitted = self.emit.take();
        let mut counts = Counts {
            records_in: self.batch.records,
            ..Counts::default()
        };
        let mut classes: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut redacted = Tally::default();
        for task in self.tasks.values_mut() {
            redacted.merge(&task.take_redacted());
        }
        let mut asks = Vec::new();
        let mut written: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        let mut told = Vec::new();
        let mut fitted = Vec::new();
        for Emitted {
            mut output,
            traceparent,
            ..
        } in emitted
        {
            if let Output::Guard(guard, _) = &mut output
                && guard.instance.is_empty()
            {
                guard.instance.clone_from(&self.instance);
            }
            match output {
                Output::Ask(ask) => asks.push(ask),
                output => {
                    counts.late += u64::from(matches!(output, Output::Late(_)));
                    if let Output::Dead(dead) = &output {
                        counts.dead += 1;
                        *classes.entry(dead.class).or_default() += 1;
                    }
                    let record =
                        self.encoder
                            .output(self.kind.name, &output, traceparent.as_deref())?;
                    *written.entry(record.topic.clone()).or_default() += 1;
                    counts.records_out += 1;
                    self.session.send(record)?;
                    match output {
                        Output::Verdict(verdict) => told.push((verdict, traceparent)),
                        Output::Fit(fit) => {
                            fitted.push((fit.cohort, fit.verdict, fit.windows_passed_over));
                        }
                        _ => {}
                    }
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
        let offsets = self.offsets();
        let asked = self.clock.now();
        self.session.commit(&offsets)?;
        let took = self.clock.since(asked);
        self.pace.took(self.clock.since(begun));
        self.applied.extend(offsets);
        let batch = std::mem::take(&mut self.batch);
        self.answers.clear();
        self.resumed.clear();
        self.batch_number += 1;
        for task in self.tasks.values_mut() {
            task.merge();
        }
        self.suspects.committed(batch.records, &batch.offsets);
        self.keep_guards(took);
        self.keep_copies();
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
            self.clock.since(begun),
            batch.oldest_append_ms,
            bytes,
        );
        self.metrics.duplicates(self.kind.name, duplicates);
        self.metrics.redacted(&redacted);
        for (class, letters) in classes {
            self.metrics.dead_letters(self.kind.name, class, letters);
        }
        for (topic, fields) in self.decoder.take_dropped() {
            self.metrics.dropped_fields(topic, fields);
        }
        for (topic, records) in &written {
            self.metrics.out(self.kind.name, topic, *records);
        }
        for (cohort, verdict, passed_over) in &fitted {
            self.metrics.fitted(cohort, verdict.as_str(), *passed_over);
        }
        for (verdict, trace) in &told {
            tracing::info!(
                operator = self.kind.name,
                batch_id = self.batch_number,
                tenant = verdict.tenant,
                run_id = verdict.run_id,
                trace,
                state = ?verdict.state,
                cause = ?verdict.cause,
                at_step = verdict.at_step,
                "verdict"
            );
        }
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

    /// What is committed: never without an offset of ours. The log asks whether we are still a member of the group only
    /// where offsets are committed; without one, a member that was replaced meanwhile could still write.
    pub(super) fn offsets(&self) -> Offsets {
        if !self.batch.offsets.is_empty() {
            return self.batch.offsets.clone();
        }
        self.applied
            .iter()
            .next()
            .map(|(place, next)| (place.clone(), *next))
            .into_iter()
            .collect()
    }

    pub(super) fn send_state(&mut self) -> Result<(), Fault> {
        let Some(changelog) = &self.kind.changelog else {
            return Ok(());
        };
        for (partition, task) in &mut self.tasks {
            if let Some(state) = task.state() {
                if let Some(why) = state.unreadable() {
                    return Err(Fault::Config(format!("{changelog}[{partition}]: {why}")));
                }
                for change in state.changes() {
                    let record = self.encoder.change(changelog, *partition, change)?;
                    if let Some(copy) = self.copies.get_mut(partition) {
                        copy.stage(
                            record.key.as_deref().unwrap_or_default(),
                            record.value.as_deref(),
                        );
                    }
                    self.session.send(record)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn send_cuts(&mut self) -> Result<(), Fault> {
        let cuts = std::mem::take(&mut self.batch.cuts);
        for (partition, cause, inputs) in cuts {
            let cut = Cut {
                operator: self.kind.name.to_owned(),
                partition,
                batch: self.batch_name(partition),
                inputs,
                cause,
            };
            self.session
                .send(self.encoder.cut(self.kind.family, &cut)?)?;
        }
        Ok(())
    }

    /// The sum of the next offsets of the partition's inputs after this batch: greater with every batch, restarts or not.
    fn batch_name(&self, partition: i32) -> i64 {
        let mut next: BTreeMap<&str, i64> = BTreeMap::new();
        for (place, offset) in self.applied.iter().chain(&self.batch.offsets) {
            if place.partition == partition {
                next.insert(&place.topic, *offset);
            }
        }
        next.values().sum()
    }

    /// At most one tick a second and task, while a timer is armed (DESIGN §3.4).
    pub(super) fn send_ticks(&mut self) -> Result<(), Fault> {
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
                .is_some_and(|last| self.clock.since(*last) < interval)
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
            self.ticked.insert(*partition, self.clock.now());
        }
        Ok(())
    }

    pub(super) fn tick_wanted(&self) -> bool {
        if self.limits.is_some() || self.kind.ticks.is_none() {
            return false;
        }
        let interval = Duration::from_millis(self.settings.tick_interval_ms.unsigned_abs());
        self.tasks.iter().any(|(partition, task)| {
            task.due_ms().is_some()
                && self
                    .ticked
                    .get(partition)
                    .is_none_or(|last| self.clock.since(*last) >= interval)
        })
    }

    pub(super) fn take_answers(&mut self) -> bool {
        while let Some(answer) = self.executor.answered() {
            if !self.owned.is_empty() {
                self.answers.push(answer);
            }
        }
        !self.answers.is_empty()
    }
}
