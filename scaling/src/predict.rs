//! The response of a run that has not been trained, with an interval for it.
//!
//! The interval is that of one new run, not of the curve: every replicate of the bootstrap (what the parameters might be)
//! is combined with every quantile of the residuals (what a run does besides), and the percentiles of all sums are taken.
//! Where the residuals demonstrably shrink or grow with compute, they are scaled to the compute of the run asked for.
//! Nothing is drawn, so a prediction is a function of the fit. The curve's own interval is given beside it.
//!
//! Beyond the data the form itself is on trial, of which neither part knows. There the half widths grow by what the
//! back-test found missing, in proportion to the distance in ln compute: a hold-out `reach` ahead that needed `inflation`
//! times the width makes a prediction as far ahead that much wider, one twice as far (in logarithms) by twice the surplus.

use std::collections::BTreeMap;

use crate::error::FitError;
use crate::fit::{asymptote, is_logarithmic, too_far_off};
use crate::law::Law;
use crate::quantile::sample_quantile;
use crate::report::{Extrapolation, ExtrapolationFlag, Fit, FitVerdict, Prediction};

/// Quantiles of the residuals that stand for their distribution.
pub(crate) const RESIDUAL_QUANTILES: usize = 33;

/// Replicates combined with the residuals: more change no digit that matters and cost a sort each.
const REPLICATES_MAX: usize = 1000;

/// No log says a loss more exactly than this share of it: an interval of a new run is at least so wide to either side, so that
/// data without noise do not put a run outside by its rounding.
const RESOLUTION: f64 = 1e-6;

/// What the fit says at a point, before any widening.
pub(crate) struct Curve {
    /// Response at the optimum.
    pub(crate) mean: f64,
    logarithmic: bool,
    /// Readings of the replicates' responses, ascending.
    curve: Vec<f64>,
    /// The same with each quantile of the residuals added.
    sums: Vec<f64>,
}

impl Curve {
    /// Everything in the law's order and natural values.
    pub(crate) fn new(
        law: &Law,
        optimum: &[f64],
        replicates: &[Vec<f64>],
        residual_quantiles: &[f64],
        logarithmic: bool,
        columns: &[f64],
    ) -> Self {
        let mean = law.value(optimum, columns);
        let read = |value: f64| if logarithmic { libm::log(value) } else { value };
        let stride = replicates.len().div_ceil(REPLICATES_MAX).max(1);
        let mut curve: Vec<f64> = replicates
            .iter()
            .step_by(stride)
            .map(|one| read(law.value(one, columns)))
            .collect();
        if curve.is_empty() {
            curve.push(read(mean));
        }
        let mut sums: Vec<f64> = curve
            .iter()
            .flat_map(|value| {
                residual_quantiles
                    .iter()
                    .map(move |residual| value + residual)
            })
            .collect();
        if sums.is_empty() {
            sums.clone_from(&curve);
        }
        curve.sort_by(f64::total_cmp);
        sums.sort_by(f64::total_cmp);
        Self {
            mean,
            logarithmic,
            curve,
            sums,
        }
    }

    /// The interval of a new run.
    pub(crate) fn run(&self, level: f64) -> (f64, f64) {
        let (low, high) = self.ends(&self.sums, level);
        let least = RESOLUTION * self.mean.abs();
        (low.min(self.mean - least), high.max(self.mean + least))
    }

    /// The interval of the curve.
    pub(crate) fn own(&self, level: f64) -> (f64, f64) {
        self.ends(&self.curve, level)
    }

    fn ends(&self, sorted: &[f64], level: f64) -> (f64, f64) {
        let back = |value: f64| {
            if self.logarithmic {
                libm::exp(value)
            } else {
                value
            }
        };
        let end = |probability| sample_quantile(sorted, probability).map_or(self.mean, back);
        // The optimum is one of the possible laws: an interval that misses it would only confuse.
        (
            end(0.5 - 0.5 * level).min(self.mean),
            end(0.5 + 0.5 * level).max(self.mean),
        )
    }
}

impl Fit {
    /// The response at a point by the optimum. NaN where a column is missing.
    pub fn value(&self, point: &BTreeMap<String, f64>) -> f64 {
        self.definition
            .value(&self.optimum(), &self.definition.coordinates(point))
    }

    /// Parameters at the optimum, in the law's order.
    pub(crate) fn optimum(&self) -> Vec<f64> {
        let value = |name: &str| self.parameters.get(name).map_or(f64::NAN, |one| one.value);
        self.definition
            .parameters
            .iter()
            .map(|one| value(&one.name))
            .collect()
    }

