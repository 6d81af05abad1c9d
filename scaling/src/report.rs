//! What a fit reports: plain structs, all fields legal, all serialisable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::law::Law;
use crate::table::Rejected;

/// Low and high end of an interval, both in the unit of what it is an interval of. In JSON `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Low end.
    pub low: f64,
    /// High end.
    pub high: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([low, high]: [f64; 2]) -> Self {
        Self { low, high }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
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
    /// Standard deviation over the converged replicates; `None` with fewer than two, or where the parameter was fixed.
    pub se: Option<f64>,
    /// Standard error from curvature and scores (sandwich, robust to dependence inside a run); `None` where the curvature
    /// gives none: at a bound, fixed, or flat.
    pub sandwich_se: Option<f64>,
    /// The bootstrap's percentile interval (the profile where there is no bootstrap).
    pub ci: Interval,
    /// Level of `ci`, `profile` and `range`.
    pub level: f64,
    /// Whether the data determine it, if the law holds: a floor's multiple for laws that do not is left out.
    pub identified: Identified,
    /// What the data allow: hull of bootstrap and profile, widened by `form_error` (an asymptote's by a multiple of it that
    /// was measured on laws that do not hold). The interval to quote for E.
    pub range: Interval,
    /// Profile interval: how far the objective lets it move.
    pub profile: Interval,
    /// Whether the objective (and no limit of the search) ends the profile on both sides.
    pub profile_closed: bool,
    /// How far it moves when parts of the cohort are left out: at the edges of compute; for asymptotes at those of each
    /// column, root mean square by precision. In ln for parameters on a logarithmic scale. See the module `holdout`.
    pub form_error: f64,
    /// Limits of the search; equal where the parameter was fixed.
    pub bounds: Interval,
}

/// A derived number with its uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Value at the optimum.
    pub value: f64,
    /// Standard deviation over the converged replicates; `None` with fewer than two.
    pub se: Option<f64>,
    /// The percentile interval; both ends the value itself without replicates.
    pub ci: Interval,
    /// Level of the interval.
    pub level: f64,
}

/// What was minimised, and how low it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// `huber_log`, `huber`, `least_squares_log`, `least_squares`, `student_t_log`, `student_t` or `variable_projection`.
    pub kind: String,
    /// Where Huber's loss turns from square to straight, or the scale of Student's t; 0 for squares. In the unit of the
    /// residuals.
    pub delta: f64,
    /// Degrees of freedom of Student's t.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nu: Option<f64>,
    /// The weighted sum at the optimum: of Huber's loss, of squares, or the negative log likelihood (without constants).
    pub value: f64,
}

/// A local optimum of the objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Basin {
    /// Objective there.
    pub objective: f64,
    /// Starts that ended there.
    pub hits: u32,
    /// Parameters there, in natural units.
    pub parameters: BTreeMap<String, f64>,
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

/// A run that stands apart from the law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlier {
    /// The run.
    pub run_id: String,
    /// y / y_hat - 1 of its row that is furthest off.
    pub relative: f64,
}

/// What the law leaves unexplained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualSummary {
    /// Largest |y / y_hat - 1|; for plain residuals |y - y_hat| over the middle |y|.
    pub max_abs_relative: f64,
    /// Root of the mean square of the same.
    pub rms_relative: f64,
    /// 1.4826 times the median of the same, without the rows that the parameters pass through: a standard deviation that bad
    /// runs do not move.
    #[serde(default)]
    pub robust_relative: f64,
    /// Rows that stand apart: beyond five of `robust_relative` and beyond what a law may be off by.
    #[serde(default)]
    pub rows_apart: usize,
    /// Their runs, furthest first.
    #[serde(default)]
    pub outliers: Vec<Outlier>,
    /// `max_abs_relative` of the other rows.
    #[serde(default)]
    pub max_abs_relative_rest: f64,
    /// `rms_relative` of the other rows.
    #[serde(default)]
    pub rms_relative_rest: f64,
    /// Correlation of the residuals of neighbouring runs.
    pub neighbour_correlation: f64,
    /// Probability of a correlation as large if the form were right.
    pub structure_p: f64,
    /// Evenly spaced quantiles of the residuals (logarithmic or plain, as the objective has them), ascending, widened for
    /// the parameters fitted to them; the noise of predictions. Where there is a `spread`, at its centre.
    pub quantiles: Vec<f64>,
    /// How the noise depends on compute, where it demonstrably does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Spread>,
}

