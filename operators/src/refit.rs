//! Refits laws when the rows that they rest on change: debounced, asked for as long work, answered as a record.
//!
//! The core never fits. It keeps the newest row of each run, notes which cohorts a change touches, and once they have
//! been quiet for a while (append time, by ticks) emits an *ask* that carries the pinned rows, their cut and a seed. An
//! executor beside the loop computes a pure function of it; the answer comes back on `answers`, and the first one counts
//! (DESIGN §3.7). What is under way when a task moves is asked again by its next owner.

use crate::operator::{
    Ask, At, Change, Emit, Evidence, Output, Place, Remember, Subject, Telegram, Text,
};
use crate::tables::Table;
use cairn_avro::hex;
use cairn_avro::record::{Answer, Cohort, ExperimentRow, FitVerdict, Named, RunStatus, ScalingFit};
use cairn_avro::time::rfc3339;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A window over the rows: which of them a law is fitted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortRule {
    /// Name of the cohort.
    pub name: String,
    /// SQL condition over the columns of `rows`.
    #[serde(rename = "where")]
    pub condition: String,
}

/// How and when laws are refitted; every limit has its name and default here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefitRules {
    /// Cohorts that every tenant has, beside those in `registry.cohorts`.
    pub cohorts: Vec<CohortRule>,
    /// A cohort is refitted once its rows have not changed for this long.
    pub debounce_ms: i64,
    /// … and at the latest this long after the first change.
    pub debounce_ms_max: i64,
    /// Most rows pinned to one ask; the newest by append time are kept. 100,000 rows are about 200 MB.
    pub rows_max: usize,
    /// Cohorts with fewer runs than this say so without raising anybody's attention.
    pub runs_noteworthy_min: i32,
}

impl Default for RefitRules {
    fn default() -> Self {
        Self {
            cohorts: vec![CohortRule {
                name: "all".to_owned(),
                condition: "TRUE".to_owned(),
            }],
            debounce_ms: 2_000,
            debounce_ms_max: 30_000,
            rows_max: 100_000,
            runs_noteworthy_min: 6,
        }
    }
}

/// The only law of this release.
pub const LAW: &str = "hoffmann";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Dirty {
    since_ms: i64,
    last_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    ask_id: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LastFit {
    fit_id: String,
    verdict: FitVerdict,
    values: BTreeMap<String, f64>,
}

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
    wall_ms: i64,
}

impl Refit {
    /// A core with these rules and no rows.
    #[must_use]
    pub fn new(rules: RefitRules) -> Self {
        Self {
            rules,
            rows: Table::new("rows"),
            cohorts: Table::new("cohorts"),
            dirty: Table::new("dirty"),
            pending: Table::new("pending"),
            fits: Table::new("fits"),
            cut: Table::new("cut"),
            wall_ms: i64::MIN,
        }
    }

    /// Takes one record.
    pub fn apply(&mut self, at: &At<'_>, input: Input, emit: &mut Emit) {
        self.wall_ms = self.wall_ms.max(at.append_time_ms);
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
        let again: Vec<String> = self.pending.iter().map(|(key, _)| key.to_owned()).collect();
        for key in again {
            self.pending.remove(&key);
            self.ask(&key, emit);
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
        let before = self.rows.get(key).map(relevant);
        let after = row.as_ref().map(relevant);
        match row {
            Some(row) => self.rows.put(key, row),
            None => self.rows.remove(key),
        }
        if before != after {
            let tenant = key.split('/').next().unwrap_or_default().to_owned();
            for name in self.names(&tenant) {
                self.touch(&format!("{tenant}/{name}"));
            }
        }
    }

    fn cohort(&mut self, key: &str, cohort: Option<Cohort>) {
        match cohort {
            Some(cohort) => {
                self.cohorts.put(key, cohort);
                self.touch(key);
            }
            None => {
                self.cohorts.remove(key);
                self.dirty.remove(key);
            }
        }
    }

    fn touch(&mut self, key: &str) {
        let wall_ms = self.wall_ms;
        self.dirty
            .entry(key, || Dirty {
                since_ms: wall_ms,
                last_ms: wall_ms,
            })
            .last_ms = wall_ms;
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
            self.ask(&key, emit);
        }
    }

