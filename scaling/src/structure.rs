//! Do neighbours err alike? A test of what a law has left in its residuals.
//!
//! If the form is right, whether a run lies above or below its prediction says nothing about the next run. Each row is
//! paired with the nearest row of *another* run in (ln N, ln D); the statistic is the mean product of the pairs'
//! residuals (Moran 1950). Its distribution under "no structure" comes from flipping the sign of whole runs, which
//! keeps the dependence inside a run and needs no distribution of the errors but symmetry.

use rand_chacha::rand_core::RngCore;

use crate::bootstrap::generator;
use crate::laws::hoffmann::LogHuber;

/// Sign flips: the smallest p-value is 1/1000.
const FLIPS: u32 = 999;

/// A stream of the generator that no replicate of the bootstrap uses.
const STREAM: u64 = 1 << 40;

/// Correlation of neighbours' residuals and the probability of one as large without structure.
/// (0, 1) where there are fewer than three runs.
pub(crate) fn neighbour_correlation(
    problem: &LogHuber,
    residuals: &[f64],
    run_of: &[usize],
    runs: usize,
    seed: u64,
) -> (f64, f64) {
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
    let pairs = neighbours(problem, run_of);
    let power: f64 = cropped.iter().map(|residual| residual * residual).sum();
    if power <= 0.0 {
        return (0.0, 1.0);
    }
    let mut generator = generator(seed, STREAM);
    let mut signs = vec![1.0; runs];
    let mean_product = |signs: &[f64]| -> f64 {
        let products = pairs.iter().enumerate().map(|(row, other)| {
            signs[run_of[row]] * signs[run_of[*other]] * cropped[row] * cropped[*other]
        });
        products.sum::<f64>() / power
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

/// For each row the nearest row of another run, with ln N and ln D in units of their spread. Quadratic in the rows.
fn neighbours(problem: &LogHuber, run_of: &[usize]) -> Vec<usize> {
    let count = problem.rows.len() as f64;
    let size_scale = problem
        .rows
        .iter()
        .map(|row| row.parameters * row.parameters)
        .sum::<f64>()
        / count;
    let data_scale = problem
        .rows
        .iter()
        .map(|row| row.tokens * row.tokens)
        .sum::<f64>()
        / count;
    let rows = &problem.rows;
    (0..rows.len())
        .map(|row| {
            let distance = |other: usize| {
                let size = rows[row].parameters - rows[other].parameters;
                let data = rows[row].tokens - rows[other].tokens;
                size * size / size_scale + data * data / data_scale
            };
            (0..rows.len())
                .filter(|other| run_of[*other] != run_of[row])
                .min_by(|one, two| distance(*one).total_cmp(&distance(*two)))
                .unwrap_or(row)
        })
        .collect()
}
