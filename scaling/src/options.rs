//! How to fit, and how it can be refused before it begins.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::observation::Rejected;

/// Where the searches begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartGrid {
    /// 81 starts placed by the data: E at a fifth, seven and nineteen twentieths of the smallest loss; what is left
    /// shared 1:3, 1:1 and 3:1 between the terms; exponents .1, .35 and 1. Finds the basin that [`Self::Paper`] finds
    /// where that was tried (Chinchilla's points).
    #[default]
    Data,
    /// The 4500 starts of Hoffmann et al. 2022 (appendix D.3) as used by Besiroglu et al. 2024: alpha and beta in
    /// 0, .5 … 2, ln E in -1, -.5 … 1, ln A and ln B in 0, 5 … 25. The 81 of [`Self::Data`]
    /// are run beside them.
    Paper,
}

/// Settings of a fit. [`Default`] is what the pipeline uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FitOptions {
    /// Where Huber's loss turns from square to straight, in log loss. 1e-3 as in Hoffmann et al. 2022: with the usual
    /// residuals of a per cent it is close to least absolute deviations.
    pub delta: f64,
    /// Where the searches begin.
    pub starts: StartGrid,
    /// Replicates of the bootstrap over runs. 200 give standard errors to about 5 per cent; the paper has 4000.
    pub bootstrap: u32,
    /// Level of all intervals, between 0 and 1.
    pub level: f64,
    /// How many of the largest-compute runs the back-test holds out.
    pub holdout_runs: u32,
    /// Level of the intervals that the back-test reports for the runs it holds out.
    pub holdout_level: f64,
    /// Seed of the bootstrap and of the permutation test of the residuals.
    pub seed: u64,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            delta: 1e-3,
            starts: StartGrid::Data,
            bootstrap: 200,
            level: 0.95,
            holdout_runs: 2,
            holdout_level: 0.9,
            seed: 0,
        }
    }
}

/// Why there is no fit at all. What to do: mend the options, or collect more runs.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum FitError {
    /// An option has a value that means nothing.
    #[error("option {name} is {value}: {expected}")]
    Option {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it should be.
        expected: &'static str,
    },
    /// Fewer distinct points (N, D) than an overdetermined fit needs.
    #[error(
        "{points} distinct (N, D) points among {rows} usable rows, at least {needed} are needed"
    )]
    TooFewPoints {
        /// Distinct points.
        points: usize,
        /// Usable rows.
        rows: usize,
        /// Points needed.
        needed: usize,
        /// Rows that were left out.
        rejected: Vec<Rejected>,
    },
    /// Without two sizes and two token counts the terms cannot be told from E.
    #[error(
        "{sizes} distinct sizes and {token_counts} distinct token counts, at least two of each are needed"
    )]
    NoSpread {
        /// Distinct N.
        sizes: usize,
        /// Distinct D.
        token_counts: usize,
        /// Rows that were left out.
        rejected: Vec<Rejected>,
    },
    /// No start led to a finite objective.
    #[error("no start reached a finite objective")]
    NoOptimum,
}

impl FitOptions {
    /// Refuses values that mean nothing.
    pub(crate) fn check(&self) -> Result<(), FitError> {
        let option = |name, value, expected| {
            Err(FitError::Option {
                name,
                value,
                expected,
            })
        };
        if !(self.delta.is_normal() && self.delta > 0.0) {
            return option("delta", self.delta, "a positive number");
        }
        if !(self.level > 0.0 && self.level < 1.0) {
            return option("level", self.level, "a number between 0 and 1");
        }
        // Each replicate costs memory in every later prediction.
        if self.bootstrap > 100_000 {
            return option("bootstrap", f64::from(self.bootstrap), "at most 100000");
        }
        Ok(())
    }
}