    fn ask(&mut self, key: &str, emit: &mut Emit) {
        self.dirty.remove(key);
        let Some((tenant, name)) = key.split_once('/') else {
            return;
        };
        let condition = match (
            self.cohorts.get(key),
            self.rules.cohorts.iter().find(|rule| rule.name == name),
        ) {
            (Some(cohort), _) => cohort.where_sql.clone(),
            (None, Some(rule)) => rule.condition.clone(),
            (None, None) => return,
        };
        let sql = window_sql(&condition);
        let cut: Vec<Place> = self
            .cut
            .iter()
            .filter_map(|(key, next)| {
                let (topic, partition) = key.rsplit_once('/')?;
                Some(Place {
                    topic: topic.to_owned(),
                    partition: partition.parse().ok()?,
                    offset: *next,
                })
            })
            .collect();
        let prefix = format!("{tenant}/");
        let mut rows: Vec<ExperimentRow> = self
            .rows
            .range_from(&prefix)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(_, row)| row.clone())
            .collect();
        if rows.len() > self.rules.rows_max {
            rows.sort_by_key(|row| std::cmp::Reverse(row.updated_append_time_ms));
            rows.truncate(self.rules.rows_max);
            rows.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        }
        let digest = Sha256::digest(format!("{key}\n{sql}\n{cut:?}"));
        let ask_id = hex::text(&digest[..16]);
        let seed = u64::from_be_bytes(
            digest[16..24]
                .try_into()
                .expect("eight bytes of thirty-two"),
        ) >> 1;
        self.pending.put(
            key,
            Pending {
                ask_id: ask_id.clone(),
            },
        );
        emit.put(Output::Ask(Ask {
            ask_id,
            tenant: tenant.to_owned(),
            kind: "fit",
            cohort: name.to_owned(),
            sql,
            cut,
            seed,
            rows,
        }));
    }

    fn answer(&mut self, at: &At<'_>, answer: &Answer, emit: &mut Emit) {
        // The first answer counts: an ask that is no longer pending was answered or asked anew.
        let Some(key) = self
            .pending
            .iter()
            .find(|(_, pending)| pending.ask_id == answer.ask_id)
            .map(|(key, _)| key.to_owned())
        else {
            return;
        };
        self.pending.remove(&key);
        let name = key.split_once('/').map_or("", |(_, name)| name).to_owned();
        if !answer.ok {
            let why = answer.error.clone().unwrap_or_default();
            let fallback = short(&format!("Cohort {name} cannot be fitted: {why}"));
            emit.put(Output::Telegram(telegram(
                at,
                answer,
                &name,
                "fit.failed",
                2,
                fallback,
                None,
            )));
            return;
        }
        let mut fit: ScalingFit = match serde_json::from_str(&answer.body) {
            Ok(fit) => fit,
            Err(error) => {
                let fallback = short(&format!(
                    "The answer for cohort {name} cannot be read: {error}"
                ));
                emit.put(Output::Telegram(telegram(
                    at,
                    answer,
                    &name,
                    "fit.failed",
                    2,
                    fallback,
                    None,
                )));
                return;
            }
        };
        let fit_key = format!("{key}/{}", fit.law);
        let last = self.fits.get(&fit_key).cloned();
        let values: BTreeMap<String, f64> = fit
            .parameters
            .iter()
            .filter_map(|p| Some((p.name.clone(), p.value?)))
            .collect();
        if let Some(last) = &last {
            fit.previous_fit_id = Some(last.fit_id.clone());
            fit.change = values
                .iter()
                .filter_map(|(name, value)| {
                    Some(Named {
                        name: name.clone(),
                        value: value - last.values.get(name)?,
                    })
                })
                .collect();
        }
        if last.as_ref().is_none_or(|last| last.verdict != fit.verdict) {
            emit.put(Output::Telegram(self.report(
                at,
                answer,
                &name,
                &fit,
                last.as_ref(),
            )));
        }
        self.fits.put(
            &fit_key,
            LastFit {
                fit_id: fit.fit_id.clone(),
                verdict: fit.verdict,
                values,
            },
        );
        emit.put(Output::Fit(fit));
    }

    fn report(
        &self,
        at: &At<'_>,
        answer: &Answer,
        cohort: &str,
        fit: &ScalingFit,
        last: Option<&LastFit>,
    ) -> Telegram {
        let reason = fit.reasons.first().cloned().unwrap_or_default();
        let is_noteworthy = last.is_some() || fit.n_runs >= self.rules.runs_noteworthy_min;
        let (key, priority, fallback) = match &fit.verdict {
            FitVerdict::Usable => (
                "fit.usable",
                3,
                format!(
                    "Cohort {cohort}: the {} law fits {} runs",
                    fit.law, fit.n_runs
                ),
            ),
            FitVerdict::Weak => (
                "fit.weak",
                2,
                format!("Cohort {cohort}: the {} law is weak: {reason}", fit.law),
            ),
            _ => (
                "fit.refused",
                2,
                format!("Cohort {cohort}: no {} law: {reason}", fit.law),
            ),
        };
        let priority = if is_noteworthy { priority } else { 3 };
        telegram(
            at,
            answer,
            cohort,
            key,
            priority,
            short(&fallback),
            Some(fit),
        )
    }
}

