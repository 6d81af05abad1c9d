//! What a fit reads: losses of runs, cleaned and put in an order of their own.
//!
//! Bad rows are an output and not an error: they come back as [`Rejected`] with a reason. The good ones are sorted, so
//! that a fit does not depend on the order in which a stream delivered them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::laws::hoffmann::{Centre, LogHuber, Row};

/// One measured loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The run it comes from. Rows of one run are not independent: resampling and hold-out go by run.
    pub run_id: String,
    /// N, a count of parameters; whichever convention, the same in all rows.
    pub parameters: f64,
    /// D, a count of training tokens seen.
    pub tokens: f64,
    /// L, nats per token.
    pub loss: f64,
    /// Weight of the row in the objective; 1 where nothing speaks against it.
    pub weight: f64,
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

/// Clean rows in canonical order; `run` indexes `runs`.
#[derive(Clone, Debug)]
pub(crate) struct Cohort {
    /// Clean rows, sorted by run, tokens, parameters, loss, weight.
    pub(crate) rows: Vec<Observation>,
    /// For each row the index of its run.
    pub(crate) run_of: Vec<usize>,
    /// Names of the runs, ascending.
    pub(crate) runs: Vec<String>,
}

impl Cohort {
    /// Sorts out what cannot be fitted.
    pub(crate) fn clean(rows: &[Observation]) -> (Self, Vec<Rejected>) {
        let mut rejected = Vec::new();
        let mut kept = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            let fields = [
                ("parameters", row.parameters),
                ("tokens", row.tokens),
                ("loss", row.loss),
                ("weight", row.weight),
            ];
            // `is_normal` also turns away subnormal numbers, whose logarithm would dominate the fit.
            let fault = fields
                .iter()
                .find(|(_, value)| !(value.is_normal() && *value > 0.0));
            match fault {
                None => kept.push(row.clone()),
                Some((name, value)) => rejected.push(Rejected {
                    row: index,
                    run_id: row.run_id.clone(),
                    reason: format!("{name} is {value}, not a positive number"),
                }),
            }
        }
        (Self::from_clean(kept), rejected)
    }

    fn from_clean(mut rows: Vec<Observation>) -> Self {
        rows.sort_by(|one, two| {
            one.run_id
                .cmp(&two.run_id)
                .then(one.tokens.total_cmp(&two.tokens))
                .then(one.parameters.total_cmp(&two.parameters))
                .then(one.loss.total_cmp(&two.loss))
                .then(one.weight.total_cmp(&two.weight))
        });
        let mut runs: Vec<String> = Vec::new();
        let mut run_of = Vec::with_capacity(rows.len());
        for row in &rows {
            if runs.last() != Some(&row.run_id) {
                runs.push(row.run_id.clone());
            }
            run_of.push(runs.len() - 1);
        }
        Self { rows, run_of, runs }
    }

    /// The rows of the runs for which `keep` says so.
    pub(crate) fn only(&self, keep: impl Fn(usize) -> bool) -> Self {
        let rows = self
            .rows
            .iter()
            .zip(&self.run_of)
            .filter(|(_, run)| keep(**run));
        Self::from_clean(rows.map(|(row, _)| row.clone()).collect())
    }

    /// Runs from the largest compute to the smallest. Compute is N times D: the constant 6 orders nothing.
    pub(crate) fn by_compute(&self) -> Vec<usize> {
        let mut compute = vec![0.0_f64; self.runs.len()];
        for (row, run) in self.rows.iter().zip(&self.run_of) {
            compute[*run] = compute[*run].max(row.parameters * row.tokens);
        }
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by(|one, two| compute[*two].total_cmp(&compute[*one]).then(one.cmp(two)));
        order
    }

    /// Number of distinct values of N, of D and of both together.
    pub(crate) fn distinct(&self) -> (usize, usize, usize) {
        let sizes: BTreeSet<u64> = self
            .rows
            .iter()
            .map(|row| row.parameters.to_bits())
            .collect();
        let tokens: BTreeSet<u64> = self.rows.iter().map(|row| row.tokens.to_bits()).collect();
        let points: BTreeSet<(u64, u64)> = self
            .rows
            .iter()
            .map(|row| (row.parameters.to_bits(), row.tokens.to_bits()))
            .collect();
        (sizes.len(), tokens.len(), points.len())
    }

    /// The objective over these rows, centred at their geometric means.
    pub(crate) fn objective(&self, delta: f64) -> LogHuber {
        let count = self.rows.len().max(1) as f64;
        let mean = |pick: fn(&Observation) -> f64| {
            self.rows
                .iter()
                .map(|row| libm::log(pick(row)))
                .sum::<f64>()
                / count
        };
        let centre = Centre {
            parameters: mean(|row| row.parameters),
            tokens: mean(|row| row.tokens),
            loss: mean(|row| row.loss),
        };
        let rows = self
            .rows
            .iter()
            .map(|row| Row {
                parameters: libm::log(row.parameters) - centre.parameters,
                tokens: libm::log(row.tokens) - centre.tokens,
                loss: libm::log(row.loss) - centre.loss,
                weight: row.weight,
            })
            .collect();
        LogHuber {
            rows,
            delta,
            centre,
        }
    }
}
