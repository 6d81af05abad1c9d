//! Do neighbours err alike? A test of what a law has left in its residuals.
//!
//! If the form is right, whether a run lies above or below its prediction says nothing about the next run. Each row is
//! paired with the nearest row of *another* run in the law's columns (logarithms where positive); the statistic is the mean product of the pairs'
//! residuals (Moran 1950). Its distribution under "no structure" comes from flipping the sign of whole runs, which
//! keeps the dependence inside a run and needs no distribution of the errors but symmetry.

use rand_chacha::rand_core::RngCore;

use super::cohort::Cohort;
use super::neighbours::neighbours;
use crate::random::generator;

/// Sign flips: the smallest p-value is 1/1000.
const FLIPS: u32 = 999;

/// A stream of the generator that no replicate of the bootstrap uses.
const STREAM: u64 = 1 << 40;

/// Correlation of neighbours' residuals and the probability of one as large without structure.
/// (0, 1) where there are fewer than three runs.
pub(crate) fn neighbour_correlation(cohort: &Cohort, residuals: &[f64], seed: u64) -> (f64, f64) {
    let (run_of, runs) = (&cohort.unit_of, cohort.units);
    if runs < 3 {
        return (0.0, 1.0);
    }
    // One outlier must not be the whole statistic: residuals are cut at three median deviations.
    let mut sizes: Vec<f64> = residuals.iter().map(|residual| residual.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let cut = 3.0 * 1.4826 * sizes[sizes.len() / 2];
    let cropped: Vec<f64> = residuals
        .iter()
        .map(|residual| residual.clamp(-cut, cut))
        .collect();
    let pairs = nearest(cohort);
    let power: f64 = cropped.iter().map(|residual| residual * residual).sum();
    if power <= 0.0 {
        return (0.0, 1.0);
    }
    let mut generator = generator(seed, STREAM);
    let mut signs = vec![1.0; runs];
    let products: Vec<(usize, usize, f64)> = pairs
        .iter()
        .enumerate()
        .map(|(row, other)| (run_of[row], run_of[*other], cropped[row] * cropped[*other]))
        .collect();
    let mean_product = |signs: &[f64]| -> f64 {
        let signed = products
            .iter()
            .map(|(one, two, product)| signs[*one] * signs[*two] * product);
        signed.sum::<f64>() / power
    };
    let observed = mean_product(&signs);
    let mut as_large = 1_u32;
    for _ in 0..FLIPS {
        for sign in &mut signs {
            *sign = if generator.next_u32() & 1 == 0 {
                1.0
            } else {
                -1.0
            };
        }
        as_large += u32::from(mean_product(&signs) >= observed);
    }
    (observed, f64::from(as_large) / f64::from(FLIPS + 1))
}

/// For each row the nearest row of another unit, with each column in units of its spread.
fn nearest(cohort: &Cohort) -> Vec<usize> {
    let axes: Vec<Vec<f64>> = cohort
        .columns
        .iter()
        .map(|column| standardised(column))
        .collect();
    let points = (0..cohort.len())
        .map(|row| axes.iter().map(|axis| axis[row]).collect())
        .collect();
    neighbours(points, &cohort.unit_of)
}

/// A column centred and over its spread: logarithms where all are positive. A constant one is zero.
fn standardised(column: &[f64]) -> Vec<f64> {
    let positive = column.iter().all(|one| *one > 0.0);
    let read = |one: &f64| if positive { libm::log(*one) } else { *one };
    let values: Vec<f64> = column.iter().map(read).collect();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let spread = (values
        .iter()
        .map(|one| (one - mean) * (one - mean))
        .sum::<f64>()
        / count)
        .sqrt();
    let scale = if spread > 1e-12 * mean.abs() {
        1.0 / spread
    } else {
        0.0
    };
    values.iter().map(|one| (one - mean) * scale).collect()
}
