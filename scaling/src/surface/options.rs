//! How a surface is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::SurfaceError;

/// The form of a surface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The one with the least error on held-out runs.
    #[default]
    Auto,
    /// Elastic net over scaled columns; logistic for a probability.
    Linear,
    /// Gradient boosting over binned columns.
    Boosting,
    /// Random forest over the same bins.
    Forest,
    /// Gaussian process, Matérn 5/2 with a length for each column; for few rows.
    GaussianProcess,
}

impl Kind {
    /// The kind's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Linear => "linear",
            Self::Boosting => "boosting",
            Self::Forest => "forest",
            Self::GaussianProcess => "gaussian_process",
        }
    }
}

/// The scale on which the target is learnt. Predictions come back on the target's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As given.
    #[default]
    Identity,
    /// Its logarithm: times, costs, losses over decades. The centre of a prediction is then a median, not a mean.
    Log,
    /// Its log-odds: shares strictly between 0 and 1.
    Logit,
    /// An event's probability: 0 or 1, or a share with its trials as weight; logistic loss.
    Probability,
}

impl Scale {
    /// The scale's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Log => "log",
            Self::Logit => "logit",
            Self::Probability => "probability",
        }
    }

    /// From the target to the scale that additive models work on. A probability's target stays as it is.
    pub(crate) fn forward(self, value: f64) -> f64 {
        match self {
            Self::Identity | Self::Probability => value,
            Self::Log => libm::log(value),
            Self::Logit => libm::log(value / (1.0 - value)),
        }
    }

    /// From a model's sum back to the target.
    pub(crate) fn backward(self, value: f64) -> f64 {
        match self {
            Self::Identity => value,
            Self::Log => libm::exp(value),
            Self::Logit | Self::Probability => logistic(value),
        }
    }
}

/// `1 / (1 + e^-x)`.
pub(crate) fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-value))
}

/// What a target says about a run; names the scale that fits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A loss or a score.
    Quality,
    /// Whether a tool call or an agent's task succeeded.
    ToolSuccess,
    /// Whether an attack or a probe succeeded.
    Safety,
    /// A time.
    Latency,
    /// Money, energy or GPU hours.
    Cost,
    /// Whether a run diverged.
    Stability,
}

impl Purpose {
    /// The scale to learn it on unless the caller knows better.
    #[must_use]
    pub fn scale(self) -> Scale {
        match self {
            Self::Quality => Scale::Identity,
            Self::ToolSuccess | Self::Safety | Self::Stability => Scale::Probability,
            Self::Latency | Self::Cost => Scale::Log,
        }
    }
}

/// Which way a prediction may move as a column grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Never falls: `x:+`.
    Rising,
    /// Never rises: `x:-`.
    Falling,
}

impl Direction {
    pub(crate) fn sign(self) -> i8 {
        match self {
            Self::Rising => 1,
            Self::Falling => -1,
        }
    }
}

/// Which runs are set apart to see what the surface says of runs it has not met.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SurfaceHoldout {
    /// None beyond the folds.
    #[default]
    None,
    /// A share of the runs, drawn by the seed: interpolation.
    Runs(f64),
    /// The share of runs with the largest values of a column (compute, parameters): extrapolation.
    Largest {
        /// The column that orders the runs by their greatest value.
        column: String,
        /// Share of the runs, above 0 and below 1.
        fraction: f64,
    },
}

/// How to fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SurfaceOptions {
    /// The form.
    pub kind: Kind,
    /// The scale of the target.
    pub scale: Scale,
    /// Columns along which predictions may move one way only.
    pub monotone: BTreeMap<String, Direction>,
    /// Groups of columns that are shares of one mixture and add up to 1.
    pub simplex: Vec<Vec<String>>,
    /// Coverage of the intervals.
    pub level: f64,
    /// Seed of folds, resamples and permutations.
    pub seed: u64,
    /// Folds of the grouped cross-validation (fewer where there are fewer runs).
    pub folds: usize,
    /// Runs set apart.
    pub holdout: SurfaceHoldout,
}

impl Default for SurfaceOptions {
    fn default() -> Self {
        Self {
            kind: Kind::Auto,
            scale: Scale::Identity,
            monotone: BTreeMap::new(),
            simplex: Vec::new(),
            level: 0.9,
            seed: 0,
            folds: 5,
            holdout: SurfaceHoldout::None,
        }
    }
}

/// Reads `x:+,y:-`, as the command line gives it.
///
/// # Errors
/// `bad_option` where a part has no sign.
pub fn parse_monotone(text: &str) -> Result<BTreeMap<String, Direction>, SurfaceError> {
    let part = |part: &str| {
        let direction = match part.rsplit_once(':') {
            Some((name, "+")) if !name.is_empty() => Some((name, Direction::Rising)),
            Some((name, "-")) if !name.is_empty() => Some((name, Direction::Falling)),
            _ => None,
        };
        direction
            .map(|(name, direction)| (name.to_owned(), direction))
            .ok_or_else(|| SurfaceError::BadOption {
                name: "monotone",
                value: part.to_owned(),
                allowed: "write COLUMN:+ or COLUMN:-, separated by commas",
            })
    };
    text.split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(part)
        .collect()
}
