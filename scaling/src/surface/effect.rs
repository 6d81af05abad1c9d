//! What happens to predictions as one feature moves: partial dependence (Friedman 2001) and accumulated local effects
//! (Apley and Zhu 2020).
//!
//! A share of a mixture cannot move alone: the others shrink or grow in proportion, which is Cox's direction (Cox 1971).

use super::encode::{Encoded, Encoder};

/// A feature's grid and the mean prediction on it.
pub(crate) struct Effect {
    /// Values, or codes of names.
    pub(crate) grid: Vec<f64>,
    pub(crate) mean: Vec<f64>,
    /// Quantiles .1 and .9 of single rows' predictions: a wide band over a flat mean is an interaction.
    pub(crate) spread: Vec<[f64; 2]>,
}

/// Sets a feature of one row. Other shares of its mixture keep their proportions, or share equally where all were zero.
pub(crate) fn set(encoder: &Encoder, raw: &mut [Vec<f64>], row: usize, feature: usize, value: f64) {
    let before = raw[feature][row];
    raw[feature][row] = value;
    let Some(group) = encoder.features[feature].mixture else {
        return;
    };
    let members = &encoder.mixtures[group].0;
    let rest = 1.0 - before;
    for member in members.iter().filter(|member| **member != feature) {
        raw[*member][row] = if rest > 1e-9 {
            raw[*member][row] * (1.0 - value) / rest
        } else {
            (1.0 - value) / (members.len() - 1) as f64
        };
    }
}

/// Quantiles of the known values, deduplicated; codes of names.
pub(crate) fn grid(encoder: &Encoder, raw: &[Vec<f64>], feature: usize, points: usize) -> Vec<f64> {
    if encoder.features[feature].span.is_none() {
        return (0..encoder.features[feature].levels.len())
            .map(|code| code as f64)
            .collect();
    }
    let mut sorted: Vec<f64> = raw[feature]
        .iter()
        .copied()
        .filter(|value| !value.is_nan())
        .collect();
    sorted.sort_by(f64::total_cmp);
    let mut grid: Vec<f64> = (0..points)
        .filter_map(|place| {
            crate::quantile::sample_quantile(&sorted, place as f64 / (points - 1) as f64)
        })
        .collect();
    grid.dedup();
    grid
}

/// Partial dependence over the given raw rows.
pub(crate) fn partial_dependence(
    encoder: &Encoder,
    raw: &[Vec<f64>],
    feature: usize,
    predict: &dyn Fn(&Encoded, usize) -> f64,
) -> Effect {
    let grid = grid(encoder, raw, feature, 20);
    let rows = raw[0].len();
    let mut effect = Effect {
        grid,
        mean: Vec::new(),
        spread: Vec::new(),
    };
    for value in &effect.grid {
        let mut moved = raw.to_vec();
        (0..rows).for_each(|row| set(encoder, &mut moved, row, feature, *value));
        let encoded = encoder.encode_raw(moved);
        let mut at: Vec<f64> = (0..rows).map(|row| predict(&encoded, row)).collect();
        effect.mean.push(at.iter().sum::<f64>() / rows as f64);
        at.sort_by(f64::total_cmp);
        let quantile = |share| crate::quantile::sample_quantile(&at, share).unwrap_or(f64::NAN);
        effect.spread.push([quantile(0.1), quantile(0.9)]);
    }
    effect
}

/// Accumulated local effect of a number: mean differences within quantile bins, added up, centred so that their mean over
/// the rows is zero. It moves a row only within its own bin, so correlated features do not lead it out of the data.
pub(crate) fn accumulated(
    encoder: &Encoder,
    raw: &[Vec<f64>],
    feature: usize,
    predict: &dyn Fn(&Encoded, usize) -> f64,
) -> Effect {
    let edges = grid(encoder, raw, feature, 21);
    let known: Vec<usize> = (0..raw[feature].len())
        .filter(|row| !raw[feature][*row].is_nan())
        .collect();
    let bin_of = |row: usize| {
        edges[1..]
            .partition_point(|edge| *edge < raw[feature][row])
            .min(edges.len().saturating_sub(2))
    };
    let bins: Vec<usize> = known.iter().map(|row| bin_of(*row)).collect();
    let moved = |upper: usize| {
        let mut columns: Vec<Vec<f64>> = raw
            .iter()
            .map(|column| known.iter().map(|row| column[*row]).collect())
            .collect();
        for (place, bin) in bins.iter().enumerate() {
            set(encoder, &mut columns, place, feature, edges[bin + upper]);
        }
        encoder.encode_raw(columns)
    };
    let (low, high) = (moved(0), moved(1));
    let (mut sums, mut counts) = (vec![0.0; edges.len() - 1], vec![0.0; edges.len() - 1]);
    for (place, bin) in bins.iter().enumerate() {
        sums[*bin] += predict(&high, place) - predict(&low, place);
        counts[*bin] += 1.0;
    }
    let mut mean = vec![0.0];
    let mut total = 0.0;
    for (sum, count) in sums.iter().zip(&counts) {
        total += if *count > 0.0 { sum / count } else { 0.0 };
        mean.push(total);
    }
    let rows: f64 = counts.iter().sum();
    let centre = (0..counts.len())
        .map(|bin| 0.5 * (mean[bin] + mean[bin + 1]) * counts[bin])
        .sum::<f64>()
        / rows;
    mean.iter_mut().for_each(|value| *value -= centre);
    Effect {
        grid: edges,
        mean,
        spread: Vec::new(),
    }
}
