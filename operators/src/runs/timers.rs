//! What happens to a run because time passes: its end's grace is over, it has stalled, it is forgotten.

use super::normalize::RowState;
use super::seen::Class;
use super::{Runs, wire};
use crate::breaker::follow::{self, Followed};
use crate::operator::{At, Emit, Output};
use crate::time::{self, Activity, AppendTimeMs};
use cairn_avro::record::{BreakerState, RunStatus};

/// How the runs of a task are doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Longest silence of a running run, milliseconds of append time.
    pub silence_ms_max: i64,
    /// Runs that have stalled.
    pub stalled: usize,
}

/// How often rows are looked through for those that are too old.
const EXPIRE_EVERY_MS: i64 = 3_600_000;

impl Runs {
    /// The earliest wall time at which a timer is due.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        let now = AppendTimeMs(self.wall_ms);
        let timers = self
            .followed
            .iter()
            .filter_map(|(_, run)| time::next_timer(&run.clock, &self.rules.follow.time, now))
            .map(|at| at.0);
        timers.chain(self.endings.iter().map(|(_, at)| *at)).min()
    }

    /// How the runs are doing at this wall time.
    #[must_use]
    pub fn health(&self, wall_ms: i64) -> Health {
        let mut health = Health::default();
        for (_, run) in self
            .followed
            .iter()
            .filter(|(_, run)| !run.clock.ended && run.clock.attempt.is_some())
        {
            health.silence_ms_max = health
                .silence_ms_max
                .max(wall_ms - run.clock.append_time_ms.0);
            let activity =
                time::activity(&run.clock, &self.rules.follow.time, AppendTimeMs(wall_ms));
            health.stalled += usize::from(activity == Activity::Stalled);
        }
        health
    }

    /// Arms or disarms the timer that forgets an ended run.
    pub(super) fn note_end(&mut self, key: &str) {
        let ended = self.followed.get(key).is_some_and(|run| run.clock.ended);
        match (ended, self.endings.get(key).is_some()) {
            (true, false) => self.endings.put(
                key,
                self.wall_ms.saturating_add(self.rules.forget_after_end_ms),
            ),
            (false, true) => self.endings.remove(key),
            _ => {}
        }
    }

    pub(super) fn timers(&mut self, at: &At<'_>, emit: &mut Emit) {
        let now = AppendTimeMs(self.wall_ms);
        let settings = self.rules.follow.time.clone();
        let settings = &settings;
        let due: Vec<String> = self
            .followed
            .iter()
            .filter(|(_, run)| {
                time::end_is_due(&run.clock, settings, now)
                    || (run.clock.attempt.is_some()
                        && time::activity(&run.clock, settings, now) == Activity::Stalled)
            })
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in due {
            let plan = self.plan(&key);
            let is_due = self
                .followed
                .get(&key)
                .is_some_and(|run| time::end_is_due(&run.clock, settings, now));
            if is_due {
                let mut out = Vec::new();
                let run = self.followed.entry(&key, Followed::default);
                follow::tick(run, &self.rules.follow, &plan, now, &mut out);
                self.follow_up(at, &key, out, None, emit);
                self.note_end(&key);
            } else if self
                .rows
                .get(&key)
                .is_some_and(|state| state.row.status == RunStatus::Running)
            {
                let state = self.rows.entry(&key, || RowState::new("", ""));
                state.row.status = RunStatus::Stalled;
                let telegram = wire::stalled(at, &state.row);
                self.touched.insert(key);
                emit.put(Output::Telegram(telegram));
            }
        }
        self.forget(at, emit);
        self.expire();
    }

    /// Lets go of what ended runs no longer need.
    fn forget(&mut self, at: &At<'_>, emit: &mut Emit) {
        let over: Vec<String> = self
            .endings
            .iter()
            .filter(|(_, due)| **due <= self.wall_ms)
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in over {
            self.endings.remove(&key);
            self.seen.forget(&key, Class::Telemetry);
            let keep = self.followed.get(&key).map(wire::remember_clock);
            if let Some(keep) = keep {
                self.followed.put(&key, keep);
            }
            if let Some(state) = self.rows.get(&key)
                && matches!(
                    state.row.breaker_state,
                    BreakerState::Open | BreakerState::HalfOpen
                )
            {
                emit.put(Output::Telegram(wire::over(at, &state.row)));
            }
        }
    }

    fn expire(&mut self) {
        if self.wall_ms < self.expired_ms.saturating_add(EXPIRE_EVERY_MS) {
            return;
        }
        self.expired_ms = self.wall_ms;
        let oldest = self
            .wall_ms
            .saturating_sub(self.rules.row_retention_days.saturating_mul(86_400_000));
        let old: Vec<String> = self
            .rows
            .iter()
            .filter(|(_, state)| state.is_ended() && state.row.updated_append_time_ms < oldest)
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in old {
            self.rows.remove(&key);
            self.followed.remove(&key);
            self.seen.forget(&key, Class::Fact);
            self.seen.forget(&key, Class::Telemetry);
            self.forgotten.put(&key, self.wall_ms);
        }
    }
}
