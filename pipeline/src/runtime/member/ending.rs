//! How far behind, when quiet, and how it ends.

use super::{Counts, Member};
use cairn_avro::record::CutCause;
use cairn_bus::{Fault, TopicPartition};
use cairn_operators::refit;
use std::time::Duration;

impl Member {
    /// Records between what was read and what can be read, up to the drain's limits; ticks are not lag.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn lag(&mut self) -> Result<i64, Fault> {
        let lag = self.unread(true)?;
        self.metrics.lag(self.kind.name, lag);
        let wall_ms = crate::metrics::wall_time_ms();
        let health: Vec<_> = self
            .tasks
            .values_mut()
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
        let mut fits: Option<refit::Health> = None;
        for task in self.tasks.values() {
            if let Some(health) = task.fits(wall_ms) {
                let all = fits.get_or_insert_default();
                all.asks += health.asks;
                all.fits.extend(health.fits);
            }
        }
        if let Some(fits) = fits {
            self.metrics.fits(self.kind.name, &fits);
        }
        Ok(lag)
    }

    /// Records that are unread, with or without those of topics that a guard holds.
    fn unread(&mut self, with_held: bool) -> Result<i64, Fault> {
        let held = if with_held { Vec::new() } else { self.held() };
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| self.kind.ticks.as_deref() != Some(&*place.topic))
            .filter(|place| !held.contains(&&*place.topic))
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
        // What is held is left, and said to be; the rest can be worked off.
        Ok(self.unread(false)? == 0)
    }

    /// Lets the cores finish what only more input would finish; true when that caused anything.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn drain(&mut self) -> Result<bool, Fault> {
        for (partition, task) in &mut self.tasks {
            let said = self.emit.outputs().len();
            task.drain(&mut self.emit);
            let has_moved = self.emit.outputs().len() > said
                || task
                    .state()
                    .is_some_and(|state| !state.changes().is_empty());
            let cut = (*partition, CutCause::Drained, Vec::new());
            if self.kind.has_cuts && has_moved && !self.batch.cuts.contains(&cut) {
                self.batch.cuts.push(cut);
            }
        }
        if self.emit.outputs().is_empty() {
            return Ok(false);
        }
        self.batch.begun = Some(self.clock.now());
        self.commit()?;
        Ok(true)
    }

    /// Commits what is open and leaves, within the deadline.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn stop(mut self, deadline: Duration) -> Result<Counts, Fault> {
        let begun = self.clock.now();
        self.commit()?;
        let counts = self.counts;
        self.session
            .close(deadline.saturating_sub(self.clock.since(begun)))?;
        Ok(counts)
    }
}
