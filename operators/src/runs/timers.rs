//! What happens to a run because time passes: its end's grace is over, it has stalled, it is forgotten.

use super::normalize::{RowAge, RowState};
use super::seen::Class;
use super::watch::{is_stalled, is_under_way};
use super::{Runs, wire};
use crate::breaker::follow;
use crate::operator::{At, Emit, Output};
use crate::time::{self, AppendTimeMs, RunClock};
use cairn_avro::record::{BreakerState, RunStatus};

/// How the runs of a task are doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Longest silence of a running run, milliseconds of append time.
    pub silence_ms_max: i64,
    /// Runs that have stalled.
    pub stalled: usize,
}

/// Rows are looked through for those that are too old when wall time enters another hour: at the same record, whoever restarts.
const HOUR_MS: i64 = 3_600_000;

impl Runs {
    /// The earliest wall time at which a timer is due.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.watch.due_ms()
    }

    /// How the runs are doing at this wall time.
    #[must_use]
    pub fn health(&self, wall_ms: i64) -> Health {
        let wall = AppendTimeMs(wall_ms);
        self.watch.health(wall, AppendTimeMs(self.wall_ms), |key| {
            self.followed
                .clock(key)
                .is_some_and(|clock| is_stalled(&clock, &self.rules.follow.time, wall))
        })
    }

    /// Brings the index up to date with what the batch makes the tables say of a run.
    pub(super) fn place(&mut self, key: &str) {
        if !self.placed.contains(key) {
            self.placed.insert(key.to_owned());
        }
        let clock = self.followed.clock(key);
        self.index(key, clock.as_ref());
    }

    fn index(&mut self, key: &str, clock: Option<&RunClock>) {
        self.watch.place(
            key,
            clock,
            self.endings.get(key).copied(),
            &self.rules.follow.time,
            AppendTimeMs(self.wall_ms),
        );
    }

    /// The same for a run whose tables changed behind the core's back, by no batch: a timer of it may be overdue.
    pub(super) fn place_anew(&mut self, key: &str) {
        let clock = self.followed.clock(key);
        self.index(key, clock.as_ref());
        let (settings, now) = (&self.rules.follow.time, AppendTimeMs(self.wall_ms));
        let may_be_overdue = |clock: &RunClock| {
            is_stalled(clock, settings, now) || time::is_over(clock, settings, now)
        };
        if clock.is_some_and(|clock| is_under_way(&clock) && may_be_overdue(&clock)) {
            self.watch.look_at(key);
        }
    }

    /// Arms or disarms the timer that forgets an ended run.
    pub(super) fn note_end(&mut self, key: &str) {
        let ended = self.followed.clock(key).is_some_and(|clock| clock.ended);
        match (ended, self.endings.get(key).is_some()) {
            (true, false) => self.endings.put(
                key,
                self.wall_ms.saturating_add(self.rules.forget_after_end_ms),
            ),
            (false, true) => self.endings.remove(key),
            _ => {}
        }
    }

    /// Does what is due; the runs that this record changed were named to the index.
    pub(super) fn timers(&mut self, at: &At<'_>, emit: &mut Emit) {
        let now = AppendTimeMs(self.wall_ms);
        for key in self.watch.take_due(now) {
            self.look(at, &key, now, emit);
            self.place(&key);
        }
        self.forget(at, emit);
    }

    /// Says that a run has stalled; ends one whose end is due or that is given up.
    pub(super) fn look(&mut self, at: &At<'_>, key: &str, now: AppendTimeMs, emit: &mut Emit) {
        let settings = &self.rules.follow.time;
        let Some(clock) = self.followed.clock(key) else {
            return;
        };
        let is_over = time::is_over(&clock, settings, now);
        if is_stalled(&clock, settings, now)
            && !time::end_is_due(&clock, settings, now)
            && self
                .rows
                .get(key)
                .is_some_and(|state| state.row.status == RunStatus::Running)
        {
            let state = self.rows.entry(key, || RowState::new("", ""));
            state.row.status = RunStatus::Stalled;
            let telegram = wire::stalled(at, &state.row);
            self.touched.insert(key.to_owned());
            emit.put(Output::Telegram(telegram));
        }
        if is_over {
            let plan = self.plan(key);
            let mut out = Vec::new();
            let run = self.followed.entry(key);
            follow::tick(run, &self.rules.follow, &plan, now, &mut out);
            self.follow_up(at, key, out, None, emit);
            self.note_end(key);
        }
    }

    /// Lets go of what ended runs no longer need.
    fn forget(&mut self, at: &At<'_>, emit: &mut Emit) {
        for key in self.watch.over(AppendTimeMs(self.wall_ms)) {
            self.endings.remove(&key);
            self.seen.forget(&key, Class::Telemetry);
            let keep = self.followed.get(&key).map(wire::remember_clock);
            if let Some(keep) = keep {
                self.followed.put(&key, keep);
            }
            self.place(&key);
            if let Some(state) = self.rows.get(&key)
                && matches!(
                    state.row.breaker_state,
                    BreakerState::Open | BreakerState::HalfOpen
                )
            {
                let has_ended = state.is_ended();
                emit.put(Output::Telegram(wire::over(at, &state.row, has_ended)));
            }
        }
    }

    /// Lets go of rows that nothing has changed for too long, once an hour of wall time; `before_ms` is the wall time before this
    /// record. What is under way changes its row more often than that.
    pub(super) fn expire(&mut self, before_ms: i64, emit: &mut Emit) {
        if before_ms.div_euclid(HOUR_MS) == self.wall_ms.div_euclid(HOUR_MS) {
            return;
        }
        let retention_ms = self.rules.row_retention_days.saturating_mul(86_400_000);
        let oldest = self.wall_ms.saturating_sub(retention_ms);
        let old: Vec<(String, RunStatus)> = self
            .rows
            .parts_from::<RowAge>("")
            .filter(|(_, state)| state.row.updated_append_time_ms < oldest)
            .map(|(key, state)| (key.to_owned(), state.row.status))
            .collect();
        for (key, status) in old {
            // What the batch has changed of it is still said, wherever the batch ends.
            if self.touched.remove(&key) {
                self.publish(&key, emit);
            }
            self.rows.remove(&key);
            self.followed.remove(&key);
            self.endings.remove(&key);
            self.place(&key);
            self.seen.forget(&key, Class::Fact);
            self.seen.forget(&key, Class::Telemetry);
            // A plan that was never begun is no run: it may still begin.
            if status != RunStatus::Planned {
                self.forgotten.put(&key, self.wall_ms);
            }
        }
        self.bound_forgotten();
    }

    /// Keeps the marks of what was let go within their limit; the oldest go first.
    fn bound_forgotten(&mut self) {
        let mut marks: Vec<(i64, String)> = self
            .forgotten
            .iter()
            .map(|(key, since_ms)| (*since_ms, key.to_owned()))
            .collect();
        let beyond = marks.len().saturating_sub(self.rules.forgotten_max);
        if beyond == 0 {
            return;
        }
        marks.sort();
        for (_, key) in marks.into_iter().take(beyond) {
            self.forgotten.remove(&key);
        }
    }
}
