//! What a fit reports: plain structs, all fields legal, all serialisable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::laws::hoffmann::Coefficients;
use crate::observation::Rejected;

/// Low and high end of an interval, both in the unit of what it is an interval of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Low end.
    pub low: f64,
    /// High end.
    pub high: f64,
}

/// Whether the data determine a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Identified {
    /// The range is closed on both sides and narrow.
    Yes,
    /// The range is closed but wide.
    Weakly,
    /// The range ends at a limit of the search, or is wider than a number is worth.
    No,
}

/// A parameter of the law with its uncertainty, in natural units.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterEstimate {
    /// Value at the optimum.
    pub value: f64,
    /// Standard deviation over the converged replicates; `None` with fewer than two.
    pub standard_error: Option<f64>,
    /// Low end of the bootstrap's percentile interval (of the profile where there is no bootstrap).
    pub low: f64,
    /// High end of the same interval.
    pub high: f64,
    /// Level of `low`..`high`, `profile` and `range`.
    pub level: f64,
    /// Whether the data determine it.
    pub identified: Identified,
    /// Profile interval: how far the objective lets it move.
    pub profile: Interval,
    /// Whether the objective (and no limit of the search) ends the profile on both sides.
    pub profile_closed: bool,
    /// How far it moves when parts of the cohort at the edges of compute are left out; for a and b in ln. See
    /// the module `holdout`.
    pub form_error: f64,
    /// What the data allow: hull of bootstrap and profile, widened by `form_error`. The interval to quote for E.
    pub range: Interval,
}

/// A derived number with its uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Value at the optimum.
    pub value: f64,
    /// Standard deviation over the converged replicates; `None` with fewer than two.
    pub standard_error: Option<f64>,
    /// Low end of the percentile interval; the value itself without replicates.
    pub low: f64,
    /// High end of the percentile interval; the value itself without replicates.
    pub high: f64,
    /// Level of the interval.
    pub level: f64,
}

/// What was minimised, and how low it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Always `huber_log`: the weighted sum of Huber's loss of ln L - ln L_hat.
    pub kind: String,
    /// Where Huber's loss turns from square to straight, log loss.
    pub delta: f64,
    /// The sum at the optimum.
    pub value: f64,
}

/// A local optimum of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basin {
    /// Objective there.
    pub objective: f64,
    /// Starts that ended there.
    pub hits: u32,
    /// Parameters there.
    pub coefficients: Coefficients,
}

/// The evidence that the optimum is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The gradient vanished, the curvature is that of a minimum, and no profile found a lower point.
    pub converged: bool,
    /// Largest component of the gradient over the sum of the absolute pulls of the rows: no unit, about 1e-13 at best.
    pub gradient_norm: f64,
    /// Condition number of the Hessian of the parameters off their bounds, diagonal scaled to one, centred coordinates.
    /// `None` where the smallest eigenvalue is not positive.
    pub condition: Option<f64>,
    /// Converged optima, lowest first, at most ten.
    pub basins: Vec<Basin>,
    /// Number of distinct converged optima.
    pub basin_count: u32,
    /// Names of parameters at a limit of the search.
    pub at_bounds: Vec<String>,
    /// Starts tried.
    pub starts: u32,
    /// Starts that did not converge.
    pub failed_starts: u32,
}

/// Replicates asked for and converged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapSummary {
    /// Asked for.
    pub requested: u32,
    /// Converged; only these enter standard errors and intervals.
    pub converged: u32,
}

/// What the law leaves unexplained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualSummary {
    /// Largest |L / L_hat - 1|.
    pub max_abs_relative: f64,
    /// Root of the mean square of L / L_hat - 1.
    pub rms_relative: f64,
    /// Correlation of the residuals of neighbouring runs.
    pub neighbour_correlation: f64,
    /// Probability of a correlation as large if the form were right.
    pub structure_p: f64,
    /// Evenly spaced quantiles of ln L - ln L_hat, ascending, widened by sqrt(rows / (rows - 5)); the noise of predictions.
    pub quantiles: Vec<f64>,
}

/// A held-out run and what the rest said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacktestPoint {
    /// The run.
    pub run_id: String,
    /// N of its last row.
    pub parameters: f64,
    /// D of its last row.
    pub tokens: f64,
    /// Loss of its last row, nats per token.
    pub observed: f64,
    /// Loss predicted without it.
    pub predicted: f64,
    /// Low end of the prediction interval.
    pub low: f64,
    /// High end of the prediction interval.
    pub high: f64,
    /// Level of the interval.
    pub level: f64,
    /// predicted / observed - 1.
    pub relative_error: f64,
    /// Whether the interval held the observation.
    pub inside: bool,
}

/// The largest-compute runs predicted from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// Whether enough runs were left to fit.
    pub performed: bool,
    /// Held-out runs, largest compute first.
    pub points: Vec<BacktestPoint>,
    /// Largest |relative error|; 0 where not performed.
    pub max_abs_relative_error: f64,
    /// Largest ratio of an error to the half width of its interval on that side, at least 1. Predictions beyond the data
    /// are widened by it.
    pub inflation: f64,
    /// Compute of the largest held-out run over the largest that was fitted: how far the back-test looked ahead.
    pub reach: f64,
}

/// What a fit is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitVerdict {
    /// Nothing speaks against it.
    Usable,
    /// Numbers with reservations; see the reasons.
    Weak,
    /// No decision should rest on it; see the reasons.
    Refused,
}

/// A fit of Hoffmann's law with all that is needed to judge it and to predict from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoffmannFit {
    /// `e`, `a`, `b`, `alpha`, `beta`.
    pub parameters: BTreeMap<String, ParameterEstimate>,
    /// The optimum as a law that can be evaluated.
    pub optimum: Coefficients,
    /// What was minimised.
    pub objective: Objective,
    /// Evidence of convergence.
    pub certificate: Certificate,
    /// Replicates asked for and converged.
    pub bootstrap: BootstrapSummary,
    /// What the law leaves unexplained.
    pub residuals: ResidualSummary,
    /// The largest-compute runs predicted from the others.
    pub backtest: Backtest,
    /// What the fit is good for.
    pub verdict: FitVerdict,
    /// Why it is not better, in words.
    pub reasons: Vec<String>,
    /// Rows used.
    pub n_rows: usize,
    /// Runs used.
    pub n_runs: usize,
    /// Rows left out.
    pub rejected: Vec<Rejected>,
    /// beta / (alpha + beta): N_opt grows as compute to this power.
    pub allocation_exponent: Estimate,
    /// Level of the intervals.
    pub level: f64,
    /// Seed of the randomness.
    pub seed: u64,
    /// Least and most parameters among the rows.
    pub parameters_span: Interval,
    /// Least and most tokens among the rows.
    pub tokens_span: Interval,
    /// Largest N times D among the rows.
    pub compute_max: f64,
    /// Converged replicates; predictions need them.
    pub replicates: Vec<Coefficients>,
}

/// Predicted loss of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Loss at the optimum, nats per token.
    pub mean: f64,
    /// Low end of the interval for one new run.
    pub low: f64,
    /// High end.
    pub high: f64,
    /// Level of the interval.
    pub level: f64,
    /// Largest of compute, N and D over their largest in the data, and of the smallest N and D over those asked for; 1
    /// inside the data.
    pub extrapolation_factor: f64,
}
