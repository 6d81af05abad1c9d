//! What a fit says about itself.

use serde::{Deserialize, Serialize};

use super::options::Kind;

/// A form that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The form.
    pub kind: Kind,
    /// Error on held-out runs, on the scale of the fit: root mean squared error, or mean negative log-likelihood of an
    /// event. `None` where the form was left out.
    pub error: Option<f64>,
    /// Why it was left out.
    pub left_out: Option<String>,
}

/// One bin of predicted probabilities against what happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of events.
    pub observed: f64,
    /// Weight of the rows.
    pub weight: f64,
}

/// How the surface did on rows of runs that it had not seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Rows that were predicted.
    pub rows: usize,
    /// Their runs.
    pub runs: usize,
    /// Root mean squared error, on the target's scale.
    pub rmse: f64,
    /// Mean absolute error, on the target's scale.
    pub mae: f64,
    /// Share of the variance explained, on the target's scale; negative where a constant would have done better.
    pub r_squared: f64,
    /// Rank correlation of predicted and actual.
    pub spearman: f64,
    /// Level of the intervals.
    pub level: f64,
    /// Share of rows within their interval; `None` for events, which no interval of a rate can hold.
    pub coverage: Option<f64>,
    /// Mean width of the intervals on the target's scale.
    pub width: Option<f64>,
    /// Mean negative log-likelihood of events.
    pub log_loss: Option<f64>,
    /// Mean distance between predicted probability and rate over ten bins of equal weight.
    pub calibration_error: Option<f64>,
    /// Those bins.
    pub reliability: Vec<ReliabilityBin>,
}

/// What a surface says of one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SurfacePrediction {
    /// Centre, on the target's scale: a mean; for a target learnt on a logarithmic or logit scale that scale's mean put
    /// back, which is a median where errors are symmetric there.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The interval's level.
    pub level: f64,
    /// Whether the point is outside the data: the interval's promise does not hold there.
    pub out_of_distribution: bool,
    /// Distance to the nearest run in multiples of what is usual.
    pub distance: f64,
    /// Why the point is outside, one sentence each.
    pub why: Vec<String>,
}
