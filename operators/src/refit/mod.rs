//! Refits laws when the rows that they rest on change: debounced, asked for as long work, answered as a record.
//!
//! The core never fits. It keeps the newest row of each run, notes which cohorts a change touches, and once they have
//! been quiet for a while (append time, by ticks) emits an *ask* that carries the pinned rows, their cut and a seed. An
//! executor beside the loop computes a pure function of it; the answer comes back on `answers`, and the first one counts
//! (DESIGN §3.7). What is under way when a task moves is asked again by its next owner.
//!
//! What is fitted is a *subject*: a cohort, or `cohort@window` where a window moves over it. An ask carries the last fit of
//! its subject, so that the next one starts there and can be held against it.

mod answer;
mod ask;
mod health;
mod rules;
mod standing;
mod state;
mod telegram;
mod window;

pub use ask::window_sql;
pub use health::{FitHealth, Health};
pub use rules::{CohortRule, RefitRules};
pub use standing::{SEVERAL, Standing, StandingRules};
pub use window::{Bounds, Instances, LawRule, Over, PLAIN, WindowRule, instance_sql, places_sql};

use crate::operator::{At, Emit};
use crate::runs::ROWS_OPEN_MAX;
use crate::tables::Table;
use ask::relevant;
use cairn_avro::record::{Answer, Cohort, ExperimentRow};
use state::{Dirty, LastFit, Pending};

/// The law of the plain window unless told otherwise.
pub const LAW: &str = "hoffmann";

/// What one record of the tenant family says to this core.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "inputs are made and consumed one at a time"
)]
pub enum Input {
    /// `experiments.rows`; none when the row was deleted.
    Row {
        /// Record key, tenant/run.
        key: String,
        /// The row.
        row: Option<ExperimentRow>,
    },
    /// `registry.cohorts`; none when the cohort was deleted.
    Cohort {
        /// Record key, tenant/name.
        key: String,
        /// The cohort.
        cohort: Option<Cohort>,
    },
    /// `answers`.
    Answer(Answer),
    /// `ticks.tenant`.
    Tick,
}

/// The core.
pub struct Refit {
    rules: RefitRules,
    rows: Table<ExperimentRow>,
    cohorts: Table<Cohort>,
    dirty: Table<Dirty>,
    pending: Table<Pending>,
    fits: Table<LastFit>,
    /// Next offset of each input, by `topic/partition`.
    cut: Table<i64>,
    /// The greatest append time of all that was read, under one key: a restart changes nothing that hangs on it.
    clock: Table<i64>,
    /// The same, at hand.
    wall_ms: i64,
}

/// The only key of the table `clock`.
const WALL_MS: &str = "wall_ms";

/// Most new runs remembered for the next ask: enough to see whether a law holds.
const FRESH_MAX: usize = 200;

impl Refit {
    /// A core with these rules and no rows.
    #[must_use]
    pub fn new(rules: RefitRules) -> Self {
        Self {
            rules,
            rows: Table::packed("rows", ROWS_OPEN_MAX),
            cohorts: Table::new("cohorts"),
            dirty: Table::new("dirty"),
            pending: Table::new("pending"),
            fits: Table::new("fits"),
            cut: Table::new("cut"),
            clock: Table::new("clock"),
            wall_ms: i64::MIN,
        }
    }

    /// Takes one record.
    pub fn apply(&mut self, at: &At<'_>, input: Input, emit: &mut Emit) {
        if at.append_time_ms > self.wall_ms {
            self.wall_ms = at.append_time_ms;
            self.clock.put(WALL_MS, self.wall_ms);
        }
        match input {
            Input::Row { key, row } => self.row(&key, row),
            Input::Cohort { key, cohort } => self.cohort(&key, cohort),
            Input::Answer(answer) => self.answer(at, &answer, emit),
            Input::Tick => {}
        }
        self.cut
            .put(&format!("{}/{}", at.topic, at.partition), at.offset + 1);
        self.ask_due(emit, false);
    }

    /// Asks for everything that is still to be fitted, due or not: the end of a drain.
    pub fn drain(&mut self, emit: &mut Emit) {
        self.ask_due(emit, true);
    }

