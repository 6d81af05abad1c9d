//! Gradient boosting: trees added one after another along the gradient of the loss (Friedman 2001).

use serde::{Deserialize, Serialize};

use super::bins::Binned;
use super::options::logistic;
use super::tree::{Grower, Growth, Tree};
use crate::random::generator;

/// A sum of trees on the model's scale.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Boosting {
    pub(crate) base: f64,
    pub(crate) trees: Vec<Tree>,
}

/// Rows with what they are to be fitted to.
pub(crate) struct Rows<'a> {
    pub(crate) data: &'a Binned,
    pub(crate) target: &'a [f64],
    pub(crate) weights: &'a [f64],
}

/// How many trees and how large.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) growth: Growth,
    pub(crate) rounds: usize,
    /// Rounds without improvement on the validation rows after which to stop.
    pub(crate) patience: usize,
    pub(crate) logistic: bool,
}

impl Plan {
    /// The fewer the rows, the smaller the trees and the slower the rate. Chosen by error on held-out folds of RegMix's 512
    /// training rows (13 targets) and of fcnet-protein; scores on test rows were printed beside it and chose nothing, but this was not
    /// blind (`benchmark/surfaces`).
    pub(crate) fn for_rows(rows: usize, logistic: bool) -> Self {
        let small = rows <= 3_000;
        let growth = Growth {
            leaves: if small { 8 } else { 31 },
            depth: 12,
            rows_min: (rows / 40).clamp(3, 20),
            l2: 1.0,
            rate: if small { 0.03 } else { 0.1 },
            columns_per_split: 0,
            best_first: true,
        };
        let rounds = if small { 2_000 } else { 1_000 };
        Self {
            growth,
            rounds,
            patience: if small { 100 } else { 25 },
            logistic,
        }
    }
}

impl Boosting {
    /// Fits, and returns the mean loss on `watch` after each round.
    pub(crate) fn fit(
        rows: &Rows,
        watch: Option<&Rows>,
        monotone: &[i8],
        plan: &Plan,
        seed: u64,
    ) -> (Self, Vec<f64>) {
        let base = start(rows.target, rows.weights, plan.logistic);
        let count = rows.target.len();
        let mut at = vec![base; count];
        let mut watched = watch.map(|watch| vec![base; watch.target.len()]);
        let mut gradient = vec![0.0; count];
        let mut hessian = rows.weights.to_vec();
        let mut model = Self {
            base,
            trees: Vec::new(),
        };
        let mut curve = Vec::new();
        let (mut best, mut best_round) = (f64::INFINITY, 0);
        let all: Vec<u32> = (0..count as u32).collect();
        let mut random = generator(seed, 1 << 32);
        for round in 0..plan.rounds {
            for row in 0..count {
                if plan.logistic {
                    let probability = logistic(at[row]);
                    gradient[row] = rows.weights[row] * (probability - rows.target[row]);
                    hessian[row] =
                        rows.weights[row] * (probability * (1.0 - probability)).max(1e-9);
                } else {
                    gradient[row] = rows.weights[row] * (at[row] - rows.target[row]);
                }
            }
            let grower = Grower {
                data: rows.data,
                gradient: &gradient,
                hessian: &hessian,
                monotone,
                growth: &plan.growth,
            };
            let tree = grower.grow(all.clone(), &mut random, |rows, value| {
                for row in rows {
                    at[*row as usize] += value;
                }
            });
            // Where no split gains, none will gain in the next round either.
            if tree.feature.len() == 1 {
                break;
            }
            if let (Some(watch), Some(watched)) = (watch, watched.as_mut()) {
                let columns = &watch.data.columns;
                for (row, sum) in watched.iter_mut().enumerate() {
                    *sum += tree.predict(&watch.data.categorical, |column| columns[column][row]);
                }
                let loss = mean_loss(watched, watch.target, watch.weights, plan.logistic);
                curve.push(loss);
                if loss < best * (1.0 - 1e-9) {
                    (best, best_round) = (loss, round);
                }
            }
            model.trees.push(tree);
            if watch.is_some() && round > best_round + plan.patience {
                break;
            }
        }
        (model, curve)
    }

    /// The sum for one row.
    pub(crate) fn predict(&self, data: &Binned, row: usize) -> f64 {
        let bin = |column: usize| data.columns[column][row];
        self.base
            + self
                .trees
                .iter()
                .map(|tree| tree.predict(&data.categorical, bin))
                .sum::<f64>()
    }
}

/// The constant with the least loss.
pub(crate) fn start(target: &[f64], weights: &[f64], logit: bool) -> f64 {
    let total: f64 = weights.iter().sum();
    let mean = target
        .iter()
        .zip(weights)
        .map(|(value, weight)| value * weight)
        .sum::<f64>()
        / total;
    if logit {
        // Half an event more on either side keeps a run of equal outcomes finite.
        let events = mean * total;
        libm::log((events + 0.5) / (total - events + 0.5))
    } else {
        mean
    }
}

/// Weighted mean squared error, or mean negative log-likelihood.
pub(crate) fn mean_loss(at: &[f64], target: &[f64], weights: &[f64], logit: bool) -> f64 {
    let total: f64 = weights.iter().sum();
    let loss = |(at, target): (&f64, &f64)| {
        if logit {
            // ln(1 + e^x) - y x, without overflow.
            at.max(0.0) + libm::log1p(libm::exp(-at.abs())) - target * at
        } else {
            (at - target) * (at - target)
        }
    };
    at.iter()
        .zip(target)
        .map(loss)
        .zip(weights)
        .map(|(loss, weight)| loss * weight)
        .sum::<f64>()
        / total
}
