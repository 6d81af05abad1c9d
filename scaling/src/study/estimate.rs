//! Numbers with intervals from replicates.

use crate::fit::from_replicates;
use crate::{Estimate, Interval};

/// A value with the standard deviation and percentile interval of its replicates; values that are not finite are passed
/// over. With fewer than two replicates the interval is the value itself.
pub(crate) fn estimate(value: f64, replicates: &[f64], level: f64) -> Estimate {
    let mut found = from_replicates(value, replicates.to_vec(), level);
    found.ci = match found.se {
        None => [value, value].into(),
        // The optimum is one of the possible answers: an interval that misses it would only confuse.
        Some(_) => [found.ci.low.min(value), found.ci.high.max(value)].into(),
    };
    found
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