    /// Asks again for what a predecessor left under way; called once after a restore.
    pub fn resume(&mut self, emit: &mut Emit) {
        let again: Vec<(String, Pending)> = self
            .pending
            .iter()
            .map(|(key, pending)| (key.to_owned(), pending.clone()))
            .collect();
        for (key, pending) in again {
            // What changed meanwhile is asked for with it.
            let dirty = self.dirty.get(&key).cloned();
            self.dirty.remove(&key);
            self.pending.remove(&key);
            let mut fresh = pending.fresh;
            fresh.extend(dirty.into_iter().flat_map(|dirty| dirty.fresh));
            self.ask(&key, pending.since_ms, fresh, emit);
        }
    }

    /// True while an answer is awaited.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The earliest wall time at which something becomes due.
    #[must_use]
    pub fn due_ms(&self) -> Option<i64> {
        self.dirty
            .iter()
            .filter(|(key, _)| self.pending.get(key).is_none())
            .map(|(_, dirty)| self.due(dirty))
            .min()
    }

    fn due(&self, dirty: &Dirty) -> i64 {
        (dirty.last_ms + self.rules.debounce_ms).min(dirty.since_ms + self.rules.debounce_ms_max)
    }

    fn row(&mut self, key: &str, row: Option<ExperimentRow>) {
        // A run that no fit can see is, to a fit, not there: the first sight of it changes nothing.
        let before = self.rows.get(key).and_then(relevant);
        let after = row.as_ref().and_then(relevant);
        match row {
            Some(row) => self.rows.put(key, row),
            None => self.rows.remove(key),
        }
        if before != after {
            let (tenant, run_id) = key.split_once('/').unwrap_or_default();
            let fresh = (before.is_none() && after.is_some()).then_some(run_id);
            for cohort in self.names(tenant) {
                self.touch(tenant, &cohort, fresh);
            }
        }
    }

    fn cohort(&mut self, key: &str, cohort: Option<Cohort>) {
        let (tenant, name) = key.split_once('/').unwrap_or_default();
        match cohort {
            Some(cohort) => {
                self.cohorts.put(key, cohort);
                self.touch(tenant, name, None);
            }
            None => {
                self.cohorts.remove(key);
                for subject in self.subjects(tenant, name) {
                    self.dirty.remove(&format!("{tenant}/{subject}"));
                }
            }
        }
    }

    /// The rows of a cohort are not any more those of its fits.
    fn touch(&mut self, tenant: &str, cohort: &str, fresh: Option<&str>) {
        let wall_ms = self.wall_ms;
        for subject in self.subjects(tenant, cohort) {
            let dirty = self.dirty.entry(&format!("{tenant}/{subject}"), || Dirty {
                since_ms: wall_ms,
                last_ms: wall_ms,
                fresh: Vec::new(),
            });
            dirty.last_ms = wall_ms;
            dirty.fresh.extend(fresh.map(str::to_owned));
            let beyond = dirty.fresh.len().saturating_sub(FRESH_MAX);
            dirty.fresh.drain(..beyond);
        }
    }

    /// What is fitted of a cohort.
    fn subjects(&self, tenant: &str, cohort: &str) -> Vec<String> {
        self.rules
            .windows
            .iter()
            .filter(|window| window.covers(tenant, cohort))
            .map(|window| window.subject(cohort))
            .collect()
    }

    fn names(&self, tenant: &str) -> Vec<String> {
        let prefix = format!("{tenant}/");
        let own = self
            .cohorts
            .range_from(&prefix)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, cohort)| cohort.name.clone());
        let mut names: Vec<String> = self
            .rules
            .cohorts
            .iter()
            .map(|rule| rule.name.clone())
            .chain(own)
            .collect();
        names.sort();
        names.dedup();
        names
    }

    fn ask_due(&mut self, emit: &mut Emit, all: bool) {
        let due: Vec<String> = self
            .dirty
            .iter()
            .filter(|(key, dirty)| {
                self.pending.get(key).is_none() && (all || self.due(dirty) <= self.wall_ms)
            })
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in due {
            let dirty = self.dirty.get(&key).cloned();
            self.dirty.remove(&key);
            if let Some(dirty) = dirty {
                self.ask(&key, dirty.since_ms, dirty.fresh, emit);
            }
        }
    }
}
