//! The back-test's figures from held-out predictions.

use super::conformal::upper_quantile;
use super::features::Features;
use super::metrics::{mae, r_squared, rmse, spearman};
use super::report::{ReliabilityBin, Score};
use super::split::runs;

/// Ends of intervals, on the target's scale.
pub(crate) struct Intervals {
    pub(crate) low: Vec<f64>,
    pub(crate) high: Vec<f64>,
}

/// For each of `rows` the half width of an interval calibrated on the other parts only.
pub(crate) fn cross_coverage(
    rows: &[usize],
    part_of: &[usize],
    run_of: &[usize],
    residual: impl Fn(usize) -> f64,
    level: f64,
) -> Vec<f64> {
    let mut of_run = vec![0.0; run_of.iter().max().map_or(0, |run| run + 1)];
    rows.iter().for_each(|row| of_run[run_of[*row]] += 1.0);
    let parts = rows
        .iter()
        .map(|row| part_of[*row])
        .max()
        .map_or(0, |part| part + 1);
    let half: Vec<f64> = (0..parts)
        .map(|part| {
            let mut others: Vec<(f64, f64)> = rows
                .iter()
                .filter(|row| part_of[**row] != part)
                .map(|row| (residual(*row), 1.0 / of_run[run_of[*row]]))
                .collect();
            upper_quantile(&mut others, level)
        })
        .collect();
    rows.iter().map(|row| half[part_of[*row]]).collect()
}

/// All figures of predictions for held-out rows.
pub(crate) fn score(
    table: &Features,
    predicted: &[f64],
    intervals: Option<&Intervals>,
    level: f64,
    probability: bool,
) -> Score {
    let weights: Vec<f64> = (0..table.len()).map(|row| table.weight(row)).collect();
    let actual = &table.target;
    let count = table.len() as f64;
    let mut score = Score {
        rows: table.len(),
        runs: runs(&table.run_ids).1,
        rmse: rmse(predicted, actual, &weights),
        mae: mae(predicted, actual, &weights),
        r_squared: r_squared(predicted, actual, &weights),
        spearman: spearman(predicted, actual),
        level,
        ..Score::default()
    };
    if let Some(Intervals { low, high }) = intervals {
        let within = (0..table.len())
            .filter(|row| (low[*row]..=high[*row]).contains(&actual[*row]))
            .count();
        score.coverage = Some(within as f64 / count);
        score.width = Some(
            low.iter()
                .zip(high)
                .map(|(low, high)| high - low)
                .sum::<f64>()
                / count,
        );
    }
    if probability {
        let total: f64 = weights.iter().sum();
        let loss = |row: usize| {
            let at = predicted[row].clamp(1e-12, 1.0 - 1e-12);
            -weights[row]
                * (actual[row] * libm::log(at) + (1.0 - actual[row]) * libm::log(1.0 - at))
        };
        score.log_loss = Some((0..table.len()).map(loss).sum::<f64>() / total);
        score.reliability = reliability(predicted, actual, &weights, total);
        let off = |bin: &ReliabilityBin| bin.weight * (bin.predicted - bin.observed).abs();
        score.calibration_error = Some(score.reliability.iter().map(off).sum::<f64>() / total);
    }
    score
}

fn reliability(
    predicted: &[f64],
    actual: &[f64],
    weights: &[f64],
    total: f64,
) -> Vec<ReliabilityBin> {
    let mut order: Vec<usize> = (0..predicted.len()).collect();
    order.sort_by(|one, two| {
        predicted[*one]
            .total_cmp(&predicted[*two])
            .then(one.cmp(two))
    });
    let mut bins = vec![
        ReliabilityBin {
            predicted: 0.0,
            observed: 0.0,
            weight: 0.0
        };
        10
    ];
    let mut seen = 0.0;
    for row in order {
        let place = ((10.0 * (seen + 0.5 * weights[row]) / total) as usize).min(9);
        seen += weights[row];
        bins[place].predicted += weights[row] * predicted[row];
        bins[place].observed += weights[row] * actual[row];
        bins[place].weight += weights[row];
    }
    bins.retain(|bin| bin.weight > 0.0);
    for bin in &mut bins {
        bin.predicted /= bin.weight;
        bin.observed /= bin.weight;
    }
    bins
}
