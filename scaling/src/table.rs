//! What a fit reads: a study's rows as columns.
//!
//! Bad rows are an output and not an error: they come back as [`Rejected`] with a reason. The good ones are sorted, so
//! that a fit does not depend on the order in which a stream or a file delivered them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Rows of a study as columns. All vectors have equal length, save `groups` and `clusters`, which may be empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Table {
    /// The run of each row. Rows of one run are not independent: resampling and hold-out go by run.
    pub run_ids: Vec<String>,
    /// The law's columns by the law's name: `n`, `d`, `c`, `step`, …, in the units the law states.
    pub columns: BTreeMap<String, Vec<f64>>,
    /// What the law explains: nats per token for a loss.
    pub response: Vec<f64>,
    /// Weight of each row in the objective; empty, or 1 where nothing speaks against a row.
    pub weights: Vec<f64>,
    /// Empty, or one per row: studies of pooling ask whether groups obey one law. A fit ignores them.
    pub groups: Vec<String>,
    /// Empty (then the run), or one per row: what is resampled and held out as a whole.
    pub clusters: Vec<String>,
}

impl Table {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.response.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.response.is_empty()
    }

    /// Adds a row with weight 1. A column that was not there before is NaN in the rows before.
    pub fn push(&mut self, run_id: &str, columns: &[(&str, f64)], response: f64) {
        let rows = self.len();
        self.run_ids.push(run_id.to_owned());
        for (name, value) in columns {
            let column = self.columns.entry((*name).to_owned()).or_default();
            column.resize(rows, f64::NAN);
            column.push(*value);
        }
        self.response.push(response);
        self.weights.push(1.0);
    }

    /// The rows for which `keep` says so, in their order.
    pub fn filtered(&self, keep: impl Fn(usize) -> bool) -> Self {
        let kept: Vec<usize> = (0..self.len()).filter(|row| keep(*row)).collect();
        let texts = |all: &[String]| pick(all, &kept);
        Self {
            run_ids: texts(&self.run_ids),
            columns: self
                .columns
                .iter()
                .map(|(name, values)| (name.clone(), pick(values, &kept)))
                .collect(),
            response: pick(&self.response, &kept),
            weights: pick(&self.weights, &kept),
            groups: texts(&self.groups),
            clusters: texts(&self.clusters),
        }
    }
}

/// The values at the given rows; nothing where there are fewer values than rows (an empty optional column).
fn pick<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter()
        .filter_map(|row| all.get(*row).cloned())
        .collect()
}

/// A row that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Index among the rows given.
    pub row: usize,
    /// Its run.
    pub run_id: String,
    /// Which field is at fault.
    pub reason: String,
}
