//! Intervals from runs that a model had not seen.
//!
//! Few rows: CV+ (Barber, Candès, Ramdas and Tibshirani 2021, section 3): every held-out residual is put around the prediction
//! of the very model that had not seen it. Many rows: split conformal (Papadopoulos et al. 2002). A run has weight one, however many rows it has
//! (Dunn, Wasserman and Ramdas 2022, pooled distribution functions). For events see `event`.

use serde::{Deserialize, Serialize};

use super::encode::Encoded;
use super::event::around;
use super::model::Model;

/// How the intervals of a surface were calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// CV+ over folds of runs.
    CvPlus,
    /// Split conformal on runs set apart.
    Split,
    /// For events: the surface's own error, from products of neighbours' residuals.
    NeighbourError,
}

impl Method {
    /// What the interval promises, and what it does not.
    #[must_use]
    pub fn guarantee(self) -> &'static str {
        match self {
            Self::CvPlus => {
                "For a row of a new run drawn like these runs, at least 2 * level - 1 in theory and about the level in practice, on average over such rows and not at each point. Outside the data nothing is promised."
            }
            Self::Split => {
                "For a row of a new run drawn like these runs, at least the level, on average over such rows and not at each point. Outside the data nothing is promised."
            }
            Self::NeighbourError => {
                "For the probability (not the outcome) of a new run drawn like these runs, about the level, on average over such runs; it holds as far as the surface's error changes slowly from a run to its neighbours. Outside the data nothing is promised."
            }
        }
    }
}

/// Held-out evidence that intervals are made of. Ordered by score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    pub(crate) method: Method,
    /// Absolute residual on the model's scale; empty for events.
    pub(crate) scores: Vec<f32>,
    /// One over the rows of the run.
    pub(crate) weights: Vec<f32>,
    /// Which of `models` had not seen the row (CV+), empty otherwise.
    pub(crate) folds: Vec<u16>,
    /// Standard deviation of the surface's error on the scale `asin(sqrt(p))` (events), 0 otherwise.
    pub(crate) error: f64,
    /// Models fitted without a fold (CV+; for events they are kept to explain).
    pub(crate) models: Vec<Model>,
    /// Offset and slope of the recalibrated log-odds: `[0, 1]` for other targets.
    pub(crate) recalibration: [f64; 2],
}

/// The least of `values` below which weight `level * (runs + 1)` lies: the largest where there is not so much.
/// `values` come with their weights.
pub(crate) fn upper_quantile(values: &mut [(f64, f64)], level: f64) -> f64 {
    values.sort_by(|one, two| one.0.total_cmp(&two.0).then(one.1.total_cmp(&two.1)));
    let runs: f64 = values.iter().map(|value| value.1).sum();
    let wanted = level * (runs + 1.0) - 1e-6;
    let mut sum = 0.0;
    for (value, weight) in values.iter() {
        sum += weight;
        if sum >= wanted {
            return *value;
        }
    }
    values.last().map_or(f64::INFINITY, |value| value.0)
}

impl Calibration {
    /// Low and high around `centre`, on the model's scale.
    pub(crate) fn interval(
        &self,
        centre: f64,
        encoded: &Encoded,
        row: usize,
        level: f64,
    ) -> (f64, f64) {
        match self.method {
            Method::Split => {
                let mut scores = self.weighted(|_| 0.0, 1.0);
                let half = upper_quantile(&mut scores, level);
                (centre - half, centre + half)
            }
            Method::CvPlus => {
                let at: Vec<f64> = self
                    .models
                    .iter()
                    .map(|model| model.predict(encoded, row))
                    .collect();
                let high = upper_quantile(&mut self.weighted(|fold| at[fold], 1.0), level);
                // The lower end is the upper end of the mirrored values.
                let low = -upper_quantile(&mut self.weighted(|fold| -at[fold], 1.0), level);
                (low.min(centre), high.max(centre))
            }
            Method::NeighbourError => {
                around(centre, crate::quantile::student_t(level, 1e6) * self.error)
            }
        }
    }

    fn weighted(&self, offset: impl Fn(usize) -> f64, sign: f64) -> Vec<(f64, f64)> {
        let value = |place: usize| {
            let offset = self
                .folds
                .get(place)
                .map_or(0.0, |fold| offset(usize::from(*fold)));
            (
                offset + sign * f64::from(self.scores[place]),
                f64::from(self.weights[place]),
            )
        };
        (0..self.scores.len()).map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_counts_one_run_more_than_there_are() {
        // Nine runs: the level .9 needs the 9th of ten, which is the largest; .5 the 5th.
        let mut values: Vec<(f64, f64)> = (1..=9).map(|value| (f64::from(value), 1.0)).collect();
        assert_eq!(upper_quantile(&mut values, 0.9), 9.0);
        assert_eq!(upper_quantile(&mut values, 0.5), 5.0);
        // A run of many rows counts once.
        values.extend((0..100).map(|_| (100.0, 0.01)));
        assert_eq!(upper_quantile(&mut values, 0.5), 6.0);
    }
}
