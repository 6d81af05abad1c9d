//! Probabilities: two numbers that put held-out log-odds right, and how far off the surface still is at a point.
//!
//! An event is 0 or 1, so that no interval of a probability can be checked against single outcomes, and conformal sets for
//! outcomes say nothing of the probability. But outcomes of different runs are independent: where two neighbours have residuals
//! `y - p`, the mean of the product is the product of the surface's errors there, and nothing else. Its mean over all
//! pairs is the mean squared error of the *probability*, though no probability was ever seen. Only rows that were held out together
//! are paired: else the one's outcome would be in the other's prediction. Errors are taken as of one size on the scale
//! `asin(sqrt(p))`, on which sampling errors are (Anscombe 1948): in log-odds they grow without bound towards 0 and 1.

use super::options::logistic;

/// Neighbours of a row whose products count.
const NEIGHBOURS: usize = 5;

/// Rows that are paired at most.
const ROWS: usize = 3_000;

/// Held-out rows of events.
pub(crate) struct Events<'a> {
    /// Recalibrated held-out log-odds.
    pub(crate) scores: &'a [f64],
    pub(crate) outcomes: &'a [f64],
    pub(crate) weights: &'a [f64],
    pub(crate) runs: &'a [usize],
    /// Rows of one fold were predicted by one model, which had seen none of them.
    pub(crate) folds: &'a [usize],
    /// Scaled features.
    pub(crate) points: &'a [Vec<f64>],
}

/// Standard deviation of the surface's error on the scale `asin(sqrt(p))`, one standard error of its square added: an estimate that
/// comes out as zero is no proof of a perfect surface.
pub(crate) fn model_error(events: &Events) -> f64 {
    let stride = events.scores.len().div_ceil(ROWS).max(1);
    let rows: Vec<usize> = (0..events.scores.len()).step_by(stride).collect();
    let residual = |row: usize| events.outcomes[row] - logistic(events.scores[row]);
    let slope = |row: usize| {
        let probability = logistic(events.scores[row]);
        // The derivative of p by asin(sqrt(p)).
        2.0 * (probability * (1.0 - probability)).sqrt()
    };
    let mut sums = Vec::with_capacity(rows.len());
    let apart = |one: usize, two: usize| {
        events.runs[two] != events.runs[one] && events.folds[two] == events.folds[one]
    };
    let mut nearest: Vec<(f64, usize)> = Vec::new();
    for one in &rows {
        nearest.clear();
        nearest.extend(rows.iter().filter(|two| apart(*one, **two)).map(|two| {
            let pairs = events.points[*one].iter().zip(&events.points[*two]);
            (
                pairs
                    .map(|(one, two)| (one - two) * (one - two))
                    .sum::<f64>(),
                *two,
            )
        }));
        let count = NEIGHBOURS.min(nearest.len());
        if count == 0 {
            continue;
        }
        let order = |one: &(f64, usize), two: &(f64, usize)| {
            one.0.total_cmp(&two.0).then(one.1.cmp(&two.1))
        };
        nearest.select_nth_unstable_by(count - 1, order);
        let (mut product, mut scale) = (0.0, 0.0);
        for (_, two) in &nearest[..count] {
            let weight = (events.weights[*one] * events.weights[*two]).sqrt();
            product += weight * residual(*one) * residual(*two);
            scale += weight * slope(*one) * slope(*two);
        }
        sums.push((product, scale));
    }
    let scale: f64 = sums.iter().map(|sum| sum.1).sum::<f64>().max(1e-300);
    let square = sums.iter().map(|sum| sum.0).sum::<f64>() / scale;
    let off = |sum: &(f64, f64)| (sum.0 - square * sum.1) * (sum.0 - square * sum.1);
    // Most pairs are met from both sides, which halves what the rows are worth.
    let error = (2.0 * sums.iter().map(off).sum::<f64>()).sqrt() / scale;
    (square.max(0.0) + error).sqrt()
}

