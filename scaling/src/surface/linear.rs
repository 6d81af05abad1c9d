//! Elastic net by coordinate descent (Friedman, Hastie, Tibshirani 2010), with signs where asked for.
//!
//! Squared loss or, through reweighted rounds, logistic loss. Columns come scaled, so one penalty fits all. A monotone
//! column bounds its coefficient at zero, which coordinate descent keeps exactly.

// Rows and columns of one matrix at once.
#![allow(clippy::needless_range_loop)]

use serde::{Deserialize, Serialize};

use super::options::logistic;

/// Share of the absolute penalty; the rest is quadratic. A little of it leaves idle columns out, and the quadratic part
/// keeps the columns of a mixture, which add up to a constant, apart.
const ABSOLUTE: f64 = 0.5;

/// A linear model over scaled columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Linear {
    pub(crate) intercept: f64,
    pub(crate) slopes: Vec<f64>,
}

/// What is fitted.
pub(crate) struct LinearRows<'a> {
    pub(crate) dense: &'a [Vec<f64>],
    pub(crate) rows: &'a [usize],
    pub(crate) target: &'a [f64],
    pub(crate) weights: &'a [f64],
    /// -1, 0, 1 for each column.
    pub(crate) signs: &'a [i8],
    pub(crate) logistic: bool,
}

/// Penalties tried, as shares of the least one that leaves everything out.
pub(crate) fn penalties() -> Vec<f64> {
    (0..12)
        .map(|step| libm::pow(10.0, -0.4 * f64::from(step) - 0.4))
        .collect()
}

impl Linear {
    /// Fits along the path of penalties; one model each.
    pub(crate) fn path(rows: &LinearRows) -> Vec<Self> {
        let columns = rows.dense.first().map_or(0, Vec::len);
        let mut model = Self {
            intercept: 0.0,
            slopes: vec![0.0; columns],
        };
        let total: f64 = rows.rows.iter().map(|row| rows.weights[*row]).sum();
        let mean = rows
            .rows
            .iter()
            .map(|row| rows.weights[*row] * rows.target[*row])
            .sum::<f64>()
            / total;
        let mean = if rows.logistic {
            (mean * total + 0.5) / (total + 1.0)
        } else {
            mean
        };
        model.intercept = if rows.logistic {
            libm::log(mean / (1.0 - mean))
        } else {
            mean
        };
        // The penalty at which the first column enters.
        let pull = |column: usize| {
            let sum = |row: &usize| {
                rows.weights[*row] * rows.dense[*row][column] * (rows.target[*row] - mean)
            };
            rows.rows.iter().map(sum).sum::<f64>().abs() / total
        };
        let largest = (0..columns).map(pull).fold(1e-12, f64::max) / ABSOLUTE;
        penalties()
            .into_iter()
            .map(|share| {
                model.descend(rows, share * largest, total);
                model.clone()
            })
            .collect()
    }

    fn descend(&mut self, rows: &LinearRows, penalty: f64, total: f64) {
        let columns = self.slopes.len();
        let rounds = if rows.logistic { 30 } else { 1 };
        for _ in 0..rounds {
            // Gram matrix of the (re)weighted rows, intercept last.
            let mut gram = vec![0.0; (columns + 1) * (columns + 1)];
            let mut right = vec![0.0; columns + 1];
            for row in rows.rows {
                let x = &rows.dense[*row];
                let (weight, response) = if rows.logistic {
                    let at = self.predict(x);
                    let probability = logistic(at);
                    let curve = (probability * (1.0 - probability)).max(1e-6);
                    (
                        rows.weights[*row] * curve,
                        at + (rows.target[*row] - probability) / curve,
                    )
                } else {
                    (rows.weights[*row], rows.target[*row])
                };
                let weight = weight / total;
                for one in 0..=columns {
                    let left = if one < columns { x[one] } else { 1.0 } * weight;
                    for two in 0..=one {
                        gram[one * (columns + 1) + two] +=
                            left * if two < columns { x[two] } else { 1.0 };
                    }
                    right[one] += left * response;
                }
            }
            for one in 0..=columns {
                for two in one + 1..=columns {
                    gram[one * (columns + 1) + two] = gram[two * (columns + 1) + one];
                }
            }
            let moved = self.sweep(&gram, &right, penalty, rows.signs);
            if moved < 1e-7 {
                break;
            }
        }
    }

    fn sweep(&mut self, gram: &[f64], right: &[f64], penalty: f64, signs: &[i8]) -> f64 {
        let columns = self.slopes.len();
        let mut at: Vec<f64> = self
            .slopes
            .iter()
            .copied()
            .chain([self.intercept])
            .collect();
        let before = at.clone();
        for _ in 0..2_000 {
            let mut moved: f64 = 0.0;
            for one in 0..=columns {
                let line = &gram[one * (columns + 1)..(one + 1) * (columns + 1)];
                let own = line[one];
                let pull = right[one] - line.iter().zip(&at).map(|(g, b)| g * b).sum::<f64>()
                    + own * at[one];
                let value = if one == columns {
                    pull / own
                } else {
                    let shrunk = (pull.abs() - penalty * ABSOLUTE).max(0.0) * pull.signum();
                    let value = shrunk / (own + penalty * (1.0 - ABSOLUTE));
                    match signs[one] {
                        1 => value.max(0.0),
                        -1 => value.min(0.0),
                        _ => value,
                    }
                };
                moved = moved.max((value - at[one]).abs());
                at[one] = value;
            }
            if moved < 1e-10 {
                break;
            }
        }
        let moved = at
            .iter()
            .zip(&before)
            .map(|(one, two)| (one - two).abs())
            .fold(0.0, f64::max);
        self.intercept = at[columns];
        at.truncate(columns);
        self.slopes = at;
        moved
    }

    /// The sum for one scaled row.
    pub(crate) fn predict(&self, x: &[f64]) -> f64 {
        self.intercept
            + self
                .slopes
                .iter()
                .zip(x)
                .map(|(slope, x)| slope * x)
                .sum::<f64>()
    }
}
