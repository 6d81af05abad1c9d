//! Figures that say how good predictions are.

/// Root of the weighted mean squared error.
pub(crate) fn rmse(predicted: &[f64], actual: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let square = |((one, two), weight): ((&f64, &f64), &f64)| weight * (one - two) * (one - two);
    (predicted
        .iter()
        .zip(actual)
        .zip(weights)
        .map(square)
        .sum::<f64>()
        / total)
        .sqrt()
}

/// Weighted mean absolute error.
pub(crate) fn mae(predicted: &[f64], actual: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let part = |((one, two), weight): ((&f64, &f64), &f64)| weight * (one - two).abs();
    predicted
        .iter()
        .zip(actual)
        .zip(weights)
        .map(part)
        .sum::<f64>()
        / total
}

/// One minus the error's share of the variance. Negative where the mean of `actual` would have been better.
pub(crate) fn r_squared(predicted: &[f64], actual: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let mean = actual
        .iter()
        .zip(weights)
        .map(|(value, weight)| value * weight)
        .sum::<f64>()
        / total;
    let spread = rmse(&vec![mean; actual.len()], actual, weights);
    let error = rmse(predicted, actual, weights);
    1.0 - error * error / (spread * spread).max(1e-300)
}

/// Ranks from 0; equal values share their mean rank.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, two| values[*one].total_cmp(&values[*two]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let mut last = first;
        while last + 1 < order.len() && values[order[last + 1]] == values[order[first]] {
            last += 1;
        }
        for place in first..=last {
            ranks[order[place]] = 0.5 * (first + last) as f64;
        }
        first = last + 1;
    }
    ranks
}

/// Spearman's rank correlation.
#[must_use]
pub fn spearman(one: &[f64], two: &[f64]) -> f64 {
    pearson(&ranks(one), &ranks(two))
}

/// Pearson's correlation; 0 where either side is constant.
pub(crate) fn pearson(one: &[f64], two: &[f64]) -> f64 {
    let count = one.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (first, second) = (mean(one), mean(two));
    let (mut both, mut left, mut right) = (0.0, 0.0, 0.0);
    for (one, two) in one.iter().zip(two) {
        let (one, two) = (one - first, two - second);
        both += one * two;
        left += one * one;
        right += two * two;
    }
    if left > 0.0 && right > 0.0 {
        both / (left * right).sqrt()
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_scipy() {
        // scipy.stats.spearmanr([1, 2, 2, 4, 9], [3, 1, 5, 5, 6]).statistic
        let value = spearman(&[1.0, 2.0, 2.0, 4.0, 9.0], &[3.0, 1.0, 5.0, 5.0, 6.0]);
        assert!((value - 0.763_157_894_736_842_1).abs() < 1e-12, "{value}");
    }
}