/// Residuals whose scale is a power of compute (or of what the law orders its rows by).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The power.
    pub exponent: f64,
    /// Compute at which the scale is that of `quantiles`.
    pub centre: f64,
    /// Least compute in the data: below it the scale stays.
    pub low: f64,
    /// Largest compute in the data: above it the scale stays.
    pub high: f64,
    /// Probability of as much dependence on compute by chance.
    pub p: f64,
}

impl Spread {
    /// The scale at a compute over that at the centre.
    pub(crate) fn factor(&self, compute: f64) -> f64 {
        let away = libm::log(compute.clamp(self.low, self.high) / self.centre);
        libm::exp(self.exponent * away)
    }
}

impl ResidualSummary {
    /// Quantiles of the noise of a run of a compute.
    pub(crate) fn noise_at(&self, compute: f64) -> Vec<f64> {
        scaled(&self.quantiles, self.spread, compute)
    }
}

/// Quantiles of the noise at a compute.
pub(crate) fn scaled(quantiles: &[f64], spread: Option<Spread>, compute: f64) -> Vec<f64> {
    let factor = spread.map_or(1.0, |spread| spread.factor(compute));
    quantiles.iter().map(|quantile| factor * quantile).collect()
}

/// A held-out run and what the rest said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BacktestPoint {
    /// The run.
    pub run_id: String,
    /// The law's columns at its last row, and `compute` where the law has it.
    pub point: BTreeMap<String, f64>,
    /// Response of its last row.
    pub observed: f64,
    /// Response predicted without it.
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

/// A fit of a law with all that is needed to judge it and to predict from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Empty from this crate; the caller names fits.
    pub fit_id: String,
    /// Name of the law.
    pub law: String,
    /// The whole law: a prediction needs nothing else.
    pub definition: Law,
    /// Parameters by name.
    pub parameters: BTreeMap<String, ParameterEstimate>,
    /// What was minimised.
    pub objective: Objective,
    /// Evidence of convergence.
    pub certificate: Certificate,
    /// Replicates asked for and converged.
    pub bootstrap: BootstrapSummary,
    /// How the columns count.
    pub conventions: BTreeMap<String, String>,
    /// Rows used.
    pub n_rows: usize,
    /// Runs used.
    pub n_runs: usize,
    /// Rows left out.
    pub rejected: Vec<Rejected>,
    /// What the law leaves unexplained.
    pub residuals: ResidualSummary,
    /// The largest-compute runs predicted from the others.
    pub backtest: Backtest,
    /// What the fit is good for.
    pub verdict: FitVerdict,
    /// Why it is not better, and what was strange about the rows: one sentence each, gravest first.
    pub warnings: Vec<String>,
    /// Numbers that follow from the parameters: for Hoffmann's law `a` = beta / (alpha + beta), N_opt grows as compute to this
    /// power.
    pub derived: BTreeMap<String, Estimate>,
    /// Least and most of each column among the rows, and of `compute` where the law has it.
    pub spans: BTreeMap<String, Interval>,
    /// Level of the intervals.
    pub level: f64,
    /// Seed of the randomness.
    pub seed: u64,
    /// Converged replicates, parameters in the law's order; predictions need them.
    pub replicates: Vec<Vec<f64>>,
}

/// How far a prediction is from what the fit has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extrapolation {
    /// Largest of compute and each column over their largest in the data, and of the smallest over those asked for; 1 inside.
    pub factor: f64,
    /// Whether to lean on it.
    pub flag: ExtrapolationFlag,
    /// Why, one sentence each.
    pub why: Vec<String>,
}

/// Whether to lean on a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtrapolationFlag {
    /// Inside the data.
    None,
    /// Beyond the data by a fit that may be used there.
    BeyondData,
    /// Beyond the data by a fit that has shown itself unfit for it, or has shown nothing.
    DoNotExtrapolate,
}

/// Predicted response of a new run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Response at the optimum.
    pub mean: f64,
    /// Low end of the interval for one new run.
    pub low: f64,
    /// High end.
    pub high: f64,
    /// Level of the intervals.
    pub level: f64,
    /// Low end of the interval for the curve itself, without the noise of a run.
    pub curve_low: f64,
    /// High end.
    pub curve_high: f64,
    /// How far from the data.
    pub extrapolation: Extrapolation,
}