    /// The response of a new run at a point, with its interval. `level` lies between 0 and 1. An error names a column that is
    /// missing or has a value at which the law has none.
    pub fn predict(
        &self,
        point: &BTreeMap<String, f64>,
        level: f64,
    ) -> Result<Prediction, FitError> {
        if !(level > 0.0 && level < 1.0) {
            return Err(FitError::BadOption {
                name: "level".to_owned(),
                value: level.to_string(),
                expected: "a number between 0 and 1".to_owned(),
            });
        }
        for column in &self.definition.columns {
            let value = point.get(&column.name).copied();
            let value = value.ok_or_else(|| FitError::UnknownColumn {
                law: self.law.clone(),
                column: column.name.clone(),
                nearest: None,
            })?;
            let expected = if column.positive {
                "a positive number"
            } else {
                "a finite number"
            };
            if !value.is_finite() || column.positive && value <= 0.0 {
                return Err(FitError::NotFinite {
                    name: column.name.clone(),
                    value,
                    expected,
                });
            }
        }
        let logarithmic = is_logarithmic(&self.objective.kind);
        let columns = self.definition.coordinates(point);
        let curve = Curve::new(
            &self.definition,
            &self.optimum(),
            &self.replicates,
            &self.residuals.noise_at(self.definition.order_at(&columns)),
            logarithmic,
            &columns,
        );
        let extrapolation = self.extrapolation(point);
        // A back-test that looked less than 10 % ahead has measured no distance: count it as 10 %.
        let reach = libm::log(self.backtest.reach.max(1.1));
        let surplus = self.backtest.inflation - 1.0;
        let widening = 1.0 + surplus * libm::log(extrapolation.factor) / reach;
        let mean = curve.mean;
        let widened = |end: f64| {
            if logarithmic {
                mean * libm::exp(widening * libm::log(end / mean))
            } else {
                mean + widening * (end - mean)
            }
        };
        let (low, high) = curve.run(level);
        let (low, high) = (widened(low), widened(high));
        let (curve_low, curve_high) = curve.own(level);
        let ends = [("low", low), ("high", high), ("mean", mean)];
        if let Some((name, value)) = ends.into_iter().find(|(_, value)| !value.is_finite()) {
            return Err(FitError::NotFinite {
                name: format!("the predicted {name}"),
                value,
                expected: "a point at which the law has a value",
            });
        }
        Ok(Prediction {
            mean,
            low,
            high,
            level,
            curve_low,
            curve_high,
            extrapolation,
        })
    }

    /// How far a point lies from the data, and whether this fit may be leant on there.
    pub fn extrapolation(&self, point: &BTreeMap<String, f64>) -> Extrapolation {
        let mut factor: f64 = 1.0;
        let mut why = Vec::new();
        let compute = self.definition.compute_at(point);
        let values = self
            .definition
            .columns
            .iter()
            .filter_map(|column| Some((column.name.as_str(), *point.get(&column.name)?)));
        for (name, value) in values.chain(compute.map(|value| ("compute", value))) {
            let Some(span) = self.spans.get(name) else {
                continue;
            };
            let distance = if span.low > 0.0 && value > 0.0 {
                // A small compute is no distance of its own: its columns say it.
                let below = if name == "compute" {
                    0.0
                } else {
                    span.low / value
                };
                (value / span.high).max(below)
            } else {
                let width = (span.high - span.low).max(f64::MIN_POSITIVE);
                1.0 + ((value - span.high).max(span.low - value) / width).max(0.0)
            };
            if distance > 1.0 + 1e-9 {
                why.push(format!("{name} = {value:.4e} is {distance:.1} times beyond the data ({:.4e} to {:.4e})", span.low, span.high));
                factor = factor.max(distance);
            }
        }
        let mut flag = ExtrapolationFlag::None;
        if !why.is_empty() {
            let against = self.against_extrapolation();
            flag = if against.is_empty() {
                ExtrapolationFlag::BeyondData
            } else {
                ExtrapolationFlag::DoNotExtrapolate
            };
            why.extend(against);
        }
        Extrapolation { factor, flag, why }
    }

    /// Why this fit is not to be leant on beyond its data.
    fn against_extrapolation(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.verdict == FitVerdict::Refused {
            why.push("the fit is refused".to_owned());
        }
        for (index, parameter) in self.definition.parameters.iter().enumerate() {
            if asymptote(&self.definition, index)
                && self.certificate.at_bounds.contains(&parameter.name)
            {
                why.push(format!(
                    "the asymptote {} is at its bound: the data do not show where the curve ends",
                    parameter.name
                ));
            }
        }
        if !self.backtest.performed {
            why.push("no back-test could be made".to_owned());
        } else if let Some(point) = self.backtest.points.iter().find(|point| too_far_off(point)) {
            let error = 100.0 * point.relative_error;
            why.push(format!(
                "the back-test failed: run {} came out {error:+.1} % off",
                point.run_id
            ));
        }
        why
    }
}

/// Evenly spaced quantiles of the residuals, widened for the parameters that were fitted to them.
pub(crate) fn residual_quantiles(residuals: &[f64], free: usize) -> Vec<f64> {
    let mut sorted = residuals.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let widen = (count / (count - free as f64).max(1.0)).sqrt();
    // Middles of equal shares, so that the extremes are not counted double.
    (0..RESIDUAL_QUANTILES)
        .filter_map(|index| {
            let probability = (index as f64 + 0.5) / RESIDUAL_QUANTILES as f64;
            sample_quantile(&sorted, probability).map(|quantile| quantile * widen)
        })
        .collect()
}
