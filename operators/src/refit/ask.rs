//! What is asked of the executor: rows pinned at a cut, the SQL that chooses among them, a seed from the inputs.

use super::state::{LastFit, Pending};
use super::window::WindowRule;
use super::{PLAIN, Refit};
use crate::operator::{Ask, Emit, Output, Place, Previous};
use crate::tables::Part;
use cairn_avro::hex;
use cairn_avro::record::{ExperimentRow, FitVerdict, RunStatus};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// When a row was changed last.
#[derive(Deserialize)]
struct Age {
    updated_append_time_ms: i64,
}

impl Part<ExperimentRow> for Age {
    fn of(whole: &ExperimentRow) -> Self {
        Self {
            updated_append_time_ms: whole.updated_append_time_ms,
        }
    }
}

impl Refit {
    /// Asks for what has waited since then.
    pub(super) fn ask(&mut self, key: &str, since_ms: i64, fresh: Vec<String>, emit: &mut Emit) {
        let Some((tenant, subject)) = key.split_once('/') else {
            return;
        };
        let Some((cohort, window)) = self.window(tenant, subject) else {
            return;
        };
        let saved = self.cohorts.get(&format!("{tenant}/{cohort}"));
        let condition = match (
            saved,
            self.rules.cohorts.iter().find(|rule| rule.name == cohort),
        ) {
            (Some(cohort), _) => &cohort.where_sql,
            (None, Some(rule)) => &rule.condition,
            (None, None) => return,
        };
        let sql = window.sql(condition);
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
        let rows = self.newest_rows(tenant);
        let digest = Sha256::digest(format!("{key}\n{sql}\n{cut:?}"));
        let ask_id = hex::text(&digest[..16]);
        let seed = u64::from_be_bytes(
            digest[16..24]
                .try_into()
                .expect("eight bytes of thirty-two"),
        ) >> 1;
        let last = self.fits.get(&format!("{key}/{}", window.law.name()));
        let ask = Ask {
            ask_id: ask_id.clone(),
            tenant: tenant.to_owned(),
            kind: "fit",
            cohort: subject.to_owned(),
            cohort_version: saved.map(|cohort| cohort.version),
            window: window.clone(),
            sql,
            cut,
            asked_ms: self.wall_ms,
            seed,
            rows,
            previous: last.map(previous),
            fresh: fresh.clone(),
        };
        self.pending.put(
            key,
            Pending {
                ask_id,
                since_ms,
                fresh,
            },
        );
        emit.put(Output::Ask(ask));
    }

    /// The rows of a tenant, at most `rows_max`: the newest, by run.
    fn newest_rows(&self, tenant: &str) -> Vec<ExperimentRow> {
        let prefix = format!("{tenant}/");
        let mut ages: Vec<(i64, &str)> = self
            .rows
            .parts_from::<Age>(&prefix)
            .take_while(|(key, _)| key.starts_with(&prefix))
            .map(|(key, row)| (row.updated_append_time_ms, key))
            .collect();
        if ages.len() > self.rules.rows_max {
            ages.sort_by_key(|(updated_ms, _)| std::cmp::Reverse(*updated_ms));
            ages.truncate(self.rules.rows_max);
            ages.sort_by_key(|(_, key)| *key);
        }
        let rows = ages.into_iter();
        rows.filter_map(|(_, key)| self.rows.copy(key)).collect()
    }

    /// The cohort and the window that a subject names.
    fn window<'a>(&'a self, tenant: &str, subject: &'a str) -> Option<(&'a str, &'a WindowRule)> {
        let known = |cohort: &str| {
            self.cohorts.get(&format!("{tenant}/{cohort}")).is_some()
                || self.rules.cohorts.iter().any(|rule| rule.name == cohort)
        };
        self.rules
            .windows
            .iter()
            .filter_map(|window| {
                let cohort = if window.name == PLAIN {
                    subject
                } else {
                    subject.strip_suffix(&*window.name)?.strip_suffix('@')?
                };
                Some((cohort, window))
            })
            .find(|(cohort, window)| window.covers(tenant, cohort) && known(cohort))
    }
}

fn previous(last: &LastFit) -> Previous {
    let can_predict = last.verdict != FitVerdict::Refused;
    Previous {
        fit_id: last.fit_id.clone(),
        parameters: last.values.clone(),
        fit_json: if can_predict {
            last.fit_json.clone()
        } else {
            String::new()
        },
        window_end: last.window_end,
        drift_json: last.drift_json.clone(),
        data_digest: last.data_digest.clone(),
    }
}

/// The SQL of the plain window: one observation of Hoffmann's law a finished run, validation loss before training loss.
#[must_use]
pub fn window_sql(condition: &str) -> String {
    WindowRule::default().sql(condition)
}

/// The parts of a row that a fit can see: a change elsewhere asks for nothing.
pub(super) fn relevant(row: &ExperimentRow) -> Option<impl PartialEq + use<>> {
    (row.status == RunStatus::Finished).then(|| {
        (
            row.model.clone(),
            row.tokens,
            // Which loss an observation has hangs on where the run ended.
            row.steps,
            row.validation_loss_step,
            row.loss_last.map(f64::to_bits),
            row.validation_loss_last.map(f64::to_bits),
            row.tags.clone(),
            // What windows may ask of besides.
            (
                row.training.clone(),
                row.context_length_tokens,
                row.curriculum,
                row.derived.flops.map(f64::to_bits),
            ),
        )
    })
}
