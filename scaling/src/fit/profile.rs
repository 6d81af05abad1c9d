//! Profile intervals: how far a parameter can move while the others do their best.
//!
//! A bootstrap standard error presumes that the optimum is a fair summary; the profile asks the objective itself and
//! sees valleys, bounds and open ends (Raue et al. 2009, "Structural and practical identifiability"). With a robust
//! objective twice its increase is not chi-squared as such; the rise is scaled by the ratio of the mean slope of the
//! pull to the variance of the pull (Ronchetti 1982, tau test; Hampel et al. 1986, section 7.2), both estimated from
//! the residuals, the variance by run. The threshold is Student's t squared with runs minus parameters degrees of freedom.

use super::loss::Loss;
use super::newton::{Bounds, GRADIENT_TOLERANCE, Objective, minimise};
use super::outliers::{self, scale};
use super::problem::{Problem, Slopes};
use crate::quantile::student_t;

/// Log residuals below this are rounding of the data, not noise that could be estimated.
const NOISE_FLOOR: f64 = 1e-9;

/// First step of the walk away from the optimum, and its growth.
const STEP_FIRST: f64 = 1e-7;
const STEP_GROWTH: f64 = 4.0;

/// How the rise of the objective translates into the profile statistic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calibration {
    /// Statistic per unit of the objective (over delta).
    pub(crate) factor: f64,
    /// Statistic at the end of the interval.
    pub(crate) threshold: f64,
    /// Mean slope of the pull of a unit of weight.
    pub(crate) slope: f64,
}

/// One side of an interval: where it ends, and whether the objective or a limit of the search ended it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Side {
    /// Value of the coordinate.
    pub(crate) end: f64,
    /// Whether the statistic reached the threshold there.
    pub(crate) closed: bool,
}

/// Profile interval of one coordinate, and the lowest objective met on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// Towards smaller values.
    pub(crate) low: Side,
    /// Towards larger values.
    pub(crate) high: Side,
    /// Lowest objective met: below the optimum's means that the optimum was none.
    pub(crate) lowest: f64,
}

/// Scale of the statistic from the residuals at the optimum. `free`: parameters that are fitted.
pub(crate) fn calibrate(
    problem: &Problem,
    slopes: &Slopes,
    unit_of: &[usize],
    units: usize,
    free: usize,
    level: f64,
) -> Calibration {
    let count = slopes.residuals.len() as f64;
    let pull = |residual: f64| problem.loss().of(residual).pull;
    // The mean slope of the pull is a density where delta is small against the noise: a difference quotient over a
    // kernel's bandwidth (Silverman's rule on the median deviation) covers that case and the quadratic one.
    // Of runs and not rows: ten checkpoints of a run are hardly ten residuals.
    let runs = units as f64;
    let spread = scale(&slopes.residuals, free) * (runs / (runs - free as f64).max(1.0)).sqrt();
    let width = (1.06 * spread * libm::pow(runs, -0.2)).max(NOISE_FLOOR);
    let through = passed_through(problem.loss(), &slopes.residuals, free, width);
    let (mut slope, mut by_row, mut weight) = (0.0, 0.0, 0.0);
    let mut by_unit = vec![0.0; units];
    for (index, unit) in unit_of.iter().enumerate() {
        let (residual, row) = (slopes.residuals[index], problem.weights[index]);
        let pulled = row * pull(residual);
        by_unit[*unit] += pulled;
        by_row += pulled * pulled;
        if !through[index] {
            slope += row * (pull(residual + width) - pull(residual - width)) / (2.0 * width);
            weight += row;
        }
    }
    // Of all rows, as if those passed through were like the others.
    let total: f64 = problem.weights.iter().sum();
    let slope = slope * total / weight.max(f64::MIN_POSITIVE);
    let clustered: f64 = by_unit.iter().map(|sum| sum * sum).sum();
    let degrees = (units as f64 - free as f64).max(1.0);
    let floor = pull(NOISE_FLOOR);
    let noise = floor * floor * count;
    // Rows of one run that pull together count once; rows that pull apart are not taken as extra evidence.
    let variance = clustered.max(by_row).max(noise) * (units as f64 / degrees).max(1.0);
    let quantile = student_t(level, degrees);
    Calibration {
        factor: 2.0 * slope / variance,
        threshold: quantile * quantile,
        slope: slope / total,
    }
}

