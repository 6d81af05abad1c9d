//! How to fit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::FitError;

/// What is minimised. Residuals are `ln y - ln y_hat` in the kinds that end in `_log`, `y - y_hat` in the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveKind {
    /// `huber_log` where the law's response is on a logarithmic scale (losses), `least_squares` where it is linear (scores).
    #[default]
    LawDefault,
    /// Huber's loss of log residuals (Hoffmann et al. 2022, appendix D.3).
    HuberLog,
    /// Huber's loss of plain residuals.
    Huber,
    /// Squares of log residuals.
    LeastSquaresLog,
    /// Squares of plain residuals.
    LeastSquares,
    /// Negative log likelihood of Student's t with 4 degrees of freedom for log residuals; its scale is `delta`, or is
    /// estimated with the law.
    StudentTLog,
    /// The same for plain residuals.
    StudentT,
    /// Squares of plain residuals by variable projection: the parameters that enter linearly are solved for inside the search
    /// for the others. The optimum is that of `least_squares`; it is an estimator of its own because it is found another way.
    VariableProjection,
}

/// Where the searches begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starts {
    /// From the data: a grid over the parameters that enter non-linearly, the others solved for at each of its points.
    #[default]
    Data,
    /// The product of the `starts` that the law lists (for Hoffmann's law the paper's 4500), beside those of [`Self::Data`].
    Grid,
    /// So many, drawn (seeded) over the ranges that those of [`Self::Data`] span, what enters linearly solved for; beside those
    /// of [`Self::Data`].
    Count(u32),
}

/// Which runs the back-test holds out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holdout {
    /// So many runs of the largest compute.
    Runs(u32),
    /// The runs whose compute is at least this share of the largest, between 0 and 1.
    ComputeFraction(f64),
}

/// Settings of a fit. [`Default`] is what the pipeline uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FitOptions {
    /// What is minimised.
    pub objective: ObjectiveKind,
    /// Where Huber's loss turns from square to straight, or the scale of Student's t, in the unit of the residuals. `None`:
    /// 1e-3 for logarithms as in Hoffmann et al. 2022 (with the usual residuals of a per cent close to least absolute
    /// deviations), 1e-3 times the middle response for plain residuals, estimated for Student's t.
    pub delta: Option<f64>,
    /// Where the searches begin.
    pub starts: Starts,
    /// Parameters that are not fitted but set, in natural units.
    pub fixed: BTreeMap<String, f64>,
    /// Replicates of the bootstrap over runs (or clusters). 200 give standard errors to about 5 per cent; the paper has 4000.
    pub bootstrap: u32,
    /// Level of all intervals, between 0 and 1.
    pub level: f64,
    /// Which runs the back-test holds out.
    pub holdout: Holdout,
    /// Level of the intervals that the back-test reports for the runs it holds out.
    pub holdout_level: f64,
    /// Seed of the bootstrap, of drawn starts and of the test of the residuals.
    pub seed: u64,
    /// Parameters of the last fit: one more start, beside which a reduced grid suffices.
    pub warm: Option<BTreeMap<String, f64>>,
    /// How the columns count (`n`: with or without embeddings, …); stated in the fit.
    pub conventions: BTreeMap<String, String>,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            objective: ObjectiveKind::LawDefault,
            delta: None,
            starts: Starts::Data,
            fixed: BTreeMap::new(),
            bootstrap: 200,
            level: 0.95,
            holdout: Holdout::Runs(2),
            holdout_level: 0.9,
            seed: 0,
            warm: None,
            conventions: BTreeMap::new(),
        }
    }
}

impl FitOptions {
    /// Refuses values that mean nothing.
    pub(crate) fn check(&self) -> Result<(), FitError> {
        let bad = |name: &'static str, value: f64, expected: &'static str| {
            Err(FitError::BadOption {
                name: name.to_owned(),
                value: value.to_string(),
                expected: expected.to_owned(),
            })
        };
        let positive = |value: f64| value.is_normal() && value > 0.0;
        let share = |value: f64| value > 0.0 && value < 1.0;
        if let Some(delta) = self.delta.filter(|delta| !positive(*delta)) {
            return bad("delta", delta, "a positive number");
        }
        if !share(self.level) {
            return bad("level", self.level, "a number between 0 and 1");
        }
        if !share(self.holdout_level) {
            return bad(
                "holdout_level",
                self.holdout_level,
                "a number between 0 and 1",
            );
        }
        if let Holdout::ComputeFraction(fraction) = self.holdout
            && !share(fraction)
        {
            return bad(
                "holdout",
                fraction,
                "a share of the largest compute between 0 and 1",
            );
        }
        // Each replicate costs memory in every later prediction.
        if self.bootstrap > 100_000 {
            return bad("bootstrap", f64::from(self.bootstrap), "at most 100000");
        }
        if let Starts::Count(count) = self.starts
            && count > 100_000
        {
            return bad("starts", f64::from(count), "at most 100000");
        }
        Ok(())
    }
}