/// The SQL that chooses a window of rows: one observation of the law a finished run, validation loss before training loss.
#[must_use]
pub fn window_sql(condition: &str) -> String {
    format!(
        "SELECT run_id, parameters AS n, tokens AS d, loss, weight FROM rows \
         WHERE status = 'finished' AND parameters > 0 AND tokens > 0 AND loss > 0 AND ({condition}) ORDER BY run_id"
    )
}

/// The parts of a row that a fit can see: a change elsewhere asks for nothing.
fn relevant(row: &ExperimentRow) -> Option<impl PartialEq + use<>> {
    (row.status == RunStatus::Finished).then(|| {
        (
            row.model.clone(),
            row.tokens,
            row.loss_last.map(f64::to_bits),
            row.validation_loss_last.map(f64::to_bits),
            row.tags.clone(),
        )
    })
}

fn telegram(
    at: &At<'_>,
    answer: &Answer,
    cohort: &str,
    key: &str,
    priority: u8,
    fallback: String,
    fit: Option<&ScalingFit>,
) -> Telegram {
    let mut args = BTreeMap::from([("cohort".to_owned(), short(cohort).into())]);
    if let Some(fit) = fit {
        args.insert("law".to_owned(), fit.law.clone().into());
        args.insert("runs".to_owned(), fit.n_runs.into());
    }
    let offsets = answer
        .cut
        .iter()
        .map(|o| Place {
            topic: o.topic.clone(),
            partition: o.partition,
            offset: o.offset,
        })
        .take(EVIDENCE_OFFSETS_MAX)
        .collect();
    Telegram {
        schema_version: "1.0".to_owned(),
        telegram_id: hex::text(
            &Sha256::digest(format!("{key}\n{}\n{}", answer.ask_id, at.offset))[..16],
        ),
        tenant: answer.tenant.clone(),
        stream: "refit".to_owned(),
        time: rfc3339(at.append_time_ms),
        kind: "fit".to_owned(),
        subject: Subject {
            kind: "fit".to_owned(),
            id: format!("{cohort}/{LAW}"),
        },
        priority,
        text: Text {
            key: key.to_owned(),
            args,
            fallback,
        },
        evidence: Evidence {
            offsets,
            fit_id: fit.map(|fit| fit.fit_id.clone()),
            ..Evidence::default()
        },
        traceparent: None,
    }
}

/// Most offsets that a telegram names.
const EVIDENCE_OFFSETS_MAX: usize = 32;

/// At most 160 characters, the last one an ellipsis where something was cut.
pub(crate) fn short(text: &str) -> String {
    if text.chars().count() <= 160 {
        return text.to_owned();
    }
    text.chars().take(159).chain(['…']).collect()
}

impl Remember for Refit {
    fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        self.rows.changes(&mut changes);
        self.cohorts.changes(&mut changes);
        self.dirty.changes(&mut changes);
        self.pending.changes(&mut changes);
        self.fits.changes(&mut changes);
        self.cut.changes(&mut changes);
        changes
    }

    fn merge(&mut self) {
        self.rows.merge();
        self.cohorts.merge();
        self.dirty.merge();
        self.pending.merge();
        self.fits.merge();
        self.cut.merge();
    }

    fn discard(&mut self) {
        self.rows.discard();
        self.cohorts.discard();
        self.dirty.discard();
        self.pending.discard();
        self.fits.discard();
        self.cut.discard();
    }

    fn restore(&mut self, table: &str, key: &str, value: Option<&[u8]>) -> Result<(), String> {
        match table {
            "rows" => self.rows.restore(key, value),
            "cohorts" => self.cohorts.restore(key, value),
            "dirty" => self.dirty.restore(key, value),
            "pending" => self.pending.restore(key, value),
            "fits" => self.fits.restore(key, value),
            "cut" => self.cut.restore(key, value),
            other => Err(format!(
                "refit has no table {other}; the changelog was written by another version"
            )),
        }
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
            + self.cohorts.bytes()
            + self.dirty.bytes()
            + self.pending.bytes()
            + self.fits.bytes()
            + self.cut.bytes()
    }
}
