//! One run, one place: dedupe, fold into the row, close windows, judge by the breaker.
//!
//! The four cores are one task kind with one changelog and one transaction, and pass values in memory (DESIGN §3.2). An event
//! is taken once, by its id; it amends the row whether or not it is late; telemetry then goes through the run's clock,
//! windows and breaker. Of a run that has ended, windows, breaker and telemetry ids are let go after a while; the row and the
//! ids of facts stay, so that a late evaluation still amends it.

pub mod normalize;
pub mod seen;
mod wire;

pub use wire::{row, verdict};

use crate::breaker::Plan;
use crate::breaker::follow::{self, FollowSettings, Followed, Followup};
use crate::operator::{At, Change, Dead, Emit, Output, Remember};
use crate::tables::Table;
use crate::time::{self, Activity, AppendTimeMs, ClockKind, EndMark, Rejected};
use cairn_avro::record::{
    BreakerState, Payload, RunEvent, RunEvents, RunState, RunStatus, TrainingConfig,
    TrainingTelemetry, WindowKind,
};
use normalize::RowState;
use seen::{Class, Seen, SeenLimits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How runs are followed and for how long they are remembered; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunsRules {
    /// Clocks, windows and breaker.
    pub follow: FollowSettings,
    /// Most ids of events kept for a run; a duplicate older than that is late, not new.
    pub dedupe_ids_per_run_max: usize,
    /// How long after a run's end its windows, breaker and telemetry ids are kept.
    pub forget_after_end_ms: i64,
    /// How long after its last change the row of an ended run is kept; a fact later than that is a dead letter.
    pub row_retention_days: i64,
}

impl Default for RunsRules {
    fn default() -> Self {
        Self {
            follow: FollowSettings::default(),
            dedupe_ids_per_run_max: SeenLimits::default().ids_per_run_max,
            forget_after_end_ms: 600_000,
            row_retention_days: 365,
        }
    }
}

/// What one record of the run family says to this core.
#[derive(Clone, Debug)]
pub enum Input {
    /// `runs.events`.
    Events(RunEvents),
    /// `ticks.run`: append time has come this far.
    Tick,
}

/// How the runs of a task are doing, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Longest silence of a running run, milliseconds of append time.
    pub silence_ms_max: i64,
    /// Runs that have stalled.
    pub stalled: usize,
}

/// The core.
pub struct Runs {
    rules: RunsRules,
    seen: Seen,
    rows: Table<RowState>,
    followed: Table<Followed>,
    /// When an ended run is to be forgotten, by run.
    endings: Table<i64>,
    /// Rows that were let go, and when.
    forgotten: Table<i64>,
    /// Runs whose row the batch changed.
    touched: BTreeSet<String>,
    wall_ms: i64,
    expired_ms: i64,
}

/// How often rows are looked through for those that are too old.
const EXPIRE_EVERY_MS: i64 = 3_600_000;

impl Runs {
    /// A core that knows no run.
    #[must_use]
    pub fn new(rules: RunsRules) -> Self {
        let limits = SeenLimits {
            ids_per_run_max: rules.dedupe_ids_per_run_max,
            ..SeenLimits::default()
        };
        Self {
            rules,
            seen: Seen::new(limits),
            rows: Table::new("rows"),
            followed: Table::new("followed"),
            endings: Table::new("endings"),
            forgotten: Table::new("forgotten"),
            touched: BTreeSet::new(),
            wall_ms: i64::MIN,
            expired_ms: i64::MIN,
        }
    }

    /// Takes one record.
    pub fn apply(&mut self, at: &At<'_>, input: Input, emit: &mut Emit) {
        // The greatest append time seen is this core's wall time; it never goes back (DESIGN §3.4).
        self.wall_ms = self.wall_ms.max(at.append_time_ms);
        if let Input::Events(events) = input {
            let key = cairn_topics::run_key(&events.tenant, &events.run_id);
            for event in &events.events {
                emit.trace(event.traceparent.as_deref());
                self.event(at, &key, &events, event, emit);
            }
            emit.trace(None);
        }
        self.timers(at, emit);
    }

    /// Publishes the rows that the batch changed; called once before each commit.
    pub fn flush(&mut self, emit: &mut Emit) {
        for key in std::mem::take(&mut self.touched) {
            if let Some(state) = self.rows.get(&key) {
                emit.put(Output::Row(state.row.clone()));
            }
        }
    }

