//! Numbers with intervals from replicates.

use crate::quantile::sample_quantile;
use crate::{Estimate, Interval};

/// A value with the standard deviation and percentile interval of its replicates; values that are not finite are passed
/// over. With fewer than two replicates the interval is the value itself.
pub(crate) fn estimate(value: f64, replicates: &[f64], level: f64) -> Estimate {
    let mut sorted: Vec<f64> = replicates
        .iter()
        .copied()
        .filter(|one| one.is_finite())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    if sorted.len() < 2 {
        return Estimate {
            value,
            se: None,
            ci: Interval {
                low: value,
                high: value,
            },
            level,
        };
    }
    let mean = sorted.iter().sum::<f64>() / count;
    let variance = sorted.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let end = |share: f64| sample_quantile(&sorted, share).unwrap_or(value);
    Estimate {
        value,
        se: Some(variance.sqrt()),
        // The optimum is one of the possible answers: an interval that misses it would only confuse.
        ci: Interval {
            low: end(0.5 - 0.5 * level).min(value),
            high: end(0.5 + 0.5 * level).max(value),
        },
        level,
    }
}

/// The same interval with its ends `factor` times as far from the value.
pub(crate) fn widened(mut estimate: Estimate, factor: f64) -> Estimate {
    let value = estimate.value;
    estimate.se = estimate.se.map(|se| se * factor);
    estimate.ci = Interval {
        low: value + factor * (estimate.ci.low - value),
        high: value + factor * (estimate.ci.high - value),
    };
    estimate
}
