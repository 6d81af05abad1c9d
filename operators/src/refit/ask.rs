//! What is asked of the executor: rows pinned at a cut, the SQL that chooses among them, a seed from the inputs.

use super::Refit;
use super::state::Pending;
use crate::operator::{Ask, Emit, Output, Place};
use cairn_avro::hex;
use cairn_avro::record::{ExperimentRow, RunStatus};
use sha2::{Digest, Sha256};

impl Refit {
    pub(super) fn ask(&mut self, key: &str, emit: &mut Emit) {
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
        )
    })
}