/// Rows that a fit near least absolute deviations passes through: as many as it has parameters, whatever the noise. Their
/// residuals of zero would count as a density at zero of twice its size with 36 rows and five parameters, and make every
/// standard error half of what it is. Nothing is left out where the loss is square over the width of the kernel.
fn passed_through(loss: Loss, residuals: &[f64], free: usize, width: f64) -> Vec<bool> {
    let mut through = vec![false; residuals.len()];
    if let Loss::Huber { delta } = loss
        && delta < width
        && residuals.len() > 2 * free
    {
        let mut order: Vec<usize> = (0..residuals.len()).collect();
        order.sort_by(|one, two| residuals[*one].abs().total_cmp(&residuals[*two].abs()));
        let sizes: Vec<f64> = order.iter().map(|row| residuals[*row].abs()).collect();
        let taken = outliers::passed_through(&sizes, free);
        for row in order.into_iter().take(taken) {
            through[row] = residuals[row].abs() <= delta;
        }
    }
    through
}

/// Walks both ways from the optimum along one coordinate. `others` are further starts for the constrained fits.
pub(crate) fn profile(
    problem: &Problem,
    optimum: &[f64],
    index: usize,
    calibration: Calibration,
    others: &[Vec<f64>],
) -> Profile {
    let base = problem.evaluate(optimum).value;
    let mut walk = Walk {
        problem,
        index,
        calibration,
        base,
        others,
        lowest: base,
    };
    let low = walk.side(optimum, -1.0);
    let high = walk.side(optimum, 1.0);
    Profile {
        low,
        high,
        lowest: walk.lowest,
    }
}

struct Walk<'a> {
    problem: &'a Problem,
    index: usize,
    calibration: Calibration,
    base: f64,
    others: &'a [Vec<f64>],
    lowest: f64,
}

impl Walk<'_> {
    fn side(&mut self, optimum: &[f64], direction: f64) -> Side {
        let bounds = self.problem.bounds.clone();
        let origin = optimum[self.index];
        let limit = if direction < 0.0 {
            bounds.low[self.index]
        } else {
            bounds.high[self.index]
        };
        let span = (limit - origin).abs();
        if span == 0.0 {
            return Side {
                end: limit,
                closed: false,
            };
        }
        let mut step = (STEP_FIRST * origin.abs().max(1.0)).min(span);
        let (mut inside, mut warm) = (0.0, optimum.to_vec());
        // Outwards until the statistic passes the threshold or the limit is reached.
        let (mut outside, mut excess) = loop {
            let (rise, at) = self.rise(&bounds, &warm, origin + direction * step);
            if rise > 0.0 {
                break (step, rise);
            }
            if step >= span {
                return Side {
                    end: limit,
                    closed: false,
                };
            }
            inside = step;
            warm = at;
            step = (step * STEP_GROWTH).min(span);
        };
        // The statistic grows about as the square: interpolate its root, keep the bracket.
        let mut lack = self.rise(&bounds, &warm, origin + direction * inside).0;
        for _ in 0..25 {
            if outside - inside <= 1e-4 * outside {
                break;
            }
            let share = (-lack / (excess - lack)).clamp(0.1, 0.9);
            let middle = inside + share * (outside - inside);
            let (rise, at) = self.rise(&bounds, &warm, origin + direction * middle);
            if rise > 0.0 {
                (outside, excess) = (middle, rise);
            } else {
                (inside, lack, warm) = (middle, rise, at);
            }
        }
        Side {
            end: origin + direction * 0.5 * (inside + outside),
            closed: true,
        }
    }

    /// Statistic minus threshold with the coordinate held at a value, and the point that reaches it.
    fn rise(&mut self, bounds: &Bounds, warm: &[f64], value: f64) -> (f64, Vec<f64>) {
        let fixed = bounds.fixed(self.index, value);
        let mut best = minimise(self.problem, &fixed, warm, GRADIENT_TOLERANCE);
        for start in self.others {
            let solution = minimise(self.problem, &fixed, start, GRADIENT_TOLERANCE);
            if solution.evaluation.value < best.evaluation.value {
                best = solution;
            }
        }
        self.lowest = self.lowest.min(best.evaluation.value);
        let statistic = self.calibration.factor * (best.evaluation.value - self.base);
        (statistic - self.calibration.threshold, best.at)
    }
}