    /// Closes the windows of runs whose end was announced: the end of a drain.
    pub fn drain(&mut self, emit: &mut Emit) {
        let open: Vec<String> = self
            .followed
            .iter()
            .filter(|(_, run)| run.clock.end.is_some() && !run.clock.ended)
            .map(|(key, _)| key.to_owned())
            .collect();
        let at = At {
            topic: wire::TOPIC,
            partition: 0,
            offset: 0,
            append_time_ms: self.wall_ms,
        };
        for key in open {
            let plan = self.plan(&key);
            let mut out = Vec::new();
            let run = self.followed.entry(&key, Followed::default);
            follow::drain(run, &self.rules.follow, &plan, &mut out);
            self.follow_up(&at, &key, out, None, emit);
            self.note_end(&key);
        }
    }

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

    fn event(
        &mut self,
        at: &At<'_>,
        key: &str,
        events: &RunEvents,
        event: &RunEvent,
        emit: &mut Emit,
    ) {
        let class = match event.payload {
            Payload::TrainingTelemetry(_) => Class::Telemetry,
            _ => Class::Fact,
        };
        if self.forgotten.get(key).is_some() {
            self.dead(
                events,
                event,
                "run_forgotten",
                "the run's row was let go; raise runs.row_retention_days to keep rows longer",
                emit,
            );
            return;
        }
        if !self.seen.insert(key, class, &event.event_id) {
            emit.duplicates += 1;
            return;
        }
        // The clock judges telemetry first: a step that leaps out of all proportion amends no row either.
        if let Payload::TrainingTelemetry(telemetry) = &event.payload
            && !self.telemetry(at, key, events, event, telemetry, emit)
        {
            return;
        }
        let state = self
            .rows
            .entry(key, || RowState::new(&events.tenant, &events.run_id));
        let was = state.row.status;
        state.fold(at, event);
        if was == RunStatus::Stalled && state.row.status != RunStatus::Stalled {
            emit.put(Output::Telegram(wire::resumed(at, &state.row)));
        }
        self.touched.insert(key.to_owned());
        if let Payload::RunConfig(config) = &event.payload {
            self.declare(key, config.clock);
        }
        if let Payload::RunLifecycle(lifecycle) = &event.payload
            && matches!(lifecycle.state, RunState::Finished | RunState::Crashed)
        {
            let mark = EndMark {
                attempt: event.attempt,
                step: lifecycle.step,
                tokens: lifecycle.tokens,
                append_time_ms: AppendTimeMs(self.wall_ms),
            };
            let plan = self.plan(key);
            let mut out = Vec::new();
            let run = self.followed.entry(key, Followed::default);
            follow::end(run, &self.rules.follow, &plan, mark, &mut out);
            self.follow_up(at, key, out, None, emit);
            self.note_end(key);
        }
    }

    /// Notes what a run says orders it (DESIGN §3.4); a run that says nothing is ordered by step.
    fn declare(&mut self, key: &str, clock: WindowKind) {
        let ordered_by = match clock {
            WindowKind::Unknown => return,
            WindowKind::Step => ClockKind::Step,
            WindowKind::Tokens => ClockKind::Tokens,
            WindowKind::Time => ClockKind::EventTime,
        };
        if self
            .followed
            .get(key)
            .is_none_or(|run| run.windows.ordered_by != ordered_by)
        {
            self.followed
                .entry(key, Followed::default)
                .windows
                .ordered_by = ordered_by;
        }
    }

    /// Clock, windows and breaker; false when the row is refused and must amend nothing.
    fn telemetry(
        &mut self,
        at: &At<'_>,
        key: &str,
        events: &RunEvents,
        event: &RunEvent,
        telemetry: &TrainingTelemetry,
        emit: &mut Emit,
    ) -> bool {
        let plan = self.plan(key);
        let row = wire::row(at, event.attempt, &event.event_id, telemetry);
        let mut out = Vec::new();
        let run = self.followed.entry(key, Followed::default);
        let taken = follow::row(
            run,
            &self.rules.follow,
            &plan,
            &row,
            AppendTimeMs(self.wall_ms),
            &mut out,
        );
        match taken {
            Ok(()) => {
                self.follow_up(at, key, out, Some(event), emit);
                self.note_end(key);
                true
            }
            Err(Rejected::StaleAttempt { current }) => {
                // The windows of an attempt that was replaced are closed: its rows are late, and amend the row all the same.
                emit.put(Output::Late(wire::stale(at, events, event, current)));
                true
            }
            Err(rejected) => {
                self.dead(
                    events,
                    event,
                    rejected.class(),
                    &wire::reason(rejected),
                    emit,
                );
                false
            }
        }
    }

