//! The loss of a run that has not been trained, with an interval for it.
//!
//! The interval is that of one new run, not of the curve: every replicate of the bootstrap (what the parameters might be)
//! is combined with every quantile of the residuals (what a run does besides), and the percentiles of all sums are taken.
//! Nothing is drawn, so a prediction is a function of the fit.
//!
//! Beyond the data the form itself is on trial, of which neither part knows. There the half widths grow by what the
//! back-test found missing, in proportion to the distance in ln compute: a hold-out `reach` ahead that needed `inflation`
//! times the width makes a prediction as far ahead that much wider, one twice as far (in logarithms) by twice the surplus.

use crate::laws::hoffmann::Coefficients;
use crate::quantile::sample_quantile;
use crate::report::{HoffmannFit, Prediction};

/// Quantiles of the residuals that stand for their distribution.
pub(crate) const RESIDUAL_QUANTILES: usize = 33;

/// Replicates combined with the residuals: more change no digit that matters and cost a sort each.
const REPLICATES_MAX: usize = 1000;

impl HoffmannFit {
    /// Loss of a new run with `parameters` parameters and `tokens` tokens. `level` outside 0..1 is taken as the nearest
    /// end. Inputs that are not positive give NaN, not a panic.
    pub fn predict(&self, parameters: f64, tokens: f64, level: f64) -> Prediction {
        let level = level.clamp(0.0, 1.0);
        let (mean, low, high) = spread(
            &self.optimum,
            &self.replicates,
            &self.residuals.quantiles,
            parameters,
            tokens,
            level,
        );
        let ratios = [
            parameters * tokens / self.compute_max,
            parameters / self.parameters_span.high,
            tokens / self.tokens_span.high,
            self.parameters_span.low / parameters,
            self.tokens_span.low / tokens,
        ];
        let extrapolation_factor = ratios.into_iter().fold(1.0, f64::max);
        // A back-test that looked less than 10 % ahead has measured no distance: count it as 10 %.
        let reach = libm::log(self.backtest.reach.max(1.1));
        let surplus = self.backtest.inflation - 1.0;
        let widening = 1.0 + surplus * libm::log(extrapolation_factor) / reach;
        Prediction {
            mean,
            low: mean * libm::exp(widening * libm::log(low / mean)),
            high: mean * libm::exp(widening * libm::log(high / mean)),
            level,
            extrapolation_factor,
        }
    }
}

/// Mean, low and high end before any widening.
pub(crate) fn spread(
    optimum: &Coefficients,
    replicates: &[Coefficients],
    residual_quantiles: &[f64],
    parameters: f64,
    tokens: f64,
    level: f64,
) -> (f64, f64, f64) {
    let mean = optimum.loss(parameters, tokens);
    let stride = replicates.len().div_ceil(REPLICATES_MAX).max(1);
    let mut sums = Vec::new();
    for replicate in replicates.iter().step_by(stride) {
        let loss = libm::log(replicate.loss(parameters, tokens));
        sums.extend(residual_quantiles.iter().map(|residual| loss + residual));
    }
    if replicates.is_empty() {
        sums.extend(
            residual_quantiles
                .iter()
                .map(|residual| libm::log(mean) + residual),
        );
    }
    sums.sort_by(f64::total_cmp);
    let end = |probability| sample_quantile(&sums, probability).map_or(mean, libm::exp);
    // The optimum is one of the possible laws: an interval that misses it would only confuse.
    let low = end(0.5 - 0.5 * level).min(mean);
    let high = end(0.5 + 0.5 * level).max(mean);
    (mean, low, high)
}

/// Evenly spaced quantiles of the residuals, widened for the parameters that were fitted to them.
pub(crate) fn residual_quantiles(residuals: &[f64]) -> Vec<f64> {
    let mut sorted = residuals.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let widen = (count / (count - 5.0).max(1.0)).sqrt();
    // Middles of equal shares, so that the extremes are not counted double.
    (0..RESIDUAL_QUANTILES)
        .filter_map(|index| {
            let probability = (index as f64 + 0.5) / RESIDUAL_QUANTILES as f64;
            sample_quantile(&sorted, probability).map(|quantile| quantile * widen)
        })
        .collect()
}
