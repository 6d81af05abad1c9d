//! Profile intervals: how far a parameter can move while the others do their best.
//!
//! A bootstrap standard error presumes that the optimum is a fair summary; the profile asks the objective itself and
//! sees valleys, bounds and open ends (Raue et al. 2009, "Structural and practical identifiability"). With a robust
//! objective twice its increase is not chi-squared as such; the rise is scaled by the ratio of the mean slope of the
//! pull to the variance of the pull (Ronchetti 1982, tau test; Hampel et al. 1986, section 7.2), both estimated from
//! the residuals, the variance by run. The threshold is Student's t squared with runs minus parameters degrees of freedom.

use super::linear::solve_positive;
use super::loss::Loss;
use super::newton::{Bounds, Evaluation, Objective, minimise};
use super::outliers::{self, scale};
use super::problem::{Problem, Slopes};
use crate::quantile::student_t;

/// Log residuals below this are rounding of the data, not noise that could be estimated.
const NOISE_FLOOR: f64 = 1e-9;

/// First step of the walk away from the optimum where the curvature gives none, and the most that a step grows.
const STEP_FIRST: f64 = 1e-7;
const STEP_GROWTH: f64 = 4.0;

/// Scaled gradient at which a constrained fit is done: its value errs by the square.
const GRADIENT_SMALL: f64 = 1e-6;

/// How closely an end is sought, as a share of its distance from the optimum.
const END_TOLERANCE: f64 = 1e-4;

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
    let here = problem.evaluate(optimum);
    let base = here.value;
    let course = course(problem, &here, optimum, index);
    let mut walk = Walk {
        problem,
        index,
        calibration,
        base,
        others,
        course,
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

/// How the others follow a step of one coordinate, and the curvature of the profile, as the Hessian at the optimum has them.
fn course(
    problem: &Problem,
    here: &Evaluation,
    optimum: &[f64],
    index: usize,
) -> Option<(Vec<f64>, f64)> {
    let mut unit = vec![0.0; optimum.len()];
    unit[index] = 1.0;
    let free = problem.bounds.free(optimum, &here.gradient);
    let column = solve_positive(&here.hessian, &unit, &free)?;
    let own = column[index];
    (own > 0.0).then(|| (column.iter().map(|one| one / own).collect(), 1.0 / own))
}

struct Walk<'a> {
    problem: &'a Problem,
    index: usize,
    calibration: Calibration,
    base: f64,
    others: &'a [Vec<f64>],
    course: Option<(Vec<f64>, f64)>,
    lowest: f64,
}

/// A place on the walk.
#[derive(Clone)]
struct Place {
    /// Distance from the optimum.
    step: f64,
    /// Root of the statistic minus that of the threshold: about linear in the step.
    excess: f64,
    /// The constrained optimum.
    at: Vec<f64>,
}

impl Place {
    /// The point on the line through two places.
    fn towards(&self, other: &Self, step: f64) -> Vec<f64> {
        let share = (step - self.step) / (other.step - self.step);
        self.at
            .iter()
            .zip(&other.at)
            .map(|(one, two)| one + share * (two - one))
            .collect()
    }
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
        let root = self.calibration.threshold.sqrt();
        let mut inside = Place {
            step: 0.0,
            excess: -root,
            at: optimum.to_vec(),
        };
        let (mut step, mut guess) = self.first(optimum, direction, span);
        // Outwards until the statistic passes the threshold or the limit is reached.
        let mut outside = loop {
            let place = self.place(&bounds, &guess, origin, direction, step);
            if place.excess > 0.0 {
                break place;
            }
            if step >= span {
                return Side {
                    end: limit,
                    closed: false,
                };
            }
            // To a little behind where a straight root would end, but not far beyond what is known.
            let growth = 1.1 * root / (root + place.excess);
            let next = step * growth.clamp(1.2, STEP_GROWTH);
            step = if next.is_nan() {
                STEP_GROWTH * step
            } else {
                next
            }
            .min(span);
            guess = inside.towards(&place, step);
            inside = place;
        };
        let mut end = 0.5 * (inside.step + outside.step);
        for round in 0..25 {
            let width = outside.step - inside.step;
            if width <= END_TOLERANCE * outside.step {
                end = 0.5 * (inside.step + outside.step);
                break;
            }
            // The root is about straight: interpolate it, keep the bracket, halve that where it does not shrink.
            let slope = (outside.excess - inside.excess) / width;
            let mut middle = 0.5 * (inside.step + outside.step);
            end = middle;
            if slope.is_finite() {
                end = inside.step - inside.excess / slope;
                let near = 0.2 * END_TOLERANCE * end * slope;
                if outside.excess <= near || (-inside.excess <= near && inside.step > 0.0) {
                    break;
                }
                if round % 4 != 3 {
                    middle = end.clamp(inside.step + 0.01 * width, outside.step - 0.01 * width);
                }
            }
            let guess = inside.towards(&outside, middle);
            let place = self.place(&bounds, &guess, origin, direction, middle);
            if place.excess > 0.0 {
                outside = place;
            } else {
                inside = place;
            }
        }
        Side {
            end: origin + direction * end,
            closed: true,
        }
    }

    /// The first step: where the curvature at the optimum expects the threshold.
    fn first(&self, optimum: &[f64], direction: f64, span: f64) -> (f64, Vec<f64>) {
        let least = STEP_FIRST * optimum[self.index].abs().max(1.0);
        let Some((course, curvature)) = &self.course else {
            return (least.min(span), optimum.to_vec());
        };
        let rise = self.calibration.threshold / self.calibration.factor;
        let step = (2.0 * rise / curvature).sqrt();
        if !step.is_finite() {
            return (least.min(span), optimum.to_vec());
        }
        let step = step.max(least).min(span);
        let follow = |(at, slope): (&f64, &f64)| at + direction * step * slope;
        (step, optimum.iter().zip(course).map(follow).collect())
    }

    /// The place at a step: the others do their best from a guess.
    fn place(
        &mut self,
        bounds: &Bounds,
        guess: &[f64],
        origin: f64,
        direction: f64,
        step: f64,
    ) -> Place {
        let fixed = bounds.fixed(self.index, origin + direction * step);
        let mut best = minimise(self.problem, &fixed, guess, GRADIENT_SMALL);
        for start in self.others {
            let solution = minimise(self.problem, &fixed, start, GRADIENT_SMALL);
            if solution.evaluation.value < best.evaluation.value {
                best = solution;
            }
        }
        let value = best.evaluation.value;
        self.lowest = self.lowest.min(value);
        let statistic = self.calibration.factor * (value - self.base);
        Place {
            step,
            excess: statistic.max(0.0).sqrt() - self.calibration.threshold.sqrt(),
            at: best.at,
        }
    }
}
