//! Random forest (Breiman 2001) on the trees of boosting: resampled runs, a third of the columns for each split.

use serde::{Deserialize, Serialize};

use super::boosting::Rows;
use super::tree::{Grower, Growth, Tree};
use crate::random::{generator, index_below};

/// Trees of a forest: more change the mean by less than their own noise.
const TREES: u64 = 100;

/// A mean of trees: of the target on the model's scale, of the share of events for a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forest {
    pub(crate) trees: Vec<Tree>,
}

impl Forest {
    /// Fits. `run_of` numbers the run of each row: a resample draws whole runs.
    pub(crate) fn fit(rows: &Rows, run_of: &[usize], monotone: &[i8], seed: u64) -> Self {
        let count = rows.target.len();
        let columns = rows.data.columns.len();
        let growth = Growth {
            leaves: usize::MAX,
            depth: 24,
            rows_min: (count / 2_000).max(3),
            l2: 0.0,
            rate: 1.0,
            columns_per_split: columns.div_ceil(3).max(2),
            best_first: false,
        };
        let mut members: Vec<Vec<u32>> =
            vec![Vec::new(); run_of.iter().max().map_or(0, |run| run + 1)];
        for (row, run) in run_of.iter().enumerate() {
            members[*run].push(row as u32);
        }
        members.retain(|rows| !rows.is_empty());
        let gradient: Vec<f64> = rows
            .target
            .iter()
            .zip(rows.weights)
            .map(|(target, weight)| -target * weight)
            .collect();
        let grower = Grower {
            data: rows.data,
            gradient: &gradient,
            hessian: rows.weights,
            monotone,
            growth: &growth,
        };
        let tree = |number: u64| {
            let mut random = generator(seed, (2 << 32) + number);
            let mut drawn: Vec<u32> = Vec::with_capacity(count);
            for _ in 0..members.len() {
                drawn.extend(&members[index_below(&mut random, members.len())]);
            }
            drawn.sort_unstable();
            grower.grow(drawn, &mut random, |_, _| {})
        };
        let trees = if count > 5_000 { TREES / 2 } else { TREES };
        Self {
            trees: (0..trees).map(tree).collect(),
        }
    }

    /// The mean for one row.
    pub(crate) fn predict(&self, data: &super::bins::Binned, row: usize) -> f64 {
        let bin = |column: usize| data.columns[column][row];
        let sum: f64 = self
            .trees
            .iter()
            .map(|tree| tree.predict(&data.categorical, bin))
            .sum();
        sum / self.trees.len() as f64
    }
}