/// Ends of an interval in log-odds around `centre`, `half` away on the scale `asin(sqrt(p))`.
pub(crate) fn around(centre: f64, half: f64) -> (f64, f64) {
    let angle = libm::asin(logistic(centre).sqrt());
    let odds = |angle: f64| {
        let root = libm::sin(angle.clamp(0.0, std::f64::consts::FRAC_PI_2));
        let share = (root * root).clamp(1e-9, 1.0 - 1e-9);
        libm::log(share / (1.0 - share))
    };
    (
        odds(angle - half).min(centre),
        odds(angle + half).max(centre),
    )
}

/// Offset and slope with which held-out log-odds fit the outcomes best: Newton, with the slope held to [.2, 2] so that a
/// handful of events cannot turn the surface around.
pub(crate) fn recalibrate(scores: &[f64], outcomes: &[f64], weights: &[f64]) -> [f64; 2] {
    let (mut offset, mut slope) = (0.0, 1.0);
    for _ in 0..50 {
        let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 1e-6, 0.0, 1e-6);
        for ((score, outcome), weight) in scores.iter().zip(outcomes).zip(weights) {
            let probability = logistic(offset + slope * score);
            let (off, curve) = (
                weight * (outcome - probability),
                weight * (probability * (1.0 - probability)).max(1e-9),
            );
            g0 += off;
            g1 += off * score;
            h00 += curve;
            h01 += curve * score;
            h11 += curve * score * score;
        }
        let determinant = h00 * h11 - h01 * h01;
        if determinant <= 1e-12 * h00 * h11 {
            break;
        }
        let step = [
            (h11 * g0 - h01 * g1) / determinant,
            (h00 * g1 - h01 * g0) / determinant,
        ];
        let next = (slope + step[1]).clamp(0.2, 2.0);
        offset = (offset + step[0].clamp(-2.0, 2.0)).clamp(-5.0, 5.0);
        let moved = step[0].abs() + (next - slope).abs();
        slope = next;
        if moved < 1e-9 {
            break;
        }
    }
    [offset, slope]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{generator, index_below};

    #[test]
    fn finds_the_error_of_a_surface_from_outcomes_alone() {
        // The surface says even odds everywhere; the truth is 1 off in log-odds, up on one half and down on the other.
        let mut random = generator(5, 0);
        let rows = 2_000;
        let points: Vec<Vec<f64>> = (0..rows)
            .map(|row| vec![row as f64 / rows as f64])
            .collect();
        let odds = |row: usize| if row < rows / 2 { 1.0 } else { -1.0 };
        let outcomes: Vec<f64> = (0..rows)
            .map(|row| {
                f64::from((index_below(&mut random, 1_000_000) as f64) < 1e6 * logistic(odds(row)))
            })
            .collect();
        let runs: Vec<usize> = (0..rows).collect();
        let (scores, weights) = (vec![0.0; rows], vec![1.0; rows]);
        let folds = vec![0; rows];
        let events = Events {
            scores: &scores,
            outcomes: &outcomes,
            weights: &weights,
            runs: &runs,
            folds: &folds,
            points: &points,
        };
        // logistic(1) - 1/2 = .231, and the scale's derivative at one half is 1: .231, and a standard error.
        let error = model_error(&events);
        assert!((0.22..0.27).contains(&error), "{error}");
        let (low, high) = around(0.0, 0.231);
        assert!((logistic(low) - 0.277).abs() < 2e-3 && (logistic(high) - 0.723).abs() < 2e-3);
    }

    #[test]
    fn recalibration_undoes_a_stretch() {
        let scores: Vec<f64> = (0..4_000)
            .map(|row| f64::from(row % 80) / 10.0 - 4.0)
            .collect();
        let outcomes: Vec<f64> = scores
            .iter()
            .map(|score| logistic(0.3 + 0.5 * score))
            .collect();
        let [offset, slope] = recalibrate(&scores, &outcomes, &vec![1.0; 4_000]);
        assert!(
            (offset - 0.3).abs() < 1e-6 && (slope - 0.5).abs() < 1e-6,
            "{offset} {slope}"
        );
    }
}