    fn follow_up(
        &mut self,
        at: &At<'_>,
        key: &str,
        out: Vec<Followup>,
        event: Option<&RunEvent>,
        emit: &mut Emit,
    ) {
        let (tenant, run_id) = match self.rows.get(key) {
            Some(state) => (state.row.tenant.clone(), state.row.run_id.clone()),
            None => match cairn_topics::parts_of(key).as_deref() {
                Some([tenant, run_id]) => (tenant.clone(), run_id.clone()),
                _ => Default::default(),
            },
        };
        let mut said_late = false;
        for followup in out {
            match followup {
                Followup::Window(window) => {
                    emit.put(Output::Window(wire::window(&tenant, &run_id, window)))
                }
                Followup::Late(late) => {
                    // One event, one late row: by the first clock that it missed.
                    if let Some(event) = event.filter(|_| !said_late) {
                        said_late = true;
                        emit.put(Output::Late(wire::late(at, &tenant, &run_id, event, &late)));
                    }
                }
                Followup::Decision(decision) => {
                    let verdict = wire::verdict(at, &tenant, &run_id, decision);
                    let state = self.rows.entry(key, || RowState::new(&tenant, &run_id));
                    if verdict.state == BreakerState::Open {
                        state.row.divergences += i64::from(wire::is_divergence(verdict.cause));
                    }
                    state.row.breaker_state = verdict.state;
                    self.touched.insert(key.to_owned());
                    let telegram = wire::telegram(at, &verdict, emit.current_trace());
                    emit.put_urgent(Output::Verdict(verdict));
                    emit.put_urgent(Output::Telegram(telegram));
                }
            }
        }
    }

    /// What the row knows of the run's plan.
    fn plan(&self, key: &str) -> Plan {
        let row = self.rows.get(key).map(|state| &state.row);
        row.map_or_else(Plan::default, |row| {
            plan_of(Some(&row.training), row.curriculum)
        })
    }

    /// Arms or disarms the timer that forgets an ended run.
    fn note_end(&mut self, key: &str) {
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

    fn timers(&mut self, at: &At<'_>, emit: &mut Emit) {
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

    fn dead(
        &self,
        events: &RunEvents,
        event: &RunEvent,
        class: &'static str,
        text: &str,
        emit: &mut Emit,
    ) {
        emit.put(Output::Dead(Dead {
            tenant: events.tenant.clone(),
            class,
            text: format!("run {}: {text}", events.run_id),
            topic: event.topic.clone(),
            original: Some(crate::operator::canonical(&event.payload)),
            event_id: Some(event.event_id.clone()),
            origin: None,
        }));
    }
}

/// What a configuration says of a run's plan; steps follow from tokens where a step's tokens are known.
#[must_use]
pub fn plan_of(training: Option<&TrainingConfig>, curriculum: Option<bool>) -> Plan {
    let by_tokens = training
        .and_then(|training| training.tokens_planned.zip(training.batch_tokens))
        .filter(|(_, batch)| *batch > 0)
        .map(|(tokens, batch)| (tokens / batch as f64) as i64);
    Plan {
        steps_planned: training
            .and_then(|training| training.steps_planned)
            .or(by_tokens),
        tokens_planned: training.and_then(|training| training.tokens_planned),
        warmup_steps: training.and_then(|training| training.warmup_steps),
        curriculum: curriculum.unwrap_or(false),
    }
}

impl Remember for Runs {
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.seen.changes(&mut changes);
        self.rows.changes(&mut changes);
        self.followed.changes(&mut changes);
        self.endings.changes(&mut changes);
        self.forgotten.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.seen.merge();
        self.rows.merge();
        self.followed.merge();
        self.endings.merge();
        self.forgotten.merge();
    }

    fn discard(&mut self) {
        self.seen.discard();
        self.rows.discard();
        self.followed.discard();
        self.endings.discard();
        self.forgotten.discard();
        self.touched.clear();
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            seen::TABLE => self.seen.restore(key, value),
            "rows" => self.rows.restore(key, value),
            "followed" => self.followed.restore(key, value),
            "endings" => self.endings.restore(key, value),
            "forgotten" => self.forgotten.restore(key, value),
            other => Err(format!(
                "runs has no table {other}; the changelog was written by another version"
            )),
        }
    }

    fn bytes(&self) -> u64 {
        self.seen.bytes()
            + self.rows.bytes()
            + self.followed.bytes()
            + self.endings.bytes()
            + self.forgotten.bytes()
    }
}

#[cfg(test)]
mod tests;
