//! The bootstrap over runs: resample whole runs (or clusters of them), refit, count what did not converge.
//!
//! Checkpoints of one run share its data order, its schedule and its luck: two hundred of them from 22 runs are 22 runs
//! (Field and Welsh 2007, "Bootstrapping clustered data"). Where every run has one row this is the row bootstrap of
//! Besiroglu et al. 2024.
//!
//! Each replicate has its own stream of the generator, so that replicate 17 is the same whatever came before it.

use crate::random::{generator, index_below};

use super::loss::Loss;
use super::newton::{GRADIENT_TOLERANCE, Solution, minimise};
use super::problem::Problem;
use super::search::prefer;

/// Factor on delta in the start that goes through a smoother problem.
const SMOOTHER: f64 = 30.0;

/// Scaled gradient at which the smoother problem has done its work.
const LOOSE: f64 = 1e-2;

/// Rows below which every replicate also starts from its smoother problem.
const ROWS_FEW: usize = 200;

/// One in so many replicates is of the pilot, and at least so many are.
const PILOT_SHARE: u32 = 8;
const PILOT_LEAST: u32 = 25;

/// Objectives closer than this, relatively, are one optimum reached on two ways.
const TIE: f64 = 1e-9;

/// What the replicates yielded: converged points only.
#[derive(Clone, Debug)]
pub(crate) struct Replicates {
    /// Optima in the coordinates of the problem.
    pub(crate) points: Vec<Vec<f64>>,
    /// Replicates asked for.
    pub(crate) requested: u32,
}

/// Refits `requested` resamples of the units. Every replicate starts from the points in `warm` (the optimum first) and keeps
/// the lowest. A start can be caught in a kink of Huber's loss; what helps is a start from the optimum of the replicate's own
/// smoother problem, at the price of the whole replicate again. Kinks come with few rows: there every replicate has that start.
/// Elsewhere the first ones have it, a pilot; where it led one of them lower, all have it. So has any that did not converge.
pub(crate) fn bootstrap(
    problem: &Problem,
    unit_of: &[usize],
    units: usize,
    warm: &[Vec<f64>],
    requested: u32,
    seed: u64,
) -> Replicates {
    let mut points = Vec::new();
    let mut counts = vec![0_u32; units];
    let (mut rows, mut factors) = (Vec::new(), Vec::new());
    let robust = matches!(problem.loss(), Loss::Huber { .. });
    let pilot = if problem.len() < ROWS_FEW {
        requested
    } else {
        (requested / PILOT_SHARE).max(PILOT_LEAST)
    };
    let mut caught = false;
    for replicate in 0..requested {
        let mut generator = generator(seed, u64::from(replicate));
        counts.fill(0);
        for _ in 0..units {
            counts[index_below(&mut generator, units)] += 1;
        }
        rows.clear();
        factors.clear();
        for (row, unit) in unit_of.iter().enumerate() {
            if counts[*unit] > 0 {
                rows.push(row);
                factors.push(f64::from(counts[*unit]));
            }
        }
        let resampled = problem.resampled(&rows, &factors);
        let from =
            |start: &Vec<f64>| minimise(&resampled, &problem.bounds, start, GRADIENT_TOLERANCE);
        let mut best: Option<Solution> = None;
        for start in warm {
            let solution = from(start);
            if prefer(&solution, best.as_ref()) {
                best = Some(solution);
            }
        }
        let converged = best.as_ref().is_some_and(|best| best.converged);
        if let Some(start) = warm.first()
            && robust
            && (replicate < pilot || caught || !converged)
        {
            let smooth = minimise(&resampled.smoother(SMOOTHER), &problem.bounds, start, LOOSE);
            let solution = from(&smooth.at);
            if prefer(&solution, best.as_ref()) {
                caught |= best.is_none_or(|best| {
                    let value = best.evaluation.value;
                    !best.converged || solution.evaluation.value < value - TIE * value.abs()
                });
                best = Some(solution);
            }
        }
        points.extend(best.filter(|best| best.converged).map(|best| best.at));
    }
    Replicates { points, requested }
}
