//! One run, one place: dedupe, fold into the row, close windows, judge by the breaker.
//!
//! The four cores are one task kind with one changelog and one transaction, and pass values in memory (DESIGN §3.2). An event
//! is taken once, by its id; it amends the row whether or not it is late; telemetry then goes through the run's clock,
//! windows and breaker. Of a run that has ended, windows, breaker and telemetry ids are let go after a while; the row and the
//! ids of facts stay, so that a late evaluation still amends it.

mod agenda;
mod event;
mod followed;
pub mod normalize;
mod open_rows;
pub mod placing;
mod plan;
mod rules;
pub mod seen;
mod state;
mod timers;
mod watch;
mod wire;

pub use plan::plan_of;
pub use rules::RunsRules;
pub use timers::Health;
pub use wire::{row, verdict};

use crate::breaker::follow;
use crate::operator::{At, Emit, Output};
use crate::tables::Table;
use crate::time::AppendTimeMs;
use cairn_avro::record::RunEvents;
use followed::FollowedRuns;
use normalize::{Derivation, RowState};
use seen::{Seen, SeenLimits};
use std::collections::BTreeSet;
use watch::Watch;

/// What one record of the run family says to this core.
#[derive(Clone, Debug)]
pub enum Input {
    /// `runs.events`.
    Events(RunEvents),
    /// `ticks.run`: append time has come this far.
    Tick,
}

/// The core.
pub struct Runs {
    rules: RunsRules,
    /// How derived fields are computed, made from the rules.
    derivation: Derivation,
    seen: Seen,
    rows: Table<RowState>,
    followed: FollowedRuns,
    /// When an ended run is to be forgotten, by run.
    endings: Table<i64>,
    /// Rows that were let go, and when.
    forgotten: Table<i64>,
    /// Runs whose row the batch changed.
    touched: BTreeSet<String>,
    /// The greatest append time of all that was read, under one key: with the other tables it is all that outputs hang on.
    clock: Table<i64>,
    /// The same, at hand.
    wall_ms: i64,
    /// Which runs are due when: made from the tables, kept nowhere.
    watch: Watch,
    /// Runs whose place in the index the batch changed.
    placed: BTreeSet<String>,
}

/// Most rows of a task that are open between batches: some 4 KB each, 16 MB; the others are as large as in the changelog.
pub(crate) const ROWS_OPEN_MAX: usize = 4_096;

/// The only key of the table `clock`.
const WALL_MS: &str = "wall_ms";

impl Runs {
    /// A core that knows no run.
    #[must_use]
    pub fn new(rules: RunsRules) -> Self {
        let limits = SeenLimits {
            ids_per_run_max: rules.dedupe_ids_per_run_max,
            ..SeenLimits::default()
        };
        let rows_max = rules.follow.rules.windows.rows_max;
        Self {
            derivation: Derivation::new(&rules.derivation),
            rules,
            seen: Seen::new(limits),
            rows: Table::packed("rows", ROWS_OPEN_MAX),
            followed: FollowedRuns::new(rows_max),
            endings: Table::new("endings"),
            forgotten: Table::new("forgotten"),
            touched: BTreeSet::new(),
            clock: Table::new("clock"),
            wall_ms: i64::MIN,
            watch: Watch::default(),
            placed: BTreeSet::new(),
        }
    }

    /// Takes one record.
    pub fn apply(&mut self, at: &At<'_>, input: Input, emit: &mut Emit) {
        // The greatest append time seen is this core's wall time; it never goes back (DESIGN §3.4).
        let before_ms = self.wall_ms;
        if at.append_time_ms > before_ms {
            self.wall_ms = at.append_time_ms;
            self.clock.put(WALL_MS, self.wall_ms);
        }
        if let Input::Events(events) = input {
            let key = cairn_topics::run_key(&events.tenant, &events.run_id);
            for event in &events.events {
                emit.trace(event.traceparent.as_deref());
                self.event(at, &key, &events, event, emit);
            }
            if self.touched.contains(&key) {
                self.rows
                    .entry(&key, || RowState::new(&events.tenant, &events.run_id))
                    .settle();
            }
            // An end is judged when all of the record's rows are in, still in the trace of the last of them.
            self.look(at, &key, AppendTimeMs(self.wall_ms), emit);
            emit.trace(None);
            self.place(&key);
        }
        self.timers(at, emit);
        self.expire(before_ms, emit);
    }

    /// Publishes the rows that the batch changed; called once before each commit.
    pub fn flush(&mut self, emit: &mut Emit) {
        for key in std::mem::take(&mut self.touched) {
            self.publish(&key, emit);
        }
    }

    /// Derives a row that the batch changed and puts it out.
    fn publish(&mut self, key: &str, emit: &mut Emit) {
        if self.rows.get(key).is_some() {
            let state = self.rows.entry(key, || RowState::new("", ""));
            state.derive(&self.derivation);
            emit.put(Output::Row(state.row.clone()));
        }
    }

    /// Closes the windows of runs whose end was announced: the end of a drain, which is no record. What it says is said at the
    /// core's wall time, and of the record that moved the run last.
    pub fn drain(&mut self, emit: &mut Emit) {
        let open: Vec<String> = self
            .followed
            .clocks()
            .filter(|(_, clock)| clock.end.is_some() && !clock.ended)
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in open {
            let plan = self.plan(&key);
            let mut out = Vec::new();
            let run = self.followed.entry(&key);
            let (partition, offset) = run.last.unwrap_or_default();
            let at = At {
                topic: wire::TOPIC,
                partition,
                offset,
                append_time_ms: self.wall_ms,
            };
            follow::drain(run, &self.rules.follow, &plan, &mut out);
            self.follow_up(&at, &key, out, None, emit);
            self.note_end(&key);
            self.place(&key);
        }
    }
}

#[cfg(test)]
mod tests;
