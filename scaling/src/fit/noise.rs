//! What a run does besides the law, and whether that depends on its compute.
//!
//! Residuals stand for the noise of a new run. Where small runs are noisier than large ones, residuals of all runs together
//! promise too little for a small run and too much for a large one. Whether they may be pooled is tested: Spearman's rank
//! correlation of compute and the mean size of a run's residuals, against its permutations (nothing is assumed of the
//! errors). Only if the correlation is significant, the scale of the residuals is a power of compute (Carroll and Ruppert 1988, chapter 3), fitted
//! by the likelihood of Laplace, which is convex and, like the fit itself, goes by absolute sizes. Beyond the data the scale
//! stays that of their edge: that noise goes on falling is a hope.

use super::cohort::Cohort;
use super::outliers::scale;
use crate::predict::residual_quantiles;
use crate::random::{generator, shuffle};
use crate::report::Spread;

/// Permutations: the smallest p-value is 1/1000.
const PERMUTATIONS: u32 = 999;

/// Probability of so much dependence by chance, below which it is taken for real.
const SIGNIFICANCE: f64 = 0.05;

/// Runs below which two more numbers are not estimated.
const RUNS_MIN: usize = 15;

/// Robust deviations at which residuals are cut before the scale is fitted.
const CUT: f64 = 5.0;

/// A stream of the generator that no replicate of the bootstrap uses.
const STREAM: u64 = 1 << 42;

/// The noise of a run.
pub(crate) struct Noise {
    /// Quantiles at the middle of compute.
    pub(crate) quantiles: Vec<f64>,
    /// How it depends on compute, if it does.
    pub(crate) spread: Option<Spread>,
}

/// The noise behind residuals.
pub(crate) fn noise(cohort: &Cohort, residuals: &[f64], free: usize, seed: u64) -> Noise {
    let spread = spread(cohort, residuals, free, seed);
    let evened: Vec<f64> = residuals
        .iter()
        .zip(&cohort.order)
        .map(|(residual, order)| residual / spread.map_or(1.0, |spread| spread.factor(*order)))
        .collect();
    Noise {
        quantiles: residual_quantiles(&evened, free),
        spread,
    }
}

fn spread(cohort: &Cohort, residuals: &[f64], free: usize, seed: u64) -> Option<Spread> {
    let units = cohort.units;
    if units < RUNS_MIN || cohort.order.iter().any(|order| *order <= 0.0) {
        return None;
    }
    let places: Vec<f64> = cohort.order.iter().map(|one| libm::log(*one)).collect();
    let limit = CUT * scale(residuals, free);
    let sizes: Vec<f64> = residuals.iter().map(|one| one.abs().min(limit)).collect();
    let by_unit = |values: &[f64]| -> Vec<f64> {
        let (mut sums, mut counts) = (vec![0.0; units], vec![0.0; units]);
        for (value, unit) in values.iter().zip(&cohort.unit_of) {
            sums[*unit] += value;
            counts[*unit] += 1.0;
        }
        sums.iter()
            .zip(counts)
            .map(|(sum, count)| sum / count)
            .collect()
    };
    let p = permuted(
        &ranks(&by_unit(&places)),
        &mut ranks(&by_unit(&sizes)),
        seed,
    );
    if p >= SIGNIFICANCE {
        return None;
    }
    let middle = places.iter().sum::<f64>() / places.len() as f64;
    let away: Vec<f64> = places.iter().map(|place| place - middle).collect();
    let least = cohort.order.iter().copied().fold(f64::INFINITY, f64::min);
    let most = cohort.order.iter().copied().fold(0.0, f64::max);
    Some(Spread {
        exponent: exponent(&away, &sizes)?,
        centre: libm::exp(middle),
        low: least,
        high: most,
        p,
    })
}

/// Ranks from 0, ties in the order of their places; about zero on average.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, two| values[*one].total_cmp(&values[*two]).then(one.cmp(two)));
    let middle = 0.5 * (values.len() as f64 - 1.0);
    let mut ranks = vec![0.0; values.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index] = rank as f64 - middle;
    }
    ranks
}

/// Probability of a correlation as strong in either direction.
fn permuted(one: &[f64], two: &mut [f64], seed: u64) -> f64 {
    let product = |two: &[f64]| -> f64 {
        let sum: f64 = one.iter().zip(two).map(|(one, two)| one * two).sum();
        sum.abs()
    };
    let observed = product(two);
    let mut generator = generator(seed, STREAM);
    let mut as_strong = 1_u32;
    for _ in 0..PERMUTATIONS {
        shuffle(two, &mut generator);
        as_strong += u32::from(product(two) >= observed);
    }
    f64::from(as_strong) / f64::from(PERMUTATIONS + 1)
}

/// The slope b of ln scale over `away` by the likelihood of Laplace with scale exp(a + b away): Newton's method on a convex
/// sum with halved steps. `None` where it does not settle.
fn exponent(away: &[f64], sizes: &[f64]) -> Option<f64> {
    let count = away.len() as f64;
    let mean = sizes.iter().sum::<f64>() / count;
    if mean <= 0.0 {
        return None;
    }
    let cost = |a: f64, b: f64| -> f64 {
        away.iter()
            .zip(sizes)
            .map(|(x, size)| a + b * x + size * libm::exp(-a - b * x))
            .sum()
    };
    let (mut a, mut b) = (libm::log(mean), 0.0);
    for _ in 0..100 {
        let (mut to_a, mut to_b, mut aa, mut ab, mut bb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, size) in away.iter().zip(sizes) {
            let share = size * libm::exp(-a - b * x);
            to_a += 1.0 - share;
            to_b += x * (1.0 - share);
            aa += share;
            ab += share * x;
            bb += share * x * x;
        }
        let determinant = aa * bb - ab * ab;
        let step_a = (bb * to_a - ab * to_b) / determinant;
        let step_b = (aa * to_b - ab * to_a) / determinant;
        if !(step_a.is_finite() && step_b.is_finite()) {
            return None;
        }
        let (here, mut share) = (cost(a, b), 1.0);
        while cost(a - share * step_a, b - share * step_b) > here && share > 1e-6 {
            share *= 0.5;
        }
        a -= share * step_a;
        b -= share * step_b;
        if step_b.abs() < 1e-9 {
            return Some(b);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_sizes_that_are_a_power_is_that_power() {
        // Sizes .01 x^-.5 exactly, x = e^away: the likelihood is greatest where every share is one.
        let away: Vec<f64> = (-5..=5).map(f64::from).collect();
        let sizes: Vec<f64> = away.iter().map(|x| 0.01 * libm::exp(-0.5 * x)).collect();
        let found = exponent(&away, &sizes).expect("an exponent");
        assert!((found + 0.5).abs() < 1e-9, "{found}");
    }

    #[test]
    fn the_test_knows_order_from_disorder() {
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        assert_eq!(permuted(&ranks(&rising), &mut ranks(&rising), 1), 0.001);
        // 0, 19, 2, 17, 4, 15 …: the even half rises as the odd half falls.
        let mixed: Vec<f64> = (0..20)
            .map(|one| f64::from(if one % 2 == 0 { one } else { 20 - one }))
            .collect();
        assert!(permuted(&ranks(&rising), &mut ranks(&mixed), 1) > 0.5);
    }
}
